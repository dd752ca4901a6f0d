"""A user's own images in the layout of torchvision's ImageFolder: ``train/CLASS/image.png``, ``test/...``."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedgates.data.dataset import Dataset, Examples

GRAY = ("1", "L", "LA")
WIDE = ("I", "F")
"""Prefixes of Pillow's modes with more than 8 bits per channel, which are refused: the user decides how to convert them."""


def read_folder(name: str, root: Path, *, complete: bool = True) -> Dataset:
    """Read an image folder; the sorted names of the class folders are the classes.

    Parameters
    ----------
    name : str
        The data set's name.
    root : Path
        Folder with ``train/`` and ``test/``, which have the same class folders, and images of one size. If every image is grey
        there is one channel, otherwise three.
    complete : bool
        Whether ``test/`` is required, and an image in every class folder.

    Raises
    ------
    ValueError
        A folder is missing, a file is not an image, or shapes differ; the message continues a line that ends with "expected".
    """
    classes, train = _listed(root / "train", complete=complete)
    test: list[tuple[str, int]] = []
    if complete or (root / "test").exists():
        test_classes, test = _listed(root / "test", complete=complete)
        if test_classes != classes:
            odd = ", ".join(sorted(set(classes) ^ set(test_classes)))
            raise ValueError(f"the same class folders in train/ and test/ of {root}; only one has {odd}")
    if not train:
        raise ValueError(f"at least one image under {root / 'train'}, and there is none")
    images, labels = _pixels([*train, *test])
    split = len(train)
    return Dataset(
        name,
        Examples(images[:split], labels[:split]),
        Examples(images[split:], labels[split:]),
        len(classes),
        tuple(classes),
    )


def _listed(part: Path, *, complete: bool) -> tuple[list[str], list[tuple[str, int]]]:
    from torchvision.datasets import ImageFolder  # noqa: PLC0415 - a second, and only image folders need it

    if not part.is_dir():
        raise ValueError(f"a folder {part}, and there is none")
    try:
        listed = ImageFolder(part, allow_empty=not complete)
    except OSError as error:
        raise ValueError(f"a folder of images for each class in {part} ({' '.join(str(error).split())})") from error
    return listed.classes, listed.samples


def _pixels(samples: list[tuple[str, int]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    first, gray = _size_and_colour(samples)
    width, height = first
    channels = 1 if gray else 3
    images = np.empty((len(samples), height, width, channels), np.uint8)
    for image, (path, _) in zip(images, samples, strict=True):
        image[...] = _decoded(path, "L" if gray else "RGB").reshape(height, width, channels)
    return images, np.array([label for _, label in samples], np.int64)


def _size_and_colour(samples: list[tuple[str, int]]) -> tuple[tuple[int, int], bool]:
    """Return width and height of all images, and whether all are grey, reading only the headers of the files."""
    first, _ = _header(samples[0][0])
    gray = True
    for path, _ in samples:
        size, mode = _header(path)
        if size != first:
            shapes = f"{first[0]}x{first[1]} (as {samples[0][0]}), not {size[0]}x{size[1]}"
            raise ValueError(f"{path} to have the size of the first image, {shapes}")
        if mode.startswith(WIDE):
            raise ValueError(f"8 bits a channel, and {path} has more (mode {mode})")
        gray = gray and mode in GRAY
    return first, gray


def _header(path: str) -> tuple[tuple[int, int], str]:
    from PIL import Image  # noqa: PLC0415 - comes with torchvision, and only image folders need it

    try:
        with Image.open(path) as image:
            return image.size, image.mode
    except Exception as error:  # Pillow raises a dozen kinds for a damaged file, all meaning the same
        raise ValueError(f"{path} to be an image ({type(error).__name__})") from error


def _decoded(path: str, mode: str) -> NDArray[np.uint8]:
    from PIL import Image  # noqa: PLC0415 - comes with torchvision, and only image folders need it

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode), dtype=np.uint8)
    except Exception as error:  # Pillow raises a dozen kinds for a damaged file, all meaning the same
        raise ValueError(f"{path} to be a whole image ({type(error).__name__})") from error
