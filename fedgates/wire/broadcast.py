"""Choice of the payload for each client: a snapshot of the state, or a delta or relay from the state that the client knows."""

from fedgates.types import Update
from fedgates.wire.codec import Codec
from fedgates.wire.deltas import Deltas
from fedgates.wire.relay import AcceptedUpdate, VersionedState
from fedgates.wire.relays import Relays


class Broadcast:
    """Record of the state that each client knows, which picks the smallest of a snapshot, a delta and a relay.

    After a valid reply, a client is known to have the state that it was last sent. Until then it gets a snapshot, so a lost
    message costs only one reply. A client that replies with an error, such as a client without memory, gets snapshots for the
    rest of the run. A client that was never sent a state knows the initial state.

    Parameters
    ----------
    codec : Codec
        The run's codec.
    most_updates : int
        Largest number of updates in a relay, and of masks in a delta by coins.
    """

    def __init__(self, codec: Codec, most_updates: int) -> None:
        self._relays = Relays(codec, most_updates) if codec.relays else None
        self._deltas = Deltas(codec, most_updates) if codec.coupling else None
        self._snapshot = b""
        self._opens = 0
        """Round that the current state opens."""
        self._known: dict[int, int] = {}
        """Round whose opening state each client knows; 0 while its reply is awaited."""
        self._refused: set[int] = set()
        """Clients that replied with an error."""

    def open(self, current: VersionedState, snapshot: bytes) -> None:
        """Open a round: set the current state and its coded snapshot."""
        self._opens, self._snapshot = current.server_round, snapshot
        if self._relays:
            self._relays.open(current, snapshot)
        if self._deltas:
            self._deltas.open(current, snapshot, set(self._known.values()))

    def collect(self, update: Update, payload: bytes) -> None:
        """Record an accepted update of the current round and its payload."""
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
        """Record that a closed round did not change the state after all; clients that have the new state get snapshots."""
        for history in (self._relays, self._deltas):
            if history:
                history.revoke(server_round)
        self._known = {client: known if known <= server_round else 0 for client, known in self._known.items()}

    def payload(self, client: int) -> bytes:
        """Return the smallest payload for a client; until :meth:`confirm`, the client then counts as knowing no state."""
        known = 0 if client in self._refused else self._known.get(client)
        self._known[client] = 0
        relay = self._relays.payload(known) if self._relays and known else None
        delta = self._deltas.payload(known) if self._deltas else None
        return min([self._snapshot, *[each for each in (delta, relay) if each is not None]], key=len)

    def refuse(self, client: int) -> None:
        """Record that a client replied with an error, which may mean that it could not read the state."""
        self._refused.add(client)

    def confirm(self, client: int) -> None:
        """Record that a client sent a valid reply, so that it knows the current state."""
        self._known[client] = self._opens
