"""Probability model of a delta by classes: expected votes keep the old shares, and differences depend on the share.

The context for "is there a difference" is the level of a gate's old votes (:meth:`CodingContext.levels`) and its activity. The
context for the size of a difference is the gate's share in 31sts or, if there are no old votes, its activity.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedgates.types import Votes
from fedgates.wire.activities import MOST_COUNTED
from fedgates.wire.context import CodingContext
from fedgates.wire.flips import MOST_CLASSES, classes_of, rescaled
from fedgates.wire.integers import Contexts

_LOWEST, _ACTIVITIES = -7, 16
"""Lowest activity with its own context, and number of such activities."""
_SIDES = 31
"""Largest context of a side (above or below the expected votes)."""


class ByClasses:
    """Expected votes and contexts of a delta, given only the old votes.

    Parameters
    ----------
    base : Votes
        The old state.
    trials : int
        Trials of the new state.
    context : CodingContext
        The network.

    Attributes
    ----------
    expected : numpy.ndarray
        Expected votes ``[d]``: the shares of the old state times `trials`, rounded; ``trials // 2`` without old trials.
    """

    def __init__(self, base: Votes, trials: int, context: CodingContext) -> None:
        self.expected = _scaled(base, trials)
        self._level, self._sizes = replace(context, state=base).levels
        self._side = None
        if base.trials:
            self._side = (np.uint32(_SIDES) * classes_of(base) // np.uint32(min(base.trials, MOST_CLASSES))).astype(np.uint8)

    def usual(self, change: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the expected absolute change of each gate, ``[d]``: the mean over the gates of its level."""
        weights = np.minimum(np.abs(change), MOST_COUNTED)
        total = np.bincount(self._level, weights=weights, minlength=len(self._sizes))
        return (total / np.maximum(self._sizes, 1))[self._level]

    def contexts(self, activities: NDArray[np.int8] | None) -> Contexts:
        """Return the contexts of the differences; `activities` of gates are ``[d]``, or None without activities."""
        if activities is None:
            activity = np.full(len(self._level), -_LOWEST, dtype=np.uint8)
        else:
            activity = (np.clip(activities, _LOWEST, _LOWEST + _ACTIVITIES - 1) - _LOWEST).astype(np.uint8)
        zero = self._level * np.uint16(_ACTIVITIES)
        zero += activity
        if self._side is None:
            return Contexts(zero, activity, activity)
        return Contexts(zero, self._side, np.uint8(_SIDES) - self._side)


def _scaled(state: Votes, trials: int) -> NDArray[np.uint32]:
    if state.trials == trials:
        return state.votes
    if not state.trials:
        return np.full(state.size, trials // 2, dtype=np.uint32)
    return rescaled(state, trials)
