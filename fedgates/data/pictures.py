"""Listing and decoding of picture files, for training and for ``fedgates predict``.

EXIF orientation is applied, transparent parts are drawn over white, and channels must have 8 bits. Only the first frame of an
animation, or page of a file with several, is read.
"""

import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

SUFFIXES = frozenset({".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Suffixes of picture files; case is ignored."""
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that Pillow may read; for some others, it starts external programs."""
_GRAY = ("1", "L", "LA")
_WIDE = ("I", "F")
"""Prefixes of Pillow's modes with more than 8 bits per channel."""
_ORIENTATION = 0x0112
"""EXIF tag of the orientation; values 5 to 8 swap width and height."""
_PNG_DEPTH = 24
"""Offset of the number of bits per channel in a PNG file; Pillow silently reduces channels to 8 bits."""
_BITS_PER_SAMPLE, _SAMPLE_FORMAT, _UNSIGNED = 258, 339, 1
"""Two tags of a TIFF file, and the sample format of unsigned integers."""
BACKGROUND = "white"


class PictureError(ValueError):
    """A picture cannot be used; the message continues a line that ends with "expected".

    Attributes
    ----------
    file : Path
        The file.
    expected, found : str
        What is accepted, and what was found.
    """

    def __init__(self, file: Path, expected: str, found: str) -> None:
        super().__init__(f"{file} to be {expected} ({found})")
        self.file, self.expected, self.found = file, expected, found


@dataclass(frozen=True)
class Header:
    """Properties of a picture that are known without decoding its pixels."""

    size: tuple[int, int]
    """Width and height of the upright picture."""
    gray: bool
    """Whether the picture is black and white or grey, with or without transparency; a palette counts as colour."""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, like those that editors and file managers create."""
    return name.startswith(".")


def leads_up(folder: Path) -> bool:
    """Return whether a folder is a link to a folder that contains it."""
    return _identity(folder) in _around(folder.parent)


def list_pictures(folder: Path) -> tuple[list[Path], int]:
    """Return the pictures below a folder, sorted by path, and the number of other files.

    Hidden files and folders are ignored. Links are followed, except links to a folder that contains them, even above `folder`.

    Raises
    ------
    OSError
        A folder cannot be read.
    """
    pictures, others = [], 0
    inside = {folder: _around(folder)}
    for where, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        above = inside.pop(Path(where))
        for name in list(folders):
            identity = _identity(Path(where, name))
            if is_hidden(name) or identity in above:
                folders.remove(name)
            else:
                inside[Path(where, name)] = above | {identity}
        for path in (Path(where, name) for name in files if not is_hidden(name)):
            if path.exists() and not path.is_file():
                continue  # reading a pipe would block
            if path.suffix.lower() in SUFFIXES:
                pictures.append(path)
            else:
                others += 1
    return sorted(pictures), others


def read_header(file: Path) -> Header:
    """Read the size and colour of a picture without decoding its pixels.

    Raises
    ------
    PictureError
        The file cannot be read, is not a picture, or has more than 8 bits per channel.
    """
    with _opened(file) as image:
        width, height = image.size
        turned = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)  # Pillow itself rotates TIFF files
        return Header((height, width) if turned else (width, height), image.mode in _GRAY)


def decode(file: Path, channels: int, size: tuple[int, int] | None = None) -> tuple[NDArray[np.uint8], bool]:
    """Decode a picture.

    Parameters
    ----------
    file : Path
        The file.
    channels : int
        1 for grey, 3 for colour; the picture is converted if necessary.
    size : tuple of int, optional
        Width and height to which the picture is scaled bilinearly, ignoring its proportions.

    Returns
    -------
    pixels : numpy.ndarray
        Shape ``[H, W, channels]``, dtype uint8.
    transparent : bool
        Whether a part of the picture is transparent; it is drawn over white.

    Raises
    ------
    PictureError
        The file is damaged, or :func:`read_header` would raise.
    """
    from PIL import Image, ImageOps  # noqa: PLC0415  # comes with torchvision; only pictures need it

    with _opened(file) as opened:
        image: Image.Image = opened if opened.format == "TIFF" else ImageOps.exif_transpose(opened)
        transparent = False
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            transparent = layer.getchannel("A").getextrema()[0] != 255
            image = Image.alpha_composite(Image.new("RGBA", layer.size, BACKGROUND), layer)
        image = image.convert("L" if channels == 1 else "RGB")
        if size is not None and image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        width, height = image.size
        return np.asarray(image, dtype=np.uint8).reshape(height, width, channels), transparent


@contextmanager
def _opened(file: Path) -> "Iterator[Image.Image]":
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  # comes with torchvision; only pictures need it

    try:
        with (
            warnings.catch_warnings(action="ignore"),
            file.open("rb") as stored,  # given a path, Pillow maps an uncompressed TIFF file and misreads a rotated one
            Image.open(stored, formats=_FORMATS) as image,
        ):
            problem = _depth_problem(file, image)
            if not problem:
                yield image
                return
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise PictureError(file, f"an image of at most {most:,} pixels", "it has far more") from None
    except Exception as error:  # Pillow raises many types of exceptions for a damaged file
        reason = "its format is not known" if isinstance(error, UnidentifiedImageError) else "damaged"
        raise PictureError(file, "an image", getattr(error, "strerror", None) or reason) from error
    raise PictureError(file, "an image with 8 bits per channel", f"{problem}; convert it")


def _depth_problem(file: Path, image: "Image.Image") -> str:
    """Describe why channels do not have 8 bits; empty if they do. Pillow silently reduces some 16-bit files to 8 bits."""
    bits = 16 if image.mode.startswith(_WIDE) else 8
    if image.format == "PNG":
        with file.open("rb") as stored:
            bits = stored.read(_PNG_DEPTH + 1)[_PNG_DEPTH]
    elif image.format == "TIFF":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        bits = max(tags.get(_BITS_PER_SAMPLE, (1,)))
        if set(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))) != {_UNSIGNED}:
            return f"its {bits} bits are not unsigned integers"
    elif image.format == "PPM" and bits == 8:
        args = image.tile[0].args  # type: ignore[attr-defined]
        if isinstance(args, tuple) and len(args) == 2:  # the second is the largest value
            bits = int(args[1]).bit_length()
    return f"it has {bits}" if bits > 8 else ""


def _orientation(image: "Image.Image") -> int:
    from PIL import Image as pillow  # noqa: N813, PLC0415

    return int(pillow.Image.getexif(image).get(_ORIENTATION, 1))  # getexif of Pillow's PNG class decodes the pixels


def _around(folder: Path) -> frozenset[tuple[int, int]]:
    """Return the identities of a folder and of all folders that contain it, both along its path and along the resolved path."""
    return frozenset(_identity(each) for start in (folder.absolute(), folder.resolve()) for each in (start, *start.parents))


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def _raise(error: OSError) -> None:
    raise error
