"""Record that a server keeps to code deltas: earlier states, and the clients whose masks were counted in each round."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from heapq import nlargest, nsmallest

import numpy as np
from numpy.typing import NDArray

from fedgates.types import Votes
from fedgates.util.text import error_line
from fedgates.wire.codec import Codec
from fedgates.wire.counted_rounds import CountedRound
from fedgates.wire.flips import NO_FLIPS, Flips
from fedgates.wire.relay import VersionedState
from fedgates.wire.states import state_crc

log = logging.getLogger("fedgates")
_MOST_BASES = 32
"""Largest number of base states besides the initial one; the server keeps each of them in coded form."""
_MOST_ROUNDS = 256
"""Largest number of rounds between the two states of a delta."""
_SAMPLED = 8
"""Number of masks per round whose flips are counted: those of the clients with the smallest names."""
INITIAL = 1
"""Round that the initial state opens; a client computes this state itself."""


@dataclass
class _Round:
    """A closed round."""

    clients: list[int] = field(default_factory=list)
    """Names of the counted clients, ascending; empty if the state did not change."""
    flips: Flips = NO_FLIPS


class Deltas:
    """Record of the states and counted clients of a run, which codes deltas to the current state.

    Parameters
    ----------
    codec : Codec
        The run's codec.
    most_masks : int
        Largest number of masks in a delta by coins, because its reader regenerates the coins of each mask.
    """

    def __init__(self, codec: Codec, most_masks: int) -> None:
        coupling = codec.coupling
        initial = coupling.initial if coupling else None
        self._codec, self._most = codec, most_masks
        self._by_coins = bool(coupling and coupling.expect)
        """Whether deltas by coins are possible."""
        # the digest of a network does not cover the values of a tail, so a client's initial values may differ
        self._initial = state_crc(initial) if initial and not codec.tail else None
        self._first = INITIAL if initial else INITIAL + 1
        """First round whose opening state may be a base."""
        self._unseen = 0
        """Round whose opening state is known to clients that were never sent a state; 0 if there is none."""
        self._current: VersionedState | None = None
        self._snapshots: dict[int, bytes] = {}
        """Coded states, by the round that they opened."""
        self._trials: dict[int, int] = {}
        self._rounds: dict[int, _Round] = {}
        self._masks: dict[int, NDArray[np.uint8]] = {}
        """Masks of the current round by client, for the clients with the smallest names."""
        self._clients: list[int] = []
        self._coded: dict[int, bytes | None] = {}
        """Deltas to the current state, by the round of their base."""

    def open(self, current: VersionedState, snapshot: bytes, known: Collection[int]) -> None:
        """Open a round; `known` are the rounds whose opening states are known to clients."""
        self._coded, self._masks, self._clients = {}, {}, []
        if not isinstance(current.state, Votes):
            raise TypeError("a delta needs a state of votes")
        opens = current.server_round
        self._current = current
        self._snapshots[opens], self._trials[opens] = snapshot, current.state.trials
        if opens == INITIAL:
            self._unseen = INITIAL if state_crc(current.state) == self._initial else 0
        alive = {opens, INITIAL, *nlargest(_MOST_BASES, known)}
        oldest = next((base for base in sorted(alive) if self._reaches(base)), opens)
        self._snapshots = {base: coded for base, coded in self._snapshots.items() if base in alive and base >= oldest}
        self._rounds = {number: closed for number, closed in self._rounds.items() if number >= oldest}
        self._trials = {number: trials for number, trials in self._trials.items() if number >= oldest}

    def collect(self, client: int, mask: NDArray[np.uint8]) -> None:
        """Record that a client's packed mask was counted in the current round."""
        self._clients.append(client)
        self._masks[client] = mask
        if len(self._masks) > _SAMPLED:
            self._masks = {name: self._masks[name] for name in nsmallest(_SAMPLED, self._masks)}

    def close(self, server_round: int, *, changed: bool) -> None:
        """Close a round; `changed` is whether the collected masks changed the state."""
        closed = _Round()
        if changed and self._current is not None:
            masks = dict(sorted(self._masks.items()))
            flips = (self._codec.count_flips(mask, self._current, client) for client, mask in masks.items())
            closed = _Round(sorted(self._clients), sum(flips, NO_FLIPS))
        self._rounds[server_round] = closed
        self._masks, self._clients = {}, []

    def revoke(self, server_round: int) -> None:
        """Record that a closed round did not change the state after all."""
        if server_round in self._rounds:
            self._rounds[server_round] = _Round()
        self._snapshots = {base: coded for base, coded in self._snapshots.items() if base <= server_round}

    def payload(self, known: int | None) -> bytes | None:
        """Return the delta from the state that opened round `known`, or None if there is no delta.

        `known` is None for a client that was never sent a state.
        """
        base = self._unseen if known is None else known
        if base not in self._coded:
            current = self._current
            self._coded[base] = self._encoded(base, current) if current and self._reaches(base) else None
        return self._coded[base]

    def _reaches(self, base: int) -> bool:
        """Return whether a delta leads from a base to the current state."""
        if self._current is None or base not in self._snapshots or base < self._first:
            return False
        between = range(base, self._current.server_round)
        return len(between) <= _MOST_ROUNDS and all(number in self._rounds for number in between)

    def _encoded(self, base: int, current: VersionedState) -> bytes | None:
        """Encode a delta by classes and one by coins, and return the smaller."""
        known = self._codec.unpack_state(self._snapshots[base])
        found = [self._codec.pack_delta(known, None, current, NO_FLIPS), self._encoded_by_coins(base, known, current)]
        return min((each for each in found if each is not None), key=len, default=None)

    def _encoded_by_coins(self, base: int, known: VersionedState, current: VersionedState) -> bytes | None:
        rounds = self._relevant_rounds(base, current.server_round)
        if not self._by_coins or sum(len(clients) for _, clients in rounds) > self._most:
            return None
        flips = sum((self._rounds[number].flips for number, clients in rounds if clients), NO_FLIPS)
        try:
            return self._codec.pack_delta(known, rounds, current, flips)
        except Exception as error:  # noqa: BLE001  # a user's own rule may use any attribute of an update
            reason = error_line(error)
            log.warning("deltas are coded without coins: aggregate fails for clients that did not train (%s)", reason)
            self._by_coins = False
            return None

    def _relevant_rounds(self, base: int, end: int) -> list[CountedRound]:
        """Return the rounds in ``range(base, end)``, without clients in rounds before the last reset of the votes."""
        rounds: list[CountedRound] = [(number, self._rounds[number].clients) for number in range(base, end)]
        resets = [n for n, clients in rounds if clients and self._trials.get(n) and self._trials.get(n + 1) == len(clients)]
        first = max(resets, default=base)
        return [(number, clients if number >= first else ()) for number, clients in rounds]
