"""What a server sends to each client: a snapshot of the state, or what leads to it from the state that the client knows."""

from fedgates.types import Update
from fedgates.wire.codec import Codec
from fedgates.wire.deltas import Deltas
from fedgates.wire.relay import AcceptedUpdate, VersionedState
from fedgates.wire.relays import Relays


class Broadcast:
    """Record of the state that each client knows; picks the smallest of a snapshot, a delta and a relay.

    A client knows the state that it was last sent once it has sent a valid reply. Until then it gets a snapshot, so a client
    that lost a message costs one reply. A client that answered with an error, as one without memory does, gets snapshots for
    the rest of the run. A client that was never sent anything knows the initial state.

    Parameters
    ----------
    codec : Codec
        The run's codec.
    most_updates : int
        Largest number of updates of a relay, and of masks of a delta by coins.
    """

    def __init__(self, codec: Codec, most_updates: int) -> None:
        self._relays = Relays(codec, most_updates) if codec.relays else None
        self._deltas = Deltas(codec, most_updates) if codec.coupling else None
        self._snapshot = b""
        self._opens = 0
        """Round that the current state opens."""
        self._known: dict[int, int] = {}
        """For each client the round whose opening state it knows; 0 for one whose reply is awaited."""
        self._refused: set[int] = set()
        """Clients that answered with an error."""

    def open(self, current: VersionedState, snapshot: bytes) -> None:
        """Open a round: set the state that payloads lead to, and its coded snapshot."""
        self._opens, self._snapshot = current.server_round, snapshot
        if self._relays:
            self._relays.open(current, snapshot)
        if self._deltas:
            self._deltas.open(current, snapshot, set(self._known.values()))

    def collect(self, update: Update, payload: bytes) -> None:
        """Remember an accepted update of the current round, and its payload."""
        if self._relays:
            self._relays.collect(AcceptedUpdate(update.client, update.num_examples, payload))
        if self._deltas and update.mask is not None:
            self._deltas.collect(update.client, update.mask)

    def close(self, server_round: int, *, changed: bool) -> None:
        """Close a round; `changed` is whether the collected updates changed the state."""
        for history in (self._relays, self._deltas):
            if history:
                history.close(server_round, changed=changed)

    def revoke(self, server_round: int) -> None:
        """Record that a closed round has not changed the state after all: clients that were sent the new one know none."""
        for history in (self._relays, self._deltas):
            if history:
                history.revoke(server_round)
        self._known = {client: known if known <= server_round else 0 for client, known in self._known.items()}

    def payload(self, client: int) -> bytes:
        """Return the smallest payload for this client, which counts as knowing no state until :meth:`confirm`."""
        known = 0 if client in self._refused else self._known.get(client)
        self._known[client] = 0
        relay = self._relays.payload(known) if self._relays and known else None
        delta = self._deltas.payload(known) if self._deltas else None
        return min([self._snapshot, *[each for each in (delta, relay) if each is not None]], key=len)

    def refuse(self, client: int) -> None:
        """Record that a client answered with an error, of which a state that it cannot read may be the cause."""
        self._refused.add(client)

    def confirm(self, client: int) -> None:
        """Record that a client sent a valid reply, so that it knows the current state."""
        self._known[client] = self._opens
