"""What a model's file says of its model beside the weights."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fedgates.config.names import WEIGHT_SCALES
from fedgates.data.tensors import NORMALISATION
from fedgates.errors import ModelFileError
from fedgates.nn.work import Work

_MOST_PIXELS = 1 << 24
"""Numbers of one image: more than any network of ours takes, and few enough to be tried."""
_MOST_NUMBERS, _MOST_DIMENSIONS = 1 << 32, 16
"""Of one layer."""


@dataclass(frozen=True)
class Layer:
    """One of the network's parameters: what torch calls it, the class of the layer that has it, and its shape."""

    name: str
    kind: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Facts:
    """What a file says of its model beside its weights.

    Attributes
    ----------
    model : str
        The network's name, or "module:function" of somebody's own.
    input_shape : tuple of int
        (C, H, W) of one image.
    class_names : tuple of str
        In the order of the outputs; empty for a regression, which has one output.
    seed : int
        What frozen weights are made from.
    weight_scale : str
        Of the frozen weights; empty where the weights are not frozen.
    digest : str
        Names the network, in hexadecimal.
    training : mapping
        How it came to be: method, data set, rounds, what it reached, what it cost.
    normalisation : tuple of float
        Mean and standard deviation: the network takes (pixels from 0 to 1 - mean) / std.
    layers : tuple of Layer
        In the order of the weights in the payload; a reader that builds the network compares them with its own.
    whole, slim : Work or None
        What the writer found of the whole network, and of it without units that no path uses; None where it is no
        chain, and of a network that could not be tried.
    """

    model: str
    input_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    seed: int
    weight_scale: str
    digest: str
    training: Mapping[str, str | int | float | None]
    normalisation: tuple[float, float] = NORMALISATION
    layers: tuple[Layer, ...] = ()
    whole: Work | None = None
    slim: Work | None = None

    @property
    def outputs(self) -> int:
        """How many the network has."""
        return len(self.class_names) or 1


def to_json(facts: Facts) -> bytes:
    """The facts as a file has them; a number that is not finite, such as the loss of a run that diverged, as null."""
    told = asdict(facts)
    told["training"] = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in facts.training.items()}
    told["layers"] = [[layer.name, layer.kind, list(layer.shape)] for layer in facts.layers]
    return json.dumps(told, separators=(",", ":"), allow_nan=False).encode()


def from_json(text: bytes) -> Facts:
    """The inverse of :func:`to_json`.

    Raises
    ------
    ModelFileError
        Something else is in it.
    """
    try:
        told = json.loads(text)
        facts = Facts(
            **{
                **told,
                "input_shape": tuple(told["input_shape"]),
                "class_names": tuple(told["class_names"]),
                "normalisation": tuple(told["normalisation"]),
                "layers": tuple(Layer(name, kind, tuple(shape)) for name, kind, shape in told["layers"]),
                "whole": _work(told["whole"]),
                "slim": _work(told["slim"]),
            }
        )
        sound = (
            len(facts.input_shape) == 3
            and _is_shape(facts.input_shape, _MOST_PIXELS)
            and all(isinstance(name, str) for name in (facts.model, facts.weight_scale, facts.digest, *facts.class_names))
            and type(facts.seed) is int
            and 0 <= facts.seed < 2**63
            and facts.weight_scale in ("", *WEIGHT_SCALES)
            and _is_normalisation(facts.normalisation)
            and isinstance(facts.training, dict)
            and all(_is_plain(value) for value in facts.training.values())
            and all(_is_layer(layer) for layer in facts.layers)
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        sound = False
    if not sound:
        raise ModelFileError("its facts are not those of a model")
    return facts


def _work(told: Any) -> Work | None:  # noqa: ANN401  # whatever is in the file
    if told is None:
        return None
    work = Work(**told)
    if not all(type(number) is int and 0 <= number < 2**63 for number in (work.parameters, work.multiply_adds)):
        raise ValueError(told)
    return work


def _is_normalisation(numbers: tuple[object, ...]) -> bool:
    floats = [n for n in numbers if isinstance(n, float) and math.isfinite(n)]
    return len(floats) == len(numbers) == 2 and floats[1] > 0


def _is_layer(layer: Layer) -> bool:
    return isinstance(layer.name, str) and isinstance(layer.kind, str) and _is_shape(layer.shape, _MOST_NUMBERS)


def _is_shape(sizes: tuple[object, ...], most: int) -> bool:
    """Whether these are whole numbers of at least 1 that make at most so many in all."""
    whole = [n for n in sizes if type(n) is int and n >= 1]
    return len(whole) == len(sizes) <= _MOST_DIMENSIONS and math.prod(whole) <= most


def _is_plain(value: object) -> bool:
    """Whether this is a text, a finite number, or nothing."""
    return isinstance(value, str | int | None) or (isinstance(value, float) and math.isfinite(value))
