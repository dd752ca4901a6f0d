"""What both ends know before a payload is read, and the classes of gates that follow from it.

The probability model of a coder is a function of this and of integers in the payload, and of nothing else.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedgates import rng
from fedgates.types import State, Votes, Weights
from fedgates.wire.scale import step, steps

_BINADES = 14
"""Number of levels for the magnitude of a weight: powers of two, counted down from the largest weight of its layer."""


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

    @property
    def size(self) -> int:
        """Number of gates d."""
        return sum(self.layers)

    def coins(self) -> NDArray[np.uint32]:
        """Return the uniform 32-bit numbers ``[d]`` by which this client samples its mask in this round."""
        return rng.coins(self.size, self.seed, server_round=self.server_round, client=self.client)

    def levels(self) -> tuple[NDArray[np.uint16], int]:
        """Return the level of each gate in the broadcast state, ``[d]``, and the number of levels.

        Votes: the :func:`~fedgates.wire.scale.step` of the distance to the nearer of 0 and trials; votes beyond half the trials
        count down from the last level. Weights: 0 where all 32 bits are zero, else 1 plus the number of binades below the
        largest weight of the layer. Without trials, or without a state, there is one level.
        """
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
