"""What a server knows, and what a client answers: the values that methods are functions of.

Masks are held as packed bits, ``uint8 [ceil(d/8)]``, bit i of the mask being bit ``i % 8`` (least first) of byte ``i // 8``;
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
    """State of a mask method: how many of ``trials`` masks since the last prior reset had a 1 at each gate."""

    votes: NDArray[np.uint32]
    """Shape ``[d]``; each at most ``trials``."""
    trials: int
    scalars: tuple[float, ...] = ()
    """What the server's rule keeps beside them, such as a multiplier; as many as the method says, finite float64."""

    @property
    def size(self) -> int:
        """The number of gates d."""
        return len(self.votes)


@dataclass(frozen=True)
class Weights:
    """State of a weight method."""

    values: NDArray[np.float32]
    """Shape ``[d]``, finite; ``[2 d]`` where a method keeps two numbers a parameter."""
    scalars: tuple[float, ...] = ()
    """As of :class:`Votes`."""

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.values)


State = Votes | Weights
MAX_EXAMPLES = 2**31 - 1
"""The most examples that an update may claim to stand for."""
UpdateKind = Literal["mask", "values", "mask and values"]


@dataclass(frozen=True)
class Update:
    """A client's answer: a mask, and for a weight method the values at its ones."""

    mask: NDArray[np.uint8] | None
    """Packed bits; None stands for all ones."""
    values: NDArray[np.float32] | None = None
    """Shape ``[number of ones]``; None for a mask method."""
    theta: NDArray[np.float32] | None = None
    """Shape ``[d]``: the keep-probabilities that the mask is one sample of, where it is one; they stay with the client."""
    num_examples: int = 1
    """How many examples it was trained on."""
    client: int = -1
    """Name of the client that sent it; set by the server, and not part of the payload."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Further finite numbers, such as the mean training loss."""
    memory: Mapping[str, NDArray[np.float32]] | None = None
    """What this client is to be given as ``Task.memory`` when it trains next; None leaves what it has. It stays with it."""

    def gates(self, size: int) -> NDArray[np.uint8]:
        """The mask as ``[size]`` values 0 and 1."""
        return np.ones(size, dtype=np.uint8) if self.mask is None else unpack(self.mask, size)

    def dense(self, size: int) -> NDArray[np.float32]:
        """The values in their places, ``[size]``, and zeros elsewhere; a mask alone has the value 1 at its ones."""
        if self.mask is None and self.values is not None:
            return self.values
        dense = np.zeros(size, dtype=np.float32)
        dense[self.gates(size).astype(bool)] = 1 if self.values is None else self.values
        return dense


def pack(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Bits ``[d]`` to packed bytes ``[ceil(d/8)]``."""
    return np.packbits(mask, bitorder="little")


def unpack(packed: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Packed bytes to ``[size]`` values 0 and 1."""
    return np.unpackbits(packed, count=size, bitorder="little")


def count_ones(packed: NDArray[np.uint8]) -> int:
    """The number of ones in packed bits."""
    return int(np.bitwise_count(packed).sum())
