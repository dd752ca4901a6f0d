"""The model of a delta by coins: votes that are expected if nobody trained, and each gate's risk of a difference to them.

A gate's level is ``bit length of the risk in 2^-16, plus the activities of its row and column, minus 9``, 0 to 15, above and
below apart. Both are the context of "is there a difference", each of its size on that side.
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
"""Levels of risk; the lowest is that of risks below 2^9, in 2^-16."""

Expect = Callable[[Any, Sequence[CountedRound]], State]
"""From a state of votes and the rounds that changed it to the state if none of the counted clients had trained."""


class ByCoins:
    """Expected votes and contexts, given the coins of counted clients.

    Parameters
    ----------
    base : Votes
        The old state.
    trials : int
        Trials of the new one.
    rounds : sequence
        The rounds since then, with the counted clients of each whose coins are regenerated.
    expect : callable
        The method's rule for clients that did not train.
    context : CodingContext
        Network and seed.
    rates : numpy.ndarray
        The frequency byte of a flip for each bin of coins, ``[32]``.
    prior : int
        Probability of a 1, in 2^-16, where the base has no trials.

    Attributes
    ----------
    expected : numpy.ndarray
        The votes ``[d]`` after rounds in which nobody trained, at most `trials`.
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
            raise TypeError("a delta is of votes")
        self.expected = np.minimum(state.votes, np.uint32(trials))
        self._edges = _edges(self.expected, trials)
        risks = risks_of(base, rounds, context, rates, prior)
        self._above, self._below = (risks >> np.uint64(32)).astype(np.uint32), risks.astype(np.uint32)

    def usual(self, change: NDArray[np.int64]) -> NDArray[np.float64]:  # noqa: ARG002
        """Return the size of a change that is expected of each gate, ``[d]``."""
        return (self._above.astype(np.float64) + self._below) / 2.0**16

    def contexts(self, activities: NDArray[np.int8] | None) -> Contexts:
        """Return the contexts of the differences, given the activity of each gate or none."""
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
    """Return 1 where votes cannot fall, 2 where they cannot rise, and 0 elsewhere."""
    edges = (expected >= trials).astype(np.uint16)
    edges *= np.uint16(2)
    edges[expected == 0] = 1
    return edges
