"""Arguments and results of methods: the server's state, the clients' updates, and the inputs and outputs of networks.

A mask is packed bits, uint8 ``[ceil(d/8)]``: bit i of the mask is bit ``i % 8`` of byte ``i // 8``, counted from the least
significant; bits beyond d are zero.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Value = bool | int | float | str
"""A value of a configuration key."""

Dtype = Literal["uint8", "float32", "int64"]
"""Dtype of an input."""
TaskKind = Literal["classes", "regression", "multi-label", "positions"]
"""Kind of prediction for an example: a class, numbers, labels that are on or off, or a class for each position."""
PIXELS = (0.5,), (0.5,)
"""Mean and standard deviation that normalise uint8 values after they are scaled to 0..1."""
_MOST_VALUES, _MOST_INPUTS = 1 << 24, 64
"""Largest number of values of one example in an input, and largest number of inputs."""


@dataclass(frozen=True)
class InputSpec:
    """One input of a network."""

    name: str
    """Name of the network's keyword argument; "x" if there is only one input."""
    shape: tuple[int, ...]
    """Shape of the tensor of one example; (C, H, W) for an image."""
    dtype: Dtype
    mean: tuple[float, ...] = ()
    """Mean to subtract: one number, or one for each feature; uint8 values are first scaled to 0..1. Empty: not normalised."""
    std: tuple[float, ...] = ()
    """Standard deviation to divide by after subtracting `mean`: above 0, of the same length."""

    @property
    def is_image(self) -> bool:
        """Whether this is an image: three dimensions, uint8 or float32. In data sets, the channels are last."""
        return len(self.shape) == 3 and self.dtype != "int64"

    @property
    def features(self) -> int:
        """Number of features: channels of an image, otherwise the length of the last axis."""
        return self.shape[0] if self.is_image else self.shape[-1]

    @property
    def size(self) -> int:
        """Number of values of one example."""
        return math.prod(self.shape)

    @property
    def kind(self) -> str:
        """Dtype and shape for messages: ``uint8 (C, H, W) = (1, 8, 8)``."""
        return f"{self.dtype} {'(C, H, W) = ' if self.is_image else ''}{self.shape}"


@dataclass(frozen=True)
class Problem:
    """Inputs, task and outputs of a run; the data of every client must fit them."""

    inputs: tuple[InputSpec, ...]
    task: TaskKind
    outputs: int
    """Number of classes, of predicted numbers, or of labels."""
    positions: tuple[int, ...] = ()
    """Shape of an example's labels in the task "positions", with outputs ``[n, outputs, *positions]``; otherwise empty."""

    @classmethod
    def of_images(cls, shape: tuple[int, int, int], classes: int) -> "Problem":
        """Create a problem with uint8 images (C, H, W) and a number of classes; 0 classes are a regression of one number.

        Examples
        --------
        >>> problem = Problem.of_images((1, 28, 28), 10)
        >>> problem.shape, problem.num_classes
        ((1, 28, 28), 10)
        """
        inputs = (InputSpec("x", shape, "uint8", *PIXELS),)
        return cls(inputs, "classes" if classes else "regression", classes or 1)

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 if the task is not "classes"."""
        return self.outputs if self.task == "classes" else 0

    @property
    def shape(self) -> tuple[int, ...] | dict[str, tuple[int, ...]]:
        """First argument of a function that builds a network: the input's shape, or shapes by name for several inputs."""
        if len(self.inputs) == 1:
            return self.inputs[0].shape
        return {each.name: each.shape for each in self.inputs}

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the network's output for one example."""
        return (self.outputs, *self.positions)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "Problem":  # noqa: ANN401  # unchecked values
        """Create a problem from plain values; the inverse of :meth:`to_dict`.

        Raises
        ------
        ValueError
            The values do not describe a problem.
        """
        try:
            inputs = tuple(_read_input(each) for each in values["inputs"])
            found = cls(**{**values, "inputs": inputs, "positions": tuple(values["positions"])})
            sound = (
                1 <= len(inputs) <= _MOST_INPUTS
                and len({each.name for each in inputs}) == len(inputs)
                and all(_is_input(each) for each in inputs)
                and found.task in get_args(TaskKind)
                and _is_shape((found.outputs,))
                and _is_shape(found.positions)
                and bool(found.positions) == (found.task == "positions")
            )
        except (TypeError, KeyError, ValueError, AttributeError):
            sound = False
        if not sound:
            raise ValueError("not a problem: inputs, task, outputs and positions")
        return found


def _read_input(values: Mapping[str, Any]) -> InputSpec:
    return InputSpec(**{**values, **{key: tuple(values[key]) for key in ("shape", "mean", "std")}})


def _is_input(spec: InputSpec) -> bool:
    numbers = [n for n in (*spec.mean, *spec.std) if isinstance(n, float) and math.isfinite(n)]
    return (
        isinstance(spec.name, str)
        and spec.name.isidentifier()
        and spec.dtype in get_args(Dtype)
        and bool(spec.shape)
        and _is_shape(spec.shape)
        and len(numbers) == 2 * len(spec.mean) == 2 * len(spec.std)
        and len(spec.mean) in {0, 1, spec.features}
        and all(std > 0 for std in spec.std)
    )


def _is_shape(sizes: tuple[object, ...]) -> bool:
    """Return whether sizes are at most 16 integers of at least 1 with a product of at most 16,777,216."""
    whole = [n for n in sizes if type(n) is int and n >= 1]
    return len(whole) == len(sizes) <= 16 and math.prod(whole) <= _MOST_VALUES


@dataclass(frozen=True)
class Votes:
    """State of a mask method: each gate's votes out of ``trials``, such as its ones in the masks since the last prior reset."""

    votes: NDArray[np.uint32]
    """Shape ``[d]``; each at most ``trials``."""
    trials: int
    """Largest possible number of votes of a gate."""
    scalars: tuple[float, ...] = ()
    """Further state of the server's rule, such as a multiplier: finite float64 numbers, named by ``Spec.scalars``."""
    server_memory: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Arrays that only the server has (``Spec.server_memory``): saved in checkpoints, but not sent; empty on a client."""
    tail: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    """Values of the parameters that are sent without gates (role "sent"): finite, shape ``[t]``."""

    @property
    def size(self) -> int:
        """Number of gates d."""
        return len(self.votes)


@dataclass(frozen=True)
class Weights:
    """State of a method that trains weights."""

    values: NDArray[np.float32]
    """Shape ``[d]``, finite; ``[2 d]`` for a method with two numbers per parameter."""
    scalars: tuple[float, ...] = ()
    """As for :class:`Votes`."""
    server_memory: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """As for :class:`Votes`."""

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.values)


State = Votes | Weights
MAX_EXAMPLES = 2**31 - 1
"""Largest number of examples of an update."""
MAX_METRIC = 1e9
"""Largest absolute value of a metric of an update."""
UpdateKind = Literal["mask", "values", "mask and values", "mask and tail"]


@dataclass(frozen=True)
class Update:
    """Update of a client: a mask and, for a weight method, the values at its ones."""

    mask: NDArray[np.uint8] | None
    """Packed bits; None means all ones."""
    values: NDArray[np.float32] | None = None
    """Values at the ones of the mask, shape ``[number of ones]``; None for a mask method."""
    tail: NDArray[np.float32] | None = None
    """Trained values of the parameters that are sent without gates, shape ``[t]``; None if there are none."""
    theta: NDArray[np.float32] | None = None
    """Keep-probabilities from which the mask was sampled, shape ``[d]``; None if it is not a sample. They are not sent."""
    num_examples: int = 1
    """Number of examples that the client trained on."""
    client: int = -1
    """Name of the sending client; set by the server, not part of the payload."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Further finite numbers, such as the mean training loss."""
    memory: Mapping[str, NDArray[np.float32]] | None = None
    """``Task.memory`` for the client's next training; it is not sent. None leaves the memory unchanged."""

    def gates(self, size: int) -> NDArray[np.uint8]:
        """Return the mask as uint8 ``[size]`` of 0 and 1."""
        return np.ones(size, dtype=np.uint8) if self.mask is None else unpack(self.mask, size)

    def dense(self, size: int) -> NDArray[np.float32]:
        """Return a float32 vector ``[size]`` with the values at the ones of the mask and 0 elsewhere; without values, 1 and 0.

        Examples
        --------
        >>> mask = pack(np.array([True, False, True]))
        >>> Update(mask, np.array([0.5, -2.0], np.float32)).dense(3).tolist()
        [0.5, 0.0, -2.0]
        """
        if self.mask is None and self.values is not None:
            return self.values
        dense = np.zeros(size, dtype=np.float32)
        dense[self.gates(size).astype(bool)] = 1 if self.values is None else self.values
        return dense


def pack(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pack bits ``[d]`` into bytes ``[ceil(d/8)]``.

    Examples
    --------
    >>> pack(np.array([True, False, True, True])).tolist()
    [13]
    """
    return np.packbits(mask, bitorder="little")


def unpack(packed: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Unpack bytes to uint8 ``[size]`` of 0 and 1.

    Examples
    --------
    >>> unpack(np.array([13], np.uint8), 4).tolist()
    [1, 0, 1, 1]
    """
    return np.unpackbits(packed, count=size, bitorder="little")


def count_ones(packed: NDArray[np.uint8]) -> int:
    """Return the number of ones in packed bits.

    Examples
    --------
    >>> count_ones(np.array([13], np.uint8))
    3
    """
    return int(np.bitwise_count(packed).sum())
