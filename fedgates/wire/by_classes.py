"""The model of a delta by classes: the shares of the old votes in the new trials, and differences that depend on the share.

A gate's context of "is there a difference" is the level of its old votes (:meth:`CodingContext.levels`) with its activity; that
of the size on either side is its share in 31sts, or without old votes its activity.
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
"""Activities with a context of their own: how many, from the lowest."""
_SIDES = 31
"""Largest side."""


class ByClasses:
    """Expected votes and contexts, given the old votes alone.

    Parameters
    ----------
    base : Votes
        The old state.
    trials : int
        Trials of the new one.
    context : CodingContext
        The network.

    Attributes
    ----------
    expected : numpy.ndarray
        The votes ``[d]`` of `trials` with the shares of the old state, rounded to the nearest; half of them without old trials.
    """

    def __init__(self, base: Votes, trials: int, context: CodingContext) -> None:
        self.expected = _scaled(base, trials)
        self._level, self._sizes = replace(context, state=base).levels
        self._side = None
        if base.trials:
            self._side = (np.uint32(_SIDES) * classes_of(base) // np.uint32(min(base.trials, MOST_CLASSES))).astype(np.uint8)

    def usual(self, change: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the size of a change that is expected of each gate, ``[d]``: the mean over gates of its level."""
        weights = np.minimum(np.abs(change), MOST_COUNTED)
        total = np.bincount(self._level, weights=weights, minlength=len(self._sizes))
        return (total / np.maximum(self._sizes, 1))[self._level]

    def contexts(self, activities: NDArray[np.int8] | None) -> Contexts:
        """Return the contexts of the differences, given the activity of each gate or none."""
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
