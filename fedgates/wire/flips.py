"""Flips: bits of masks that differ from those of untrained masks, and the risk of a flip given a coin.

The bin of a coin is that of :mod:`fedgates.wire.side_info`, with respect to the gate's share of votes (in 255ths if there are
more than 255 trials) or, without trials, to a prior; bins 16 to 31 hold the coins above that probability. The rate of a bin is
the probability that the bit of such a coin is flipped. The risk of a gate is the sum of the rates of its coins, separately for
coins above and below the probability.
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
"""Largest number of trials for which every number of votes is a separate class."""
_LEAST_PROBABILITY = 66
"""Smallest probability of a class in 2^-16, about .001; the largest is its complement."""
_CHUNK = 1 << 16


class Flips(NamedTuple):
    """Counts of gates, and of flipped gates, by the bin of their coins, ``[32]``."""

    gates: NDArray[np.int64]
    flipped: NDArray[np.int64]

    def __add__(self, other: "Flips") -> "Flips":  # type: ignore[override]
        return Flips(self.gates + other.gates, self.flipped + other.flipped)


NO_FLIPS = Flips(np.zeros(BINS, dtype=np.int64), np.zeros(BINS, dtype=np.int64))


def count_flips(mask: NDArray[np.uint8], context: CodingContext, probability: float) -> Flips:
    """Count the flips of a client's packed mask, given the context of its update and the probability of a coupling."""
    bins = coin_bins(context, probability)
    flipped = unpack(mask, context.size).view(np.bool_) != (bins < BINS // 2)
    every = np.bincount(bins, minlength=BINS)
    return Flips(every, np.bincount(bins[flipped], minlength=BINS))


def coin_bins(context: CodingContext, probability: float) -> NDArray[np.uint8]:
    """Return the bin of each coin of a client, ``[d]``, given the context of its update."""
    return _Bins(context.state, fixed_point(probability)).of(context.coins())


def fixed_point(probability: float) -> int:
    """Convert a probability to an integer below 2^16, in units of 2^-16."""
    return min(round(probability * 2**16), 2**16 - 1)


def classes_of(state: Votes) -> NDArray[np.uint32]:
    """Return the class of each gate, ``[d]``: its votes or, with more than 255 trials, its rounded share of votes in 255ths."""
    return state.votes if state.trials <= MOST_CLASSES else rescaled(state, MOST_CLASSES)


def rescaled(state: Votes, trials: int) -> NDArray[np.uint32]:
    """Scale the votes of a state, which has trials, to another number of trials; round to the nearest integer, ``[d]``."""
    scaled, own = np.empty(state.size, dtype=np.uint32), np.uint64(state.trials)
    for start in range(0, state.size, _CHUNK):
        few = state.votes[start : start + _CHUNK].astype(np.uint64)
        scaled[start : start + _CHUNK] = (few * np.uint64(trials) + own // np.uint64(2)) // own
    return scaled


class _Bins:
    """Bins of coins with respect to the probabilities of a state."""

    def __init__(self, state: State | None, prior: int) -> None:
        self._first: NDArray[np.uint32] | np.uint32 = np.uint32(0)
        """Offset of each gate's class in the table, ``[d]``, or of the only class."""
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
    """Return the bin for each probability in 2^-16 and each value of a coin's leading bits: ``[n * 4096]``."""
    clipped = np.clip(probabilities, _LEAST_PROBABILITY, (1 << 16) - _LEAST_PROBABILITY)
    return np.concatenate([bins_around(f) for f in clipped.tolist()])


def risks_of(
    state: Votes, rounds: Sequence[CountedRound], context: CodingContext, table: NDArray[np.uint8], prior: int
) -> NDArray[np.uint64]:
    """Return the expected number of flips of each gate, ``[d]``, in 2^-16: to 1 in the upper 32 bits, to 0 in the lower 32."""
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
