"""Probability model of a delta by coins: the votes expected if no client had trained, and the risk of a difference per gate.

A level of a gate is ``bit length of the risk in 2^-16, plus the activities of its row and column, minus 9``, clipped to 0..15.
There is one level for differences above and one for differences below. Both together are the context for "is there a
difference", and each is the context for the size of a difference on its side.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedgates.types import State, Votes
from fedgates.wire.context import CodingContext
from fedgates.wire.counted_rounds import CountedRound
from fedgates.wire.flips import risks_of
from fedgates.wire.integers import Contexts

_LEVELS, _NEGLIGIBLE = 16, 9
"""Number of levels of risk, and bit length of the largest risk in 2^-16 at the lowest level."""

Expect = Callable[[Any, Sequence[CountedRound]], State]
"""Maps a state of votes and the rounds after it to the state that would follow if no counted client had trained."""


class ByCoins:
    """Expected votes and contexts of a delta, given the coins of the counted clients.

    Parameters
    ----------
    base : Votes
        The old state.
    trials : int
        Trials of the new state.
    rounds : sequence
        Rounds after the old state, each with the counted clients whose coins are regenerated.
    expect : callable
        The method's rule for clients that did not train.
    context : CodingContext
        Network and seed.
    rates : numpy.ndarray
        Frequency byte of a flip for each bin of coins, ``[32]``.
    prior : int
        Probability of a 1, in 2^-16, if the base has no trials.

    Attributes
    ----------
    expected : numpy.ndarray
        Votes ``[d]`` that would follow if no client had trained, at most `trials`.
    """

    def __init__(
        self,
        base: Votes,
        trials: int,
        rounds: Sequence[CountedRound],
        expect: Expect,
        context: CodingContext,
        rates: NDArray[np.uint8],
        prior: int,
    ) -> None:
        state = expect(base, [each for each in rounds if each[1]])
        if not isinstance(state, Votes):
            raise TypeError("a delta needs a state of votes")
        self.expected = np.minimum(state.votes, np.uint32(trials))
        self._edges = _edges(self.expected, trials)
        risks = risks_of(base, rounds, context, rates, prior)
        self._above, self._below = (risks >> np.uint64(32)).astype(np.uint32), risks.astype(np.uint32)

    def usual(self, change: NDArray[np.int64]) -> NDArray[np.float64]:  # noqa: ARG002
        """Return the expected absolute change of each gate, ``[d]``."""
        return (self._above.astype(np.float64) + self._below) / 2.0**16

    def contexts(self, activities: NDArray[np.int8] | None) -> Contexts:
        """Return the contexts of the differences; `activities` of gates are ``[d]``, or None without activities."""
        above, below = _levels(self._above, activities), _levels(self._below, activities)
        zero = self._edges * np.uint16(_LEVELS**2)
        zero += above * np.uint16(_LEVELS)
        zero += below
        return Contexts(zero, above, below)


def _levels(risk: NDArray[np.uint32], shift: NDArray[np.int8] | None) -> NDArray[np.uint8]:
    few = np.minimum(risk, (1 << 24) - 1).astype(np.float32)  # exact, so that its exponent is the bit length
    level = np.frexp(few)[1].astype(np.int8)
    level -= np.int8(_NEGLIGIBLE)
    if shift is not None:
        level += shift
    np.clip(level, 0, _LEVELS - 1, out=level)
    level[risk == 0] = 0
    return level.view(np.uint8)


def _edges(expected: NDArray[np.uint32], trials: int) -> NDArray[np.uint16]:
    """Return 1 where expected votes cannot decrease, 2 where they cannot increase, and 0 elsewhere."""
    edges = (expected >= trials).astype(np.uint16)
    edges *= np.uint16(2)
    edges[expected == 0] = 1
    return edges
