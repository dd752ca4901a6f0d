"""What a server sends to each client: a snapshot of the state, or a relay of the updates since the state that it knows."""

from collections.abc import Iterator

from fedgates.wire.codec import Codec
from fedgates.wire.relay import AcceptedUpdate, VersionedState
from fedgates.wire.states import state_crc

_BYTES_A_VALUE = 4


class Broadcast:
    """Record of the state that each client knows, and of the coded updates that lead from it to the current state.

    A client knows the state that it was last sent once it has sent a valid reply; until then it counts as knowing none, so a
    client that lost its memory, or a message, costs one reply and gets a snapshot next time. Coded updates are kept while their
    total is smaller than a snapshot: beyond that a snapshot is sent anyway. During a round, whose next snapshot does not exist
    yet, they are kept up to four bytes per gate and per value of the tail.

    Parameters
    ----------
    codec : Codec
        The run's codec.
    most_updates : int
        Largest number of updates in a relay: a device decodes every one of them.
    """

    def __init__(self, codec: Codec, most_updates: int) -> None:
        self._codec, self._most = codec, most_updates
        self._snapshot = b""
        self._current: VersionedState | None = None
        self._accepted: dict[int, list[AcceptedUpdate] | None] = {}
        """Accepted updates of each remembered round, in order; None for a round that did not change the state."""
        self._crcs: dict[int, int] = {}
        """CRC of the state that opened each round."""
        self._known: dict[int, int] = {}
        """For each client the round whose opening state it knows."""
        self._collected: list[AcceptedUpdate] = []
        self._room = 0
        """Bytes that may still be collected; below 0, the round's updates are too large to be relayed."""
        self._relays: dict[int, bytes] = {}
        """Relays to the current state, by the round of their base."""

    def open(self, current: VersionedState, snapshot: bytes) -> None:
        """Open a round: set the state that payloads lead to, and its coded snapshot."""
        self._current, self._snapshot, self._relays = current, snapshot, {}
        self._collected, self._room = [], _BYTES_A_VALUE * (current.state.size + self._codec.tail)
        if self._codec.relays:
            self._crcs[current.server_round] = state_crc(current.state)
            while self._too_much(len(snapshot)):
                del self._accepted[min(self._accepted)]
            oldest = min(self._accepted, default=current.server_round)
            self._crcs = {server_round: crc for server_round, crc in self._crcs.items() if server_round >= oldest}

    def collect(self, update: AcceptedUpdate) -> None:
        """Remember an accepted update of the current round."""
        if self._codec.relays:
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
        elif self._codec.relays:
            self._accepted[server_round] = sorted(self._collected, key=lambda update: update.client) if changed else None
        self._collected = []

    def revoke(self, server_round: int) -> None:
        """Record that a closed round has not changed the state after all: clients that were sent the new one know none."""
        if server_round in self._accepted:
            self._accepted[server_round] = None
        self._crcs.pop(server_round + 1, None)
        self._known = {client: known for client, known in self._known.items() if known <= server_round}

    def payload(self, client: int) -> bytes:
        """Return the smallest payload for this client, which counts as knowing no state until :meth:`confirm`."""
        base = self._known.pop(client, None)
        if base is None or base not in self._crcs or self._current is None:
            return self._snapshot
        if base not in self._relays:
            rounds = [self._accepted[server_round] for server_round in range(base, self._current.server_round)]
            self._relays[base] = self._codec.pack_relay((base, self._crcs[base]), rounds, self._current)
        return min(self._snapshot, self._relays[base], key=len)

    def confirm(self, client: int) -> None:
        """Record that a client sent a valid reply, so that it knows the current state."""
        if self._current is not None:
            self._known[client] = self._current.server_round

    def _too_much(self, snapshot_bytes: int) -> bool:
        lengths = [len(update.payload) for update in self._remembered()]
        return sum(lengths) > snapshot_bytes or len(lengths) > self._most

    def _remembered(self) -> Iterator[AcceptedUpdate]:
        return (update for accepted in self._accepted.values() for update in accepted or ())
