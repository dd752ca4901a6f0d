"""Images from files, and a model's predictions for them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedgates.data.archive import Archive
from fedgates.data.pictures import SUFFIXES, PictureError, decode, list_pictures, read_header
from fedgates.model_file import Model
from fedgates.models.shapes import Shape
from fedgates.types import Problem
from fedgates.util.text import one_line

_BATCH, _MOST_VALUES = 256, 1 << 24
"""Number of images that are predicted together, and of values in them."""
_LONGEST_SIDE, _MOST_PIXELS = 20_000, 1 << 26
"""Largest image that is scaled; without scaling, only an image of the model's size is decoded."""
_SCALED = f"at most {_MOST_PIXELS:,} pixels, and {_LONGEST_SIDE:,} in a row or a column, to be scaled"


class ImageError(ValueError):
    """Images are missing or do not fit the model; the message says what is expected."""


@dataclass(frozen=True)
class Images:
    """Images in the form of a model's input."""

    names: Sequence[str]
    pixels: NDArray[np.uint8]
    """Shape ``[n, C, H, W]``."""
    passed_over: int = 0
    """Number of files in the folder without an image suffix."""
    left_out: Sequence[str] = ()
    """For each skipped image in the folder the reason, one line."""
    num_transparent: int = 0
    """Number of images that are transparent in parts, and so drawn over white."""


def read_images(path: Path, problem: Problem, *, resize: bool = False) -> Images:
    """Read an image, all images below a folder (in the order of their paths), or those of an npz file.

    Parameters
    ----------
    path : Path
        Images are read as in training (:mod:`fedgates.data.pictures`), and converted to the model's number of channels, grey or
        colour. In a folder, hidden files and files without an image suffix are ignored, and images that cannot be used are
        skipped. In an npz file, ``x`` or ``x_test`` is uint8 ``[n, H, W]`` or ``[n, H, W, C]``.
    problem : Problem
        The model's problem, of images.
    resize : bool
        Scale images of another size bilinearly, ignoring proportions. Arrays of an npz file are not scaled.

    Raises
    ------
    ImageError
        No image can be used.
    """
    shape = _image_shape(problem)
    try:
        files, others = list_pictures(path) if path.is_dir() else (None, 0)
        if files is None and path.exists() and not path.is_file():  # reading a pipe would block
            raise ImageError(f"{path}: expected an image, or a folder of them")
        if files is None and path.suffix.lower() == ".npz":
            return _from_npz(path, shape)
    except OSError as error:
        raise ImageError(f"{path}: expected an image, or a folder of them ({error.strerror})") from error
    if files is None:
        pixels, transparent = _image(path, shape, resize=resize)
        return Images([path.name], pixels[None], num_transparent=int(transparent))
    if not files:
        raise ImageError(f"{path}: expected a folder with images in it ({', '.join(sorted(SUFFIXES))})")
    usable: dict[str, NDArray[np.uint8]] = {}
    left_out = []
    num_transparent = 0
    for file in files:
        try:
            usable[str(file.relative_to(path))], transparent = _image(file, shape, resize=resize)
            num_transparent += transparent
        except ImageError as error:
            left_out.append(str(error))  # not the error, which refers to the image
    if not usable:
        raise ImageError(left_out[0] + (f"; nor can {len(left_out) - 1:,} others be used" if len(left_out) > 1 else ""))
    return Images(list(usable), np.stack(list(usable.values())), others, left_out, num_transparent)


def _image_shape(problem: Problem) -> Shape:
    if len(problem.inputs) > 1 or not problem.inputs[0].is_image:
        raise ImageError("the model's inputs are not images")
    channels, height, width = problem.inputs[0].shape
    return channels, height, width


def _image(file: Path, shape: Shape, *, resize: bool) -> tuple[NDArray[np.uint8], bool]:
    """Return an image ``[C, H, W]``, and whether it is transparent in parts."""
    channels, height, width = shape
    if channels not in (1, 3):
        raise ImageError(f"{file}: the model's images have {channels} channels, expected an npz file")
    try:
        found = read_header(file).size
        if found != (width, height) and not resize:  # pixels of other images are not decoded
            raise ImageError(f"{file}: {found[0]}x{found[1]} pixels, expected {width}x{height} (--resize scales pictures)")
        if found != (width, height) and (math.prod(found) > _MOST_PIXELS or max(found) > _LONGEST_SIDE):
            raise ImageError(f"{file}: {found[0]}x{found[1]} pixels, expected {_SCALED}")
        pixels, transparent = decode(file, channels, (width, height) if resize else None)
    except PictureError as error:
        raise ImageError(f"{file}: expected {error.expected} ({error.found})") from error
    if pixels.shape[:2] != (height, width):
        raise ImageError(f"{file}: expected an image whose header has its orientation")
    return pixels.transpose(2, 0, 1), transparent


def _from_npz(path: Path, shape: Shape) -> Images:
    channels, height, width = shape
    try:
        archive = Archive(path)
        name = archive.find("x") or archive.find("x_test")
    except ValueError as error:
        raise ImageError(f"{path}: expected {error}") from error
    if name is None:
        raise ImageError(f"{path}: expected an array x or x_test in the file, which has {archive.contents}")
    header = archive.headers[name]
    full = (*header.shape, 1) if len(header.shape) == 3 else header.shape
    if header.dtype != np.uint8 or len(full) != 4 or full[1:] != (height, width, channels) or not full[0]:
        raise ImageError(f"{path}: {name} is {header}, expected uint8 [n, {height}, {width}, {channels}]")
    try:
        x = archive.read([name])[name].reshape(full).astype(np.uint8, copy=False)
    except ValueError as error:
        raise ImageError(f"{path}: expected {error}") from error
    return Images([f"{name}[{i}]" for i in range(len(x))], np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def predictions(model: Model, images: Images, top: int) -> list[dict[str, Any]]:
    """Return for each image the `top` most probable labels with their probabilities, or the value of a regression."""
    with torch.no_grad():
        batch = min(_BATCH, max(1, _MOST_VALUES // math.prod(images.pixels.shape[1:])))
        logits = torch.cat([model(part) for part in torch.split(torch.from_numpy(images.pixels.copy()), batch)])
    classes = model.facts.class_names
    if not classes:
        return [{"image": name, "value": float(row[0])} for name, row in zip(images.names, logits, strict=True)]
    shares, order = logits.softmax(1).sort(1, descending=True)
    return [
        {
            "image": name,
            "labels": [
                {"label": classes[int(i)], "probability": float(share)} for share, i in zip(p[:top], at[:top], strict=True)
            ],
        }
        for name, p, at in zip(images.names, shares, order, strict=True)
    ]


def format_predictions(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the result of :func:`predictions` as text, one line per image."""
    names = [one_line(each["image"]) for each in results]
    wide = max(map(len, names))
    lines = []
    for name, each in zip(names, results, strict=True):
        labels = each.get("labels")
        text = (
            f"{each['value']:.6g}"
            if labels is None
            else "  ".join(f"{one_line(label['label'])} {100 * label['probability']:.1f} %" for label in labels)
        )
        lines.append(f"{name:<{wide}}  {text}")
    return "\n".join(lines)
