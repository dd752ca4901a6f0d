"""Reader of a user's own images in folders: ``train/CLASS/image.png``, ``test/...``."""

import logging
import unicodedata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedgates.data.dataset import Dataset, Examples
from fedgates.data.pictures import BACKGROUND, SUFFIXES, PictureError, decode, is_hidden, leads_up, list_pictures, read_header
from fedgates.util.text import name_list, one_line

log = logging.getLogger("fedgates")
_Samples = list[tuple[Path, int]]
"""Pictures and their labels."""


def read_folder(name: str, root: Path, *, complete: bool = True, size: tuple[int, int] | None = None) -> Dataset:
    """Read an image folder. The classes are the names of the class folders, sorted (numerically if all are numbers).

    Parameters
    ----------
    name : str
        Name of the data set.
    root : Path
        Folder with ``train/`` and ``test/``, which contain the same class folders. Images have one channel if all are grey,
        otherwise three. Hidden files and folders are ignored.
    complete : bool
        Whether to require ``test/`` and at least one image in every class folder.
    size : tuple of int, optional
        Height and width to which each image is scaled; by default, all images must have the same size.

    Raises
    ------
    ValueError
        A folder is missing, a file is not an image, or shapes differ; the message continues a line that ends with "expected".
    OSError
        A folder cannot be read.
    """
    if not root.is_dir():
        raise ValueError(f"a folder, but {'this is a file' if root.exists() else 'there is none'}")
    classes, train = _listed(root / "train", complete=complete)
    test: _Samples = []
    if complete or (root / "test").exists():
        test_classes, test = _listed(root / "test", complete=complete)
        if test_classes != classes:
            odd = name_list(sorted(set(classes) ^ set(test_classes)))
            raise ValueError(f"the same class folders in train/ and test/ of {root}; only one has {odd}")
    if not train:
        raise ValueError(f"at least one image under {root / 'train'}, but there is none")
    images, labels = _pixels([*train, *test], size)
    split = len(train)
    return Dataset(
        name,
        Examples(images[:split], labels[:split]),
        Examples(images[split:], labels[split:]),
        len(classes),
        tuple(classes),
        named=True,
    )


def _listed(part: Path, *, complete: bool) -> tuple[list[str], _Samples]:
    """List the names of the class folders and the pictures in them."""
    if not part.is_dir():
        raise ValueError(f"a folder {part}, but {'it is a file' if part.exists() else 'there is none'}")
    folders = _class_folders(part)
    if not folders:
        raise ValueError(f"a folder of images for each class in {part}, but there is none")
    samples: _Samples = []
    for label, folder in enumerate(folders.values()):
        found, _ = list_pictures(folder)
        if complete and not found:
            raise ValueError(f"an image in each class folder, but {folder} has none ({', '.join(sorted(SUFFIXES))})")
        samples += [(path, label) for path in found]
    return list(folders), samples


def _class_folders(part: Path) -> dict[str, Path]:
    """Return the class folders by class name, in the order of the labels."""
    folders = [path for path in part.iterdir() if not is_hidden(path.name) and path.is_dir()]
    numbers = all(path.name.isascii() and path.name.isdecimal() for path in folders)
    folders.sort(key=lambda path: (int(path.name) if numbers else 0, path.name))
    found: dict[str, Path] = {}
    same: dict[object, Path] = {}
    for path in folders:
        if leads_up(path):
            raise ValueError(f"class folders below {part}, but {path.name} is a link to a folder that contains it")
        name = unicodedata.normalize("NFC", path.name)  # file systems store different forms of Unicode names
        twin = same.setdefault(int(name) if numbers else name, path)
        if twin is not path:
            raise ValueError(f"one folder for each class in {part}, not both {twin.name} and {path.name}")
        found[name] = path
    return found


def _pixels(samples: _Samples, size: tuple[int, int] | None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    (width, height), gray = _size_and_colour(samples, scaled=size is not None)
    if size is not None:
        height, width = size
    channels = 1 if gray else 3
    images = np.empty((len(samples), height, width, channels), np.uint8)
    transparent: list[Path] = []
    for image, (path, _) in zip(images, samples, strict=True):
        pixels, seen_through = decode(path, channels, None if size is None else (width, height))
        if pixels.shape != image.shape:
            raise PictureError(path, "an image with its orientation in the header", "metadata after its pixels rotate it")
        image[...] = pixels
        if seen_through:
            transparent.append(path)
    if transparent:
        text = "%d of %d images are partly transparent and drawn over %s; the first is %s"
        log.info(text, len(transparent), len(samples), BACKGROUND, one_line(transparent[0]))
    return images, np.array([label for _, label in samples], np.int64)


def _size_and_colour(samples: _Samples, *, scaled: bool) -> tuple[tuple[int, int], bool]:
    """Return width and height of the first image, and whether all images are grey; only headers are read.

    Raises a ValueError if sizes differ and images are not `scaled`.
    """
    first = read_header(samples[0][0])
    gray = True
    for path, _ in samples:
        header = read_header(path)
        if header.size != first.size and not scaled:
            (width, height), (wide, high) = first.size, header.size
            shapes = f"{width}x{height} (as {samples[0][0]}), not {wide}x{high}"
            raise ValueError(f"{path} to have the size of the first image, {shapes}")
        gray = gray and header.gray
    return first.size, gray
