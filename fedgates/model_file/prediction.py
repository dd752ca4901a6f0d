"""Read images and other examples from files, and predict them with a model."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedgates.data import tables
from fedgates.data.archive import Archive
from fedgates.data.inputs import mapped, take
from fedgates.data.npz import read_input
from fedgates.data.pictures import SUFFIXES, PictureError, decode, list_pictures, read_header
from fedgates.data.tensors import channels_first
from fedgates.model_file import Model
from fedgates.models.outputs import as_predictions
from fedgates.models.probe import run
from fedgates.models.shapes import Shape
from fedgates.types import InputSpec, Problem, TaskKind
from fedgates.util.text import one_line

_BATCH, _MOST_VALUES = 256, 1 << 24
"""Largest number of examples in a batch, and of values in it."""
_LIKELY = 0.5
"""Probability above which a label is predicted in multi-label classification."""
_LONGEST_SIDE, _MOST_PIXELS = 20_000, 1 << 26
"""Largest side and number of pixels of an image to scale; without scaling, only images of the model's size are decoded."""
_SCALED = f"at most {_MOST_PIXELS:,} pixels, and {_LONGEST_SIDE:,} in a row or a column, to be scaled"


class ImageError(ValueError):
    """Raised if images are missing or do not fit the model; the message says what is expected."""


@dataclass(frozen=True)
class Images:
    """Images or other examples, as inputs of a model."""

    names: Sequence[str]
    """Name of each example in output: path, array index, or row."""
    pixels: Any
    """Images ``[n, C, H, W]``, other inputs ``[n, *shape]``, or arrays by name for several inputs."""
    passed_over: int = 0
    """Number of files in the folder without an image suffix."""
    left_out: Sequence[str] = ()
    """Reason for each skipped image in the folder, on one line."""
    num_transparent: int = 0
    """Number of images with transparent pixels, which are blended with white."""


def read_images(path: Path, problem: Problem, *, resize: bool = False, features: str = "") -> Images:
    """Read an image, all images below a folder in the order of their paths, or the examples in an npz file or a table.

    Parameters
    ----------
    path : Path
        An image, a folder, an npz file, or for inputs that are feature vectors a table (:mod:`fedgates.data.tables`). Images
        are read as in training (:mod:`fedgates.data.pictures`) and converted to the model's number of channels. In a folder,
        hidden files and files without an image suffix are ignored, and unusable images are skipped. An npz file has ``x`` or
        ``x_test``, or ``x_NAME`` or ``x_test_NAME`` for each of several inputs; images in it are uint8
        ``[n, H, W]`` or ``[n, H, W, C]``.
    problem : Problem
        The model's inputs and outputs.
    resize : bool
        Whether to scale images of another size bilinearly, without keeping the aspect ratio. Arrays in an npz file are not
        scaled.
    features : str
        Columns of a table, separated by commas; if empty, all columns of numbers are used.

    Raises
    ------
    ImageError
        There is no usable example.
    """
    try:
        files, others = list_pictures(path) if path.is_dir() else (None, 0)
        if files is None and path.exists() and not path.is_file():  # reading a pipe would block
            raise ImageError(f"{path}: expected an image, or a folder of them")
        if files is None and path.suffix.lower() == ".npz":
            return _from_npz(path, problem)
        if files is None and path.suffix.lower() in tables.SUFFIXES:
            return _from_table(path, problem, features)
    except OSError as error:
        raise ImageError(f"{path}: expected an image, or a folder of them ({error.strerror})") from error
    shape = _image_shape(problem)
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
            left_out.append(str(error))  # the exception itself would keep the image in memory
    if not usable:
        raise ImageError(left_out[0] + (f"; {len(left_out) - 1:,} other images are unusable, too" if len(left_out) > 1 else ""))
    return Images(list(usable), np.stack(list(usable.values())), others, left_out, num_transparent)


def _image_shape(problem: Problem) -> Shape:
    if len(problem.inputs) > 1 or not problem.inputs[0].is_image:
        kinds = ", ".join(f"{spec.name}: {spec.kind}" for spec in problem.inputs)
        raise ImageError(f"expected an .npz file with the model's inputs, which are not images ({kinds})")
    channels, height, width = problem.inputs[0].shape
    return channels, height, width


def _image(file: Path, shape: Shape, *, resize: bool) -> tuple[NDArray[np.uint8], bool]:
    """Return an image ``[C, H, W]``, and whether it has transparent pixels."""
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
        raise ImageError(f"{file}: expected an image with its orientation in the header")
    return pixels.transpose(2, 0, 1), transparent


def _from_npz(path: Path, problem: Problem) -> Images:
    """Return the examples in an npz file: array x or x_test, or x_NAME or x_test_NAME for each of several inputs."""
    try:
        archive = Archive(path)
        names = {spec.name: _array_of(archive, problem, spec) for spec in problem.inputs}
    except ValueError as error:
        raise ImageError(f"{path}: expected {error}") from error
    counts = {spec.name: _expect_input(path, archive, names[spec.name], spec) for spec in problem.inputs}
    if len(set(counts.values())) > 1:
        raise ImageError(f"{path}: expected equally many examples of each input, not {counts}")
    try:
        stored = archive.read(names.values())
    except ValueError as error:
        raise ImageError(f"{path}: expected {error}") from error
    arrays = {name: channels_first(read_input(stored[own], own)) for name, own in names.items()}
    first = problem.inputs[0].name
    return Images([f"{names[first]}[{i}]" for i in range(counts[first])], arrays if len(arrays) > 1 else arrays[first])


def _from_table(path: Path, problem: Problem, features: str) -> Images:
    try:
        rows = tables.read_features(path, features)
    except ValueError as error:
        raise ImageError(f"{path}: expected {error}") from error
    (spec, *others) = problem.inputs
    if others or (spec.dtype, spec.shape) != ("float32", rows.shape[1:]):
        kinds = ", ".join(f"{each.name}: {each.kind}" for each in problem.inputs)
        raise ImageError(f"{path}: {rows.shape[1]} columns of numbers, expected the model's inputs ({kinds})")
    return Images([f"row {i}" for i in range(len(rows))], rows)


def _array_of(archive: Archive, problem: Problem, spec: InputSpec) -> str:
    """Return the name of an input's array in the file."""
    if len(problem.inputs) == 1:
        wanted, found = "x or x_test", archive.find("x") or archive.find("x_test")
    else:
        wanted = f"x_{spec.name} or x_test_{spec.name}"
        found = next((name for name in wanted.split(" or ") if name in archive.headers), None)
    if found is None:
        raise ValueError(f"an array {wanted} in the file, which has {archive.contents}")
    return found


def _expect_input(path: Path, archive: Archive, name: str, spec: InputSpec) -> int:
    """Check the header of an input's array, and return its number of examples."""
    header = archive.headers[name]
    shape = (*spec.shape[1:], spec.shape[0]) if spec.is_image else spec.shape
    full = (*header.shape, 1) if spec.dtype == "uint8" and len(header.shape) == 3 and len(shape) == 3 else header.shape
    kinds = {"uint8": header.dtype == np.uint8, "int64": header.dtype.kind in "iu", "float32": header.dtype.kind in "bf"}
    if not kinds[spec.dtype] or full[1:] != shape or not full[0]:
        wanted = f"{spec.dtype} [n, {', '.join(map(str, shape))}]"
        raise ImageError(f"{path}: {name} is {header}, expected {wanted}")
    return int(full[0])


def predictions(model: Model, images: Images, top: int) -> list[dict[str, Any]]:
    """Return the prediction for each example, as a dictionary of plain values.

    Parameters
    ----------
    model : Model
        The model.
    images : Images
        The examples.
    top : int
        Number of most probable classes to return for classification.

    Returns
    -------
    list of dict
        ``image``, the name of the example, and ``labels`` with probabilities, ``value`` or ``values`` of a regression, or the
        class of each of the ``positions``.
    """
    problem, classes = model.facts.problem, model.facts.class_names
    inputs = mapped(images.pixels, lambda array: torch.from_numpy(array.copy()))
    size = min(_BATCH, max(1, _MOST_VALUES // sum(spec.size for spec in problem.inputs)))
    with torch.no_grad():
        parts = [take(inputs, slice(at, at + size)) for at in range(0, len(images.names), size)]
        outputs = torch.cat([run(model, part) for part in parts])
    found = as_predictions(outputs, problem.task)
    return [{"image": name, **_of_one(row, problem.task, classes, top)} for name, row in zip(images.names, found, strict=True)]


def _of_one(row: torch.Tensor, task: TaskKind, classes: Sequence[str], top: int) -> dict[str, Any]:
    match task:
        case "regression":
            values = [float(value) for value in row]
            return {"value": values[0]} if len(values) == 1 else {"values": values}
        case "positions":
            return {"positions": row.argmax(0).tolist()}
        case "multi-label":
            return {"labels": [_label(name, share) for name, share in zip(classes, row, strict=True) if share > _LIKELY]}
    shares, order = row.sort(descending=True)
    return {"labels": [_label(classes[int(i)], share) for share, i in zip(shares[:top], order[:top], strict=True)]}


def _label(name: str, share: torch.Tensor) -> dict[str, Any]:
    return {"label": name, "probability": float(share)}


def format_predictions(results: Sequence[Mapping[str, Any]]) -> str:
    """Format the result of :func:`predictions` as text, one line per example."""
    names = [one_line(each["image"]) for each in results]
    wide = max(map(len, names))
    lines = []
    for name, each in zip(names, results, strict=True):
        if "labels" in each:
            text = "  ".join(f"{one_line(label['label'])} {100 * label['probability']:.1f} %" for label in each["labels"])
        elif "positions" in each:
            text = json.dumps(each["positions"])
        else:
            text = "  ".join(f"{value:.6g}" for value in each.get("values", [each.get("value")]))
        lines.append(f"{name:<{wide}}  {text}")
    return "\n".join(lines)
