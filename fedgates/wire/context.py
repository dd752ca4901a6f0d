"""Knowledge that sender and receiver share before a payload is read, and the levels of gates that follow from it.

The probability model of a coder is a function only of this knowledge and of integers in the payload.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedgates import rng
from fedgates.types import State, Votes, Weights
from fedgates.wire.scale import step, steps

_CHUNK = 1 << 16
"""Number of gates to count at a time, because bincount converts its input to 64-bit integers."""
_BINADES = 14
"""Largest distance from the largest weight of a layer, in powers of two, that levels distinguish."""


class Levels(NamedTuple):
    """Levels of the gates in a broadcast state."""

    of_gate: NDArray[np.uint16]
    """Level of each gate, shape ``[d]``."""
    sizes: NDArray[np.int64]
    """Number of gates of each level."""

    @property
    def present(self) -> NDArray[np.bool_]:
        """Whether each level has gates."""
        return self.sizes > 0


@dataclass(frozen=True)
class CodingContext:
    """Knowledge that sender and receiver share about a payload."""

    digest: bytes
    """Eight bytes that identify the network."""
    layers: tuple[int, ...]
    """Size of each parameter, in order; their sum is d."""
    server_round: int = 0
    """Number of the round."""
    state: State | None = None
    """State that opened the round, as decoded; None for the payload of a state."""
    seed: int = 0
    """Seed of the run."""
    client: int = 0
    """Name of the client that sends the update."""
    scalars: int = 0
    """Number of scalars that the method's state has in addition to its array."""
    tail: int = 0
    """Number of values t that states and updates have in addition to votes and masks; 0 for a method without a tail."""
    rows: tuple[int, ...] = ()
    """Number of rows of each layer: outputs of a matrix, filters of a convolution, 1 for a vector."""
    levels_of_round: Callable[[], Levels] | None = None
    """Returns the levels of the state, to share them with the contexts of other clients."""

    @property
    def size(self) -> int:
        """Number of gates d."""
        return sum(self.layers)

    def coins(self) -> NDArray[np.uint32]:
        """Return the uniform 32-bit numbers ``[d]`` with which the client samples its mask in this round."""
        return rng.cached_coins(self.size, self.seed, server_round=self.server_round, client=self.client)

    def of_client(self, client: int) -> "CodingContext":
        """Return the context of another client of the round; it shares the levels of this context."""
        return replace(self, client=client, levels_of_round=lambda: self.levels)

    @cached_property
    def levels(self) -> Levels:
        """Levels of the gates in the broadcast state.

        For votes, the level is the :func:`~fedgates.wire.scale.step` of the distance to the nearer of 0 and trials; for votes
        above half the trials, it is counted down from the last level. For weights, the level is 0 if all 32 bits are zero, else
        1 plus the number of binades below the largest weight of the layer. Without trials, or without a state, there is only
        one level.
        """
        return self.levels_of_round() if self.levels_of_round else _sized(*self._levels())

    def _levels(self) -> tuple[NDArray[np.uint16], int]:
        """Return the level of each gate, and the number of levels."""
        state = self.state
        if isinstance(state, Votes) and state.trials:
            few = state.trials < 1 << 16
            votes = np.arange(state.trials + 1, dtype=np.uint32) if few else state.votes
            half = step(state.trials // 2) + 1
            upper = votes > state.trials // 2
            distance = steps(np.where(upper, np.uint32(state.trials) - votes, votes))
            levels = np.where(upper, np.uint16(2 * half - 1) - distance, distance)
            return levels[state.votes] if few else levels, 2 * half
        if isinstance(state, Weights):
            return _weight_levels(state.values, self.layers), _BINADES + 2
        return np.zeros(self.size, dtype=np.uint16), 1


def _sized(of_gate: NDArray[np.uint16], number: int) -> Levels:
    sizes = np.zeros(number, dtype=np.int64)
    for start in range(0, len(of_gate), _CHUNK):
        sizes += np.bincount(of_gate[start : start + _CHUNK], minlength=number)
    return Levels(of_gate, sizes)


def _weight_levels(values: NDArray[np.float32], layers: tuple[int, ...]) -> NDArray[np.uint16]:
    bits = values.view(np.uint32)
    exponents = ((bits >> np.uint32(23)) & np.uint32(255)).astype(np.int16)
    levels, start = np.empty(len(values), dtype=np.uint16), 0
    for size in layers:
        part = slice(start, start + size)
        below = exponents[part].max(initial=0) - exponents[part]
        levels[part] = np.where(bits[part] == 0, 0, 1 + np.minimum(below, _BINADES))
        start += size
    return levels
