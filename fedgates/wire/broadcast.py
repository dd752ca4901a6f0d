"""What a server sends to whom: a snapshot of the state, or the updates since the one that a client knows."""

from collections.abc import Iterator

from fedgates.wire.codec import Codec
from fedgates.wire.relay import AcceptedUpdate, VersionedState
from fedgates.wire.states import check

_BYTES_A_GATE = 4


class Broadcast:
    """The server's memory of what its clients know, and of the coded updates that lead from there to here.

    A client knows the state it was last sent if it answered soundly; between sending and that answer it counts as knowing
    none, so a client that lost its memory, or a message, costs one reply and is sent a snapshot next time. Coded updates are
    kept only while all of them together are smaller than a snapshot: beyond that a snapshot is sent anyway. While a round is
    under way its next snapshot is not known yet; until then they are kept up to four bytes a gate.

    Parameters
    ----------
    channel : Channel
        The run's wire.
    most_updates : int
        How many updates a relay may have: a device decodes every one of them.
    """

    def __init__(self, channel: Codec, most_updates: int) -> None:
        self._channel, self._most = channel, most_updates
        self._snapshot = b""
        self._now: VersionedState | None = None
        self._counted: dict[int, list[AcceptedUpdate] | None] = {}
        """For each round that is remembered, its counted updates in order; None where it changed nothing."""
        self._checks: dict[int, int] = {}
        """The check of the state that opened a round."""
        self._known: dict[int, int] = {}
        """Client to the round whose opening state it knows."""
        self._collected: list[AcceptedUpdate] = []
        self._room = 0
        """Bytes that may still be collected; below 0, too much has come to be ever relayed."""
        self._relays: dict[int, bytes] = {}
        """Payloads for this state, by the round of their base."""

    def open(self, known: VersionedState, snapshot: bytes) -> None:
        """The state that payloads carry from now on, and its coded snapshot."""
        self._now, self._snapshot, self._relays = known, snapshot, {}
        self._collected, self._room = [], _BYTES_A_GATE * known.state.size
        if self._channel.relays:
            self._checks[known.server_round] = check(known.state)
            while self._too_much(len(snapshot)):
                del self._counted[min(self._counted)]
            oldest = min(self._counted, default=known.server_round)
            self._checks = {at: found for at, found in self._checks.items() if at >= oldest}

    def collect(self, update: AcceptedUpdate) -> None:
        """An update of the round under way is counted."""
        if self._channel.relays:
            self._room -= len(update.payload)
            if self._room >= 0:
                self._collected.append(update)
            else:
                self._collected.clear()

    def close(self, server_round: int, *, changed: bool) -> None:
        """A round is over: what it collected made the next state, or that is the old one.

        Updates are relayed in the order of their clients' names, so that payloads are the same whoever answered first.
        """
        if changed and self._room < 0:
            self._counted, self._checks = {}, {}
        elif self._channel.relays:
            self._counted[server_round] = sorted(self._collected, key=lambda update: update.client) if changed else None
        self._collected = []

    def payload(self, client: int) -> bytes:
        """The smaller of what this client can be sent; from now on it knows nothing until :meth:`confirm`."""
        base = self._known.pop(client, None)
        if base is None or base not in self._checks or self._now is None:
            return self._snapshot
        if base not in self._relays:
            rounds = [self._counted[at] for at in range(base, self._now.server_round)]
            self._relays[base] = self._channel.pack_relay((base, self._checks[base]), rounds, self._now)
        return min(self._snapshot, self._relays[base], key=len)

    def confirm(self, client: int) -> None:
        """A client answered soundly to what it was sent: it knows the present state."""
        if self._now is not None:
            self._known[client] = self._now.server_round

    def _too_much(self, snapshot_bytes: int) -> bool:
        lengths = [len(update.payload) for update in self._remembered()]
        return sum(lengths) > snapshot_bytes or len(lengths) > self._most

    def _remembered(self) -> Iterator[AcceptedUpdate]:
        return (update for counted in self._counted.values() for update in counted or ())
