"""What both ends of the wire hold before a payload is read, and the classes of gates that follow from it.

A coder's model is a function of this and of integers in the payload itself; nothing else.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedgates import rng
from fedgates.types import State, Votes, Weights
from fedgates.wire.scale import step, steps

_BINADES = 14
"""Levels for the size of a weight: the factor of two it lies in, counted down from its layer's largest."""


@dataclass(frozen=True)
class CodingContext:
    """What both ends know of a message.

    ``state`` is the one that opened the round, decoded; ``client`` the name of the client that sends or receives.
    """

    digest: bytes
    """Eight bytes that name the network."""
    layers: tuple[int, ...]
    """The size of each parameter, in order; their sum is d."""
    server_round: int = 0
    state: State | None = None
    seed: int = 0
    client: int = 0
    scalars: int = 0
    """How many numbers the method's state has beside its array."""

    @property
    def size(self) -> int:
        """The number of gates d."""
        return sum(self.layers)

    def coins(self) -> NDArray[np.uint32]:
        """The numbers, ``[d]``, by which this client's mask is sampled in this round, if its method samples."""
        return rng.coins(self.size, self.seed, server_round=self.server_round, client=self.client)

    def levels(self) -> tuple[NDArray[np.uint16], int]:
        """A level for each gate, ``[d]``, from what the broadcast state says of it, and how many levels there are.

        Votes: the :func:`~fedgates.wire.scale.step` of their distance to the nearer of 0 and trials; those beyond half the
        trials count down from the last level. Weights: 0 where all 32 bits are zero, else 1 and the number of binades below
        the largest of the layer. Without trials, or a state, there is one level.
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
