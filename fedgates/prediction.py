"""Images from files, and what a finished model makes of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedgates.artifact import Model
from fedgates.data.folders import WIDE
from fedgates.models.shapes import Shape
from fedgates.text import error_line, one_line

_BATCH = 256
_ARRAYS = ("x", "x_test")
"""Names that images have in an npz file, in the order in which they are looked for."""


class ImageError(ValueError):
    """Images that are not there, or that a model does not take; the message says what was expected."""


def read_images(path: Path, shape: Shape) -> tuple[list[str], NDArray[np.uint8]]:
    """Read an image, all images below a folder (in the order of their paths), or those of an npz file.

    Parameters
    ----------
    path : Path
        A colour image becomes grey, and a grey one coloured, where the model wants it so; the size must be the model's.
        In an npz file ``x`` or ``x_test`` is uint8 ``[n, H, W]`` or ``[n, H, W, C]``.
    shape : tuple of int
        (C, H, W) of the model's images.

    Returns
    -------
    tuple
        A name for each, and the images, uint8 ``[n, C, H, W]``.

    Raises
    ------
    ImageError
        There is none, or one cannot be used.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        if not files:
            raise ImageError(f"{path}: expected a folder with images in it")
        return [str(file.relative_to(path)) for file in files], np.stack([_image(file, shape) for file in files])
    if path.suffix == ".npz":
        return _from_npz(path, shape)
    return [path.name], _image(path, shape)[None]


def _image(file: Path, shape: Shape) -> NDArray[np.uint8]:
    from PIL import Image  # noqa: PLC0415  # comes with torchvision; a program that loads a model needs neither

    channels, height, width = shape
    if channels not in (1, 3):
        raise ImageError(f"{file}: the model's images have {channels} channels, expected an npz file")
    try:
        with Image.open(file) as image:
            found, mode = image.size, image.mode
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"), dtype=np.uint8)
    except Exception as error:  # Pillow raises a dozen kinds for a damaged file, all meaning the same
        why = getattr(error, "strerror", None) or ("its format is not known" if type(error) is not OSError else "damaged")
        raise ImageError(f"{file}: expected an image ({why})") from error
    if mode.startswith(WIDE):
        raise ImageError(f"{file}: expected 8 bits a channel, and it has more (mode {mode})")
    if found != (width, height):
        raise ImageError(f"{file}: {found[0]}x{found[1]} pixels, expected {width}x{height}")
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def _from_npz(path: Path, shape: Shape) -> tuple[list[str], NDArray[np.uint8]]:
    channels, height, width = shape
    try:
        with np.load(path, allow_pickle=False) as stored:
            name = next((name for name in _ARRAYS if name in stored.files), "")
            x = stored[name] if name else None
    except Exception as error:  # numpy and zipfile raise a dozen kinds for a damaged file, all meaning the same
        raise ImageError(f"{path}: expected an npz file of plain arrays ({error_line(error)})") from error
    if x is None:
        raise ImageError(f"{path}: expected an array {' or '.join(_ARRAYS)} in it")
    x = x[..., None] if x.ndim == 3 else x
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[1:] != (height, width, channels) or not len(x):
        raise ImageError(f"{path}: {name} is {x.dtype} {list(x.shape)}, expected uint8 [n, {height}, {width}, {channels}]")
    return [f"{name}[{i}]" for i in range(len(x))], np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def predictions(model: Model, images: tuple[Sequence[str], NDArray[np.uint8]], top: int) -> list[dict[str, Any]]:
    """The `top` likeliest labels of each image with their probabilities; of a regression its value."""
    names, x = images
    with torch.no_grad():
        logits = torch.cat([model(part) for part in torch.split(torch.from_numpy(x.copy()), _BATCH)])
    classes = model.facts.class_names
    if not classes:
        return [{"image": name, "value": float(row[0])} for name, row in zip(names, logits, strict=True)]
    shares, order = logits.softmax(1).sort(1, descending=True)
    return [
        {
            "image": name,
            "labels": [
                {"label": classes[int(i)], "probability": float(share)} for share, i in zip(p[:top], at[:top], strict=True)
            ],
        }
        for name, p, at in zip(names, shares, order, strict=True)
    ]


def told(found: Sequence[Mapping[str, Any]]) -> str:
    """A line an image."""
    wide = max(len(each["image"]) for each in found)
    lines = []
    for each in found:
        labels = each.get("labels")
        said = (
            f"{each['value']:.6g}"
            if labels is None
            else "  ".join(f"{one_line(label['label'])} {100 * label['probability']:.1f} %" for label in labels)
        )
        lines.append(f"{one_line(each['image']):<{wide}}  {said}")
    return "\n".join(lines)
