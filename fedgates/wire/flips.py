"""Flips of masks against untrained ones, and what coins say about them: which gates may have changed.

A coin's bin is that of :mod:`fedgates.wire.side_info` around the gate's share of votes, in 255ths if there are more than 255
trials, or around a prior where there are none; bins 16 to 31 are coins above it. The rate of a bin is the probability that
such a coin's bit is not the one of an untrained mask. A gate's risk is the sum of the rates of its coins, above and
below apart.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedgates import rng
from fedgates.types import State, Votes, unpack
from fedgates.wire.context import CodingContext
from fedgates.wire.counted_rounds import CountedRound
from fedgates.wire.scale import FREQUENCIES
from fedgates.wire.side_info import BINS, COIN_BITS, bins_around

MOST_CLASSES = 255
"""Largest number of trials of which every number of votes is a class of its own."""
_LEAST_PROBABILITY = 66
"""Probabilities of classes are at least this and at most its complement, in 2^-16: .001."""
_CHUNK = 1 << 16


class Flips(NamedTuple):
    """Flips of masks against untrained ones: counts of gates by the bin of their coin, ``[32]``."""

    gates: NDArray[np.int64]
    flipped: NDArray[np.int64]

    def __add__(self, other: "Flips") -> "Flips":  # type: ignore[override]
        return Flips(self.gates + other.gates, self.flipped + other.flipped)


NO_FLIPS = Flips(np.zeros(BINS, dtype=np.int64), np.zeros(BINS, dtype=np.int64))


def count_flips(mask: NDArray[np.uint8], context: CodingContext, probability: float) -> Flips:
    """Return the flips of a client's packed mask; ``context`` is that of its update, `probability` that of a coupling."""
    bins = coin_bins(context, probability)
    flipped = unpack(mask, context.size).view(np.bool_) != (bins < BINS // 2)
    every = np.bincount(bins, minlength=BINS)
    return Flips(every, np.bincount(bins[flipped], minlength=BINS))


def coin_bins(context: CodingContext, probability: float) -> NDArray[np.uint8]:
    """Return the bin of each of a client's coins, ``[d]``; ``context`` is that of its update."""
    return _Bins(context.state, fixed_point(probability)).of(context.coins())


def fixed_point(probability: float) -> int:
    """Return a probability in 2^-16, as an integer below 2^16."""
    return min(round(probability * 2**16), 2**16 - 1)


def classes_of(state: Votes) -> NDArray[np.uint32]:
    """Return the class of each gate, ``[d]``: its votes, or with more than 255 trials the nearest share of them in 255ths."""
    return state.votes if state.trials <= MOST_CLASSES else rescaled(state, MOST_CLASSES)


def rescaled(state: Votes, trials: int) -> NDArray[np.uint32]:
    """Return the votes ``[d]`` of `trials` with the shares of a state that has trials, rounded to the nearest."""
    scaled, own = np.empty(state.size, dtype=np.uint32), np.uint64(state.trials)
    for start in range(0, state.size, _CHUNK):
        few = state.votes[start : start + _CHUNK].astype(np.uint64)
        scaled[start : start + _CHUNK] = (few * np.uint64(trials) + own // np.uint64(2)) // own
    return scaled


class _Bins:
    """The bins of coins around the probabilities that a state represents."""

    def __init__(self, state: State | None, prior: int) -> None:
        self._first: NDArray[np.uint32] | np.uint32 = np.uint32(0)
        """Place of each gate's class in the table, ``[d]``, or of the only one."""
        if not isinstance(state, Votes) or not state.trials:
            self._table = _table_of((prior,))
            return
        classes = min(state.trials, MOST_CLASSES)
        self._table = _table_of(tuple(((v << 16) + classes // 2) // classes for v in range(classes + 1)))
        self._first = classes_of(state) << np.uint32(COIN_BITS)

    def of(self, coins: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """Return the bin of each gate's coin, ``[d]``."""
        return self._table[self._first | coins >> np.uint32(32 - COIN_BITS)]


@lru_cache(8)
def _table_of(probabilities: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the bin of each value of a coin's leading bits, around each probability in 2^-16: ``[n * 4096]``."""
    clipped = np.clip(probabilities, _LEAST_PROBABILITY, (1 << 16) - _LEAST_PROBABILITY)
    return np.concatenate([bins_around(f) for f in clipped.tolist()])


def risks_of(
    state: Votes, rounds: Sequence[CountedRound], context: CodingContext, table: NDArray[np.uint8], prior: int
) -> NDArray[np.uint64]:
    """Return the expected flips of each gate ``[d]`` in 2^-16: to 1 in the upper 32 bits, to 0 in the lower."""
    rates = FREQUENCIES[table].astype(np.uint64)
    rates[BINS // 2 :] <<= np.uint64(32)  # coins above the probability: an untrained mask has a 0
    total, bins = np.zeros(context.size, dtype=np.uint64), _Bins(state, prior)
    for number, clients in rounds:
        for client in clients:
            coins = rng.coins(context.size, context.seed, server_round=number, client=client)
            of_gates = bins.of(coins)
            del coins
            for start in range(0, context.size, _CHUNK):
                total[start : start + _CHUNK] += rates[of_gates[start : start + _CHUNK]]
    return total
