"""What both ends know before a payload is read, and the classes of gates that follow from it.

The probability model of a coder is a function of this and of integers in the payload, and of nothing else.
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
"""Number of gates that are counted at a time: bincount makes 64-bit integers of what it counts."""
_BINADES = 14
"""Number of levels for the magnitude of a weight: powers of two, counted down from the largest weight of its layer."""


class Levels(NamedTuple):
    """The level of each gate in a broadcast state."""

    of_gate: NDArray[np.uint16]
    """Shape ``[d]``."""
    sizes: NDArray[np.int64]
    """Number of gates of each level."""

    @property
    def present(self) -> NDArray[np.bool_]:
        """Whether each level has gates."""
        return self.sizes > 0


@dataclass(frozen=True)
class CodingContext:
    """What sender and receiver both know about a payload."""

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
    """Number of scalars that the method's state has beside its array."""
    tail: int = 0
    """Number of values t that states and updates have beside votes and masks; 0 for a method without a tail."""
    rows: tuple[int, ...] = ()
    """Number of rows of each layer, as many as layers: outputs of its matrix or filters; 1 for a vector."""
    levels_of_round: Callable[[], Levels] | None = None
    """Returns the levels of the state, where other clients' payloads share them."""

    @property
    def size(self) -> int:
        """Number of gates d."""
        return sum(self.layers)

    def coins(self) -> NDArray[np.uint32]:
        """Return the uniform 32-bit numbers ``[d]`` by which this client samples its mask in this round."""
        return rng.cached_coins(self.size, self.seed, server_round=self.server_round, client=self.client)

    def of_client(self, client: int) -> "CodingContext":
        """Return the context of another client of the round; the two compute the levels once."""
        return replace(self, client=client, levels_of_round=lambda: self.levels)

    @cached_property
    def levels(self) -> Levels:
        """The level of each gate in the broadcast state, and the number of gates of each.

        Votes: the :func:`~fedgates.wire.scale.step` of the distance to the nearer of 0 and trials; votes beyond half the trials
        count down from the last level. Weights: 0 where all 32 bits are zero, else 1 plus the number of binades below the
        largest weight of the layer. Without trials, or without a state, there is one level.
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
