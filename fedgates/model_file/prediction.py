"""Images from files, and a model's predictions for examples of any kind."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedgates.data.archive import Archive
from fedgates.data.inputs import SINGLE, take
from fedgates.data.pictures import SUFFIXES, PictureError, decode, list_pictures, read_header
from fedgates.model_file import Facts, Model
from fedgates.model_file.rows import ExampleError, Rows
from fedgates.models.shapes import Shape
from fedgates.types import Problem
from fedgates.util.text import one_line

_BATCH, _MOST_VALUES = 256, 1 << 24
"""Number of images that are predicted together, and of values in them."""
_LONGEST_SIDE, _MOST_PIXELS = 20_000, 1 << 26
"""Largest image that is scaled; without scaling, only an image of the model's size is decoded."""
_SCALED = f"at most {_MOST_PIXELS:,} pixels, and {_LONGEST_SIDE:,} in a row or a column, to be scaled"


class ImageError(ExampleError):
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

    @property
    def inputs(self) -> Mapping[str, NDArray[np.uint8]]:
        """The pixels as the only input."""
        return {SINGLE: self.pixels}


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


def takes_images(problem: Problem) -> bool:
    """Whether a model's only input is a uint8 image, and so may be a picture."""
    return len(problem.inputs) == 1 and problem.inputs[0].is_image and problem.inputs[0].dtype == "uint8"


def _image_shape(problem: Problem) -> Shape:
    if not takes_images(problem):
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


def predictions(model: Model, examples: Images | Rows, top: int) -> list[dict[str, Any]]:
    """Return the model's prediction for each example.

    Returns
    -------
    list of dict
        Each has the name of an ``image`` or ``example`` and: of classes, the `top` most probable ``labels`` with their
        probabilities; of several labels, those that are on; of positions, the ``positions``, a nested list of classes; of a
        regression, its ``value``, or ``values`` if there are several.
    """
    kind = "image" if isinstance(examples, Images) else "example"
    tensors = {name: torch.from_numpy(array.copy()) for name, array in examples.inputs.items()}
    values = sum(math.prod(each.shape[1:]) for each in tensors.values())
    batch = min(_BATCH, max(1, _MOST_VALUES // values))
    with torch.no_grad():
        outputs = torch.cat([model(**take(tensors, slice(at, at + batch))) for at in range(0, len(examples.names), batch)])
    found = [_prediction(output, model.facts, top) for output in outputs]
    return [{kind: name, **each} for name, each in zip(examples.names, found, strict=True)]


def _prediction(output: torch.Tensor, facts: Facts, top: int) -> dict[str, Any]:
    """Return the prediction for one example, of the model's output ``[outputs, *positions]``."""
    task, classes = facts.problem.task, facts.class_names
    if task == "regression":
        return {"value": float(output[0])} if len(output) == 1 else {"values": output.tolist()}
    if task == "positions":
        return {"positions": output.argmax(0).tolist()}
    shares, order = (output.softmax(0) if task == "classes" else output.sigmoid()).sort(descending=True)
    most = top if task == "classes" else int((shares > 0.5).sum())
    pairs = list(zip(shares.tolist(), order.tolist(), strict=True))[:most]
    return {"labels": [{"label": classes[i], "probability": share} for share, i in pairs]}


def format_predictions(results: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> str:
    """Return the result of :func:`predictions` as text, one line for each example."""
    names = [one_line(each.get("image", each.get("example"))) for each in results]
    wide = max(map(len, names))
    return "\n".join(f"{name:<{wide}}  {_text(each, class_names)}" for name, each in zip(names, results, strict=True))


def _text(result: Mapping[str, Any], class_names: Sequence[str]) -> str:
    if "positions" in result:
        counts = np.bincount(np.ravel(result["positions"]), minlength=len(class_names))
        return "  ".join(f"{one_line(name)} {count:,}" for name, count in zip(class_names, counts, strict=True) if count)
    if "labels" in result:
        found = [f"{one_line(each['label'])} {100 * each['probability']:.1f} %" for each in result["labels"]]
        return "  ".join(found) or "none"
    return "  ".join(f"{value:.6g}" for value in result.get("values", [result.get("value")]))
