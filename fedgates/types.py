"""States of a server and updates of clients: the arguments and results of methods.

Masks are packed bits, ``uint8 [ceil(d/8)]``, bit i of the mask being bit ``i % 8`` (least first) of byte ``i // 8``;
bits beyond d are zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Value = bool | int | float | str
"""A value of a configuration key."""


@dataclass(frozen=True)
class Votes:
    """State of a mask method: each gate's votes out of ``trials``, such as the ones in the masks since the last prior reset."""

    votes: NDArray[np.uint32]
    """Shape ``[d]``; each at most ``trials``."""
    trials: int
    scalars: tuple[float, ...] = ()
    """Further state of the server's rule, such as a multiplier: finite float64, as many as ``Spec.scalars`` names."""
    server_memory: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Arrays that only the server has (``Spec.server_memory``): in checkpoints, but not sent; empty on a client."""
    tail: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    """Values of the parameters that are sent as they are, without gates (role "sent"): finite, shape ``[t]``."""

    @property
    def size(self) -> int:
        """Number of gates d."""
        return len(self.votes)


@dataclass(frozen=True)
class Weights:
    """State of a weight method."""

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
    """Update of a client: a mask, and for a weight method the values at its ones."""

    mask: NDArray[np.uint8] | None
    """Packed bits; None stands for all ones."""
    values: NDArray[np.float32] | None = None
    """Shape ``[number of ones]``; None for a mask method."""
    tail: NDArray[np.float32] | None = None
    """Trained values of the parameters without gates, shape ``[t]``, beside the mask; None where there are none."""
    theta: NDArray[np.float32] | None = None
    """Keep-probabilities of which the mask is a sample, shape ``[d]``, if it is one; they are not sent."""
    num_examples: int = 1
    """Number of examples that the client trained on."""
    client: int = -1
    """Name of the client that sent it; set by the server, and not part of the payload."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Further finite numbers, such as the mean training loss."""
    memory: Mapping[str, NDArray[np.float32]] | None = None
    """``Task.memory`` of the client's next training, which is not sent; None leaves it unchanged."""

    def gates(self, size: int) -> NDArray[np.uint8]:
        """Return the mask as ``[size]`` values 0 and 1."""
        return np.ones(size, dtype=np.uint8) if self.mask is None else unpack(self.mask, size)

    def dense(self, size: int) -> NDArray[np.float32]:
        """Return the values at their positions, ``[size]``, and zeros elsewhere; a mask alone has the value 1 at its ones."""
        if self.mask is None and self.values is not None:
            return self.values
        dense = np.zeros(size, dtype=np.float32)
        dense[self.gates(size).astype(bool)] = 1 if self.values is None else self.values
        return dense


def pack(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pack bits ``[d]`` into bytes ``[ceil(d/8)]``."""
    return np.packbits(mask, bitorder="little")


def unpack(packed: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Unpack bytes to ``[size]`` values 0 and 1."""
    return np.unpackbits(packed, count=size, bitorder="little")


def count_ones(packed: NDArray[np.uint8]) -> int:
    """Return the number of ones in packed bits."""
    return int(np.bitwise_count(packed).sum())
