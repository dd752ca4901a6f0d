"""Reader of NumPy's ``.npz`` files; headers are checked before an array is unpacked, and nothing is unpickled."""

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedgates.data.dataset import describe
from fedgates.util.text import one_line

SPELLINGS = {
    "x_train": ("x_train", "train_x", "train_images", "train_data", "xtrain"),
    "y_train": ("y_train", "train_y", "train_labels", "ytrain"),
    "x_test": ("x_test", "test_x", "test_images", "test_data", "xtest"),
    "y_test": ("y_test", "test_y", "test_labels", "ytest"),
    "classes": ("classes", "class_names"),
    "x": ("x", "images"),
}
"""Accepted names of each array; case is ignored."""
_MAX_HEADER = 10_000
"""Largest header of an array in bytes, the same as NumPy's own limit."""
_LARGE, _MAX_RATIO = 1 << 30, 100
"""An array of more bytes than the first is rejected if it is compressed by more than the second, which is a ratio."""
_MOST_NAMED = 12
"""Largest number of arrays named in a message."""
_SINGLE = b"\x93NUMPY"
"""First bytes of an ``.npy`` file."""


@dataclass(frozen=True)
class Header:
    """Header of an array in an ``.npz`` file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    stored: int
    """Number of bytes that the array takes in the file."""

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


class Archive:
    """An ``.npz`` file.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    ValueError
        The file is missing or not an ``.npz`` file; the message continues a line that ends with "expected".
    OSError
        The file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise ValueError(f"a file, but {'this is a folder' if path.is_dir() else 'there is none'}")
        with path.open("rb") as file:
            if file.read(len(_SINGLE)) == _SINGLE:
                raise ValueError("an .npz file with named arrays, but this is a single array (.npy)")
        try:
            self.headers = _headers(path)
        except Exception as error:  # numpy and zipfile raise many types of exceptions for a damaged file
            raise _unusable(error) from error

    @property
    def contents(self) -> str:
        """Names, dtypes and shapes of all arrays, for messages."""
        named = [f"{one_line(name, 40)}: {one_line(header, 60)}" for name, header in self.headers.items()]
        more = [f"{len(named) - _MOST_NAMED:,} more"] if len(named) > _MOST_NAMED else []
        return ", ".join([*named[:_MOST_NAMED], *more]) or "no array"

    def find(self, key: str) -> str | None:
        """Return the name in the file of the array `key`, a key of :data:`SPELLINGS`; None if there is no such array.

        Raises
        ------
        ValueError
            Several arrays match.
        """
        found = [name for name in self.headers if name.lower() in SPELLINGS[key]]
        if len(found) > 1:
            names = ", ".join(one_line(name, 40) for name in found[:_MOST_NAMED])
            raise ValueError(f"one array {key}, not all of {names}")
        return found[0] if found else None

    def read(self, names: Iterable[str]) -> Mapping[str, NDArray[np.generic]]:
        """Read arrays by their names in the file.

        Raises
        ------
        ValueError
            An array has Python objects, is damaged, or is far larger than its compressed size.
        """
        names = list(names)
        for name in names:
            self._check(name)
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                return {name: stored[f"{name}.npy"] for name in names}  # the file may also have an entry without the suffix
        except Exception as error:  # as above
            raise _unusable(error) from error

    def _check(self, name: str) -> None:
        header = self.headers[name]
        if header.dtype.hasobject:
            raise ValueError(f"an .npz file of plain arrays, without pickled objects ({name} is {header})")
        size = header.dtype.itemsize
        for length in header.shape:
            size *= length
        if size > _LARGE and size > _MAX_RATIO * header.stored:
            found = f"{name}, {header}, would be {size / 1e9:,.1f} GB from {header.stored / 1e6:,.1f} MB"
            raise ValueError(f"arrays at most {_MAX_RATIO} times as large as in the file, but {found}")


def _unusable(error: Exception) -> ValueError:
    reason = one_line(f"{type(error).__name__}: {error}")
    return ValueError(f"an .npz file of plain arrays, without pickled objects ({reason})")


def _headers(path: Path) -> dict[str, Header]:
    headers = {}
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".npy"):
                with archive.open(entry) as file:
                    start = io.BytesIO(file.read(_MAX_HEADER + len(_SINGLE)))  # a header may claim any length
                version = np.lib.format.read_magic(start)
                read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
                shape, _, dtype = read(start)
                headers[entry.filename.removesuffix(".npy")] = Header(
                    dtype,
                    shape,
                    min(entry.compress_size, size),  # a directory may claim any size
                )
    return headers


def check_channels(name: str, array: NDArray[np.generic] | Header) -> None:
    """Check that images ``[n, H, W, C]`` do not look like ``[n, C, H, W]``.

    Raises
    ------
    ValueError
        The images look like ``[n, C, H, W]``: the second axis has at most 4 entries and the last two have the proportions of
        an image, or the last two are equal and longer than the second.
    """
    if len(array.shape) != 4:
        return
    _, first, second, third = array.shape
    few = first <= 4 < third and second < 4 * third
    if few or first < second == third > 4:
        found = array if isinstance(array, Header) else describe(array)
        raise ValueError(
            f"images with the channels last, [n, H, W, C], in {name}, not {found}"
            " (its channels are first: x.transpose(0, 2, 3, 1) moves them)"
        )
