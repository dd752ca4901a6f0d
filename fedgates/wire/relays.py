"""Record that a server keeps to relay updates: the coded updates of the last rounds."""

from collections.abc import Iterator

from fedgates.wire.codec import Codec
from fedgates.wire.relay import AcceptedUpdate, VersionedState
from fedgates.wire.states import state_crc

_BYTES_PER_VALUE = 4


class Relays:
    """Record of the coded updates that lead from each state to the next, which codes relays to the current state.

    Updates are kept while their total size is below that of a snapshot, because otherwise a snapshot is sent anyway. During a
    round, when the next snapshot does not exist yet, updates are kept up to four bytes per gate and per value of the tail.

    Parameters
    ----------
    codec : Codec
        The run's codec.
    most_updates : int
        Largest number of updates in a relay, because a device decodes all of them.
    """

    def __init__(self, codec: Codec, most_updates: int) -> None:
        self._codec, self._most = codec, most_updates
        self._current: VersionedState | None = None
        self._accepted: dict[int, list[AcceptedUpdate] | None] = {}
        """Accepted updates of each recorded round, in order; None for a round that did not change the state."""
        self._crcs: dict[int, int] = {}
        """CRC of the state that opened each round."""
        self._collected: list[AcceptedUpdate] = []
        self._room = 0
        """Bytes that may still be collected; below 0, the round's updates are too large to be relayed."""
        self._relays: dict[int, bytes] = {}
        """Relays to the current state, by the round of their base."""

    def open(self, current: VersionedState, snapshot: bytes) -> None:
        """Open a round."""
        self._current, self._relays = current, {}
        self._collected, self._room = [], _BYTES_PER_VALUE * (current.state.size + self._codec.tail)
        self._crcs[current.server_round] = state_crc(current.state)
        while self._too_much(len(snapshot)):
            del self._accepted[min(self._accepted)]
        oldest = min(self._accepted, default=current.server_round)
        self._crcs = {server_round: crc for server_round, crc in self._crcs.items() if server_round >= oldest}

    def collect(self, update: AcceptedUpdate) -> None:
        """Record an accepted update of the current round."""
        self._room -= len(update.payload)
        if self._room >= 0:
            self._collected.append(update)
        else:
            self._collected.clear()

    def close(self, server_round: int, *, changed: bool) -> None:
        """Close a round; `changed` is whether the collected updates changed the state.

        Updates are relayed in the order of the clients' names, so that payloads do not depend on the order of replies.
        """
        if changed and self._room < 0:
            self._accepted, self._crcs = {}, {}
        else:
            self._accepted[server_round] = sorted(self._collected, key=lambda update: update.client) if changed else None
        self._collected = []

    def revoke(self, server_round: int) -> None:
        """Record that a closed round did not change the state after all."""
        if server_round in self._accepted:
            self._accepted[server_round] = None
        self._crcs.pop(server_round + 1, None)

    def payload(self, base: int) -> bytes | None:
        """Return the relay from the state that opened round `base`, or None if there is no relay."""
        if self._current is None or base not in self._crcs:
            return None
        if base not in self._relays:
            rounds = [self._accepted[server_round] for server_round in range(base, self._current.server_round)]
            self._relays[base] = self._codec.pack_relay((base, self._crcs[base]), rounds, self._current)
        return self._relays[base]

    def _too_much(self, snapshot_bytes: int) -> bool:
        lengths = [len(update.payload) for update in self._remembered()]
        return sum(lengths) > snapshot_bytes or len(lengths) > self._most

    def _remembered(self) -> Iterator[AcceptedUpdate]:
        return (update for accepted in self._accepted.values() for update in accepted or ())
