"""Parsing of the data set name "devices:[DTYPE:]SHAPE:OUTPUT"."""

from typing import cast, get_args

from fedgates.config.names import DEVICES
from fedgates.types import PIXELS, Dtype, InputSpec, Problem, TaskKind


def devices_problem(value: str) -> Problem | None:
    """Parse the data set name "devices:[DTYPE:]SHAPE:OUTPUT" into a problem; return None for any other value.

    DTYPE is uint8, float32 or int64; if it is omitted, the data are uint8 images. SHAPE is the shape of an example in a file,
    HxWxC for an image. OUTPUT is a number of classes, "regression" or "regression-K" (K numbers), "multi-label-K" (K labels) or
    "positions-K" (one of K classes for each pixel of an image, or for each entry of the first axis of another input).
    """
    kind, *rest = value.split(":")
    if kind != DEVICES or not 2 <= len(rest) <= 3:
        return None
    dtype, sizes, output = rest if len(rest) == 3 else ["uint8", *rest]
    shape = [_size(size) for size in sizes.split("x")]
    task, _, number = ("classes", "", output) if output.isdecimal() else output.rpartition("-")
    if output == "regression":
        task, number = output, "1"
    outputs, least = _size(number), 1 if task in {"regression", "multi-label"} else 2
    if len(rest) == 2 and len(shape) != 3:
        return None
    if dtype not in get_args(Dtype) or task not in get_args(TaskKind) or outputs < least or min(shape) < 1:
        return None
    image = len(shape) == 3 and dtype != "int64"
    normalisation = PIXELS if dtype == "uint8" else ((), ())
    spec = InputSpec("x", tuple([shape[2], *shape[:2]] if image else shape), cast("Dtype", dtype), *normalisation)
    positions = tuple(shape[: 2 if image else 1]) if task == "positions" else ()
    return Problem((spec,), cast("TaskKind", task), outputs, positions)


def _size(text: str) -> int:
    """Parse a decimal number of at most five digits; return 0 for any other string."""
    return int(text) if text.isdecimal() and text.isascii() and len(text) <= 5 else 0
