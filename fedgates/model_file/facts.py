"""Facts: the description of a model that its file has in addition to the weights."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fedgates.config.names import WEIGHT_SCALE_IDS
from fedgates.errors import ModelFileError
from fedgates.nn.size import NetworkSize
from fedgates.types import Problem

_MOST_NUMBERS, _MOST_DIMENSIONS = 1 << 32, 16
"""Largest numbers of elements and dimensions of a layer."""
_WEIGHT_SCALES = {"": "", **{stored: name for name, stored in WEIGHT_SCALE_IDS.items()}}
"""Mapping from the name in a file to the weight scale; both are empty for trained weights."""


@dataclass(frozen=True)
class Layer:
    """A parameter of the network: its name in torch, the class of its layer, and its shape."""

    name: str
    kind: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Facts:
    """Description of a model in its file.

    Attributes
    ----------
    model : str
        Name of the network, or "module:function" of a user-defined network.
    problem : Problem
        Inputs with their normalisation, and outputs of the network.
    class_names : tuple of str
        Names of classes or labels, in the order of the outputs; empty for regression.
    seed : int
        Seed of the frozen weights.
    weight_scale : str
        Scale of the frozen weights (:func:`fedgates.nn.gates.weight_scale`); empty if the weights are trained.
    digest : str
        Identifier of the network, in hexadecimal.
    training : mapping
        Method, data set, number of rounds and results of the training.
    layers : tuple of Layer
        Parameters in the payload, in order: gated parameters, or all trained parameters. A reader compares them with those of
        the network that it builds.
    tail : tuple of Layer
        Parameters whose values are stored beside the mask, in order.
    fixed : tuple of Layer
        Parameters that are not in the file because they keep the network's initial values.
    given : tuple of str
        Names of the parameters whose frozen weights are the network's initial weights.
    weights : str
        Name of the file with the network's initial weights; empty if there was no such file.
    fresh : str
        Patterns of the parameters whose initial weights do not come from that file.
    whole, slim : NetworkSize or None
        Size of the whole network, and of the network without dead units; None if unknown, because the network is not a chain of
        layers or could not be run.
    """

    model: str
    problem: Problem
    class_names: tuple[str, ...]
    seed: int
    weight_scale: str
    digest: str
    training: Mapping[str, str | int | float | None]
    layers: tuple[Layer, ...] = ()
    tail: tuple[Layer, ...] = ()
    fixed: tuple[Layer, ...] = ()
    given: tuple[str, ...] = ()
    weights: str = ""
    fresh: str = ""
    whole: NetworkSize | None = None
    slim: NetworkSize | None = None


def to_json(facts: Facts) -> bytes:
    """Return the facts as JSON; numbers that are not finite, such as the loss of a diverged run, become null."""
    values = asdict(facts)
    values["weight_scale"] = WEIGHT_SCALE_IDS[facts.weight_scale] if facts.weight_scale else ""
    values["training"] = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in facts.training.items()}
    for key, layers in (("layers", facts.layers), ("tail", facts.tail), ("fixed", facts.fixed)):
        values[key] = [[layer.name, layer.kind, list(layer.shape)] for layer in layers]
    return json.dumps(values, separators=(",", ":"), allow_nan=False).encode()


def from_json(text: bytes) -> Facts:
    """Parse and validate facts; the inverse of :func:`to_json`.

    Raises
    ------
    ModelFileError
        The text is not the facts of a model.
    """
    try:
        values = json.loads(text)
        facts = Facts(
            **{
                **values,
                "weight_scale": _WEIGHT_SCALES[values["weight_scale"]],
                "problem": Problem.from_dict(values["problem"]),
                "class_names": tuple(values["class_names"]),
                **{
                    key: tuple(Layer(name, kind, tuple(shape)) for name, kind, shape in values[key])
                    for key in ("layers", "tail", "fixed")
                },
                "given": tuple(values["given"]),
                "whole": _size(values["whole"]),
                "slim": _size(values["slim"]),
            }
        )
        sound = (
            len(facts.class_names) == (0 if facts.problem.task == "regression" else facts.problem.outputs)
            and all(isinstance(name, str) for name in (facts.model, facts.digest, *facts.class_names))
            and all(isinstance(name, str) for name in (facts.weights, facts.fresh, *facts.given))
            and type(facts.seed) is int
            and 0 <= facts.seed < 2**63
            and isinstance(facts.training, dict)
            and all(_is_plain(value) for value in facts.training.values())
            and all(_is_layer(layer) for layer in (*facts.layers, *facts.tail, *facts.fixed))
            and (not facts.tail or bool(facts.weight_scale))
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        sound = False
    if not sound:
        raise ModelFileError("its facts are not valid")
    return facts


def _size(values: Any) -> NetworkSize | None:  # noqa: ANN401  # any JSON in the file
    if values is None:
        return None
    size = NetworkSize(**values)
    if not all(type(number) is int and 0 <= number < 2**63 for number in (size.parameters, size.multiply_adds)):
        raise ValueError(values)
    return size


def _is_layer(layer: Layer) -> bool:
    return isinstance(layer.name, str) and isinstance(layer.kind, str) and _is_shape(layer.shape, _MOST_NUMBERS)


def _is_shape(sizes: tuple[object, ...], most: int) -> bool:
    """Return whether `sizes` are at most 16 positive integers with a product of at most `most`."""
    whole = [n for n in sizes if type(n) is int and n >= 1]
    return len(whole) == len(sizes) <= _MOST_DIMENSIONS and math.prod(whole) <= most


def _is_plain(value: object) -> bool:
    """Return whether a value is a string, a finite number or None."""
    return isinstance(value, str | int | None) or (isinstance(value, float) and math.isfinite(value))
