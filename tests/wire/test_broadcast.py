"""What a server believes that its clients know, and what it sends them."""

from dataclasses import replace

import numpy as np
import pytest
from wire_cases import DIGEST, votes_of

from fedgates.types import Update, Votes, pack
from fedgates.wire import AcceptedUpdate, VersionedState, describe
from fedgates.wire.broadcast import Broadcast
from fedgates.wire.codec import Codec, WireOptions
from fedgates.wire.header import RELAY, peek

LAYERS = (400 * 10, 10)
SIZE = sum(LAYERS)
MASK = 36 + -(-SIZE // 8)
TRIALS = 1000
"""So many that a snapshot, some ten bits a gate, is as large as several masks of a bit."""


class Server:
    """Rounds of a server by hand: masks of one bit a gate, added to votes."""

    def __init__(self, downlink="relay", most_updates=256):
        self.codec = Codec(WireOptions(uplink="packed", downlink=downlink), LAYERS, DIGEST, "mask")
        self.downlink = Broadcast(self.codec, most_updates)
        self.state, self.round = votes_of(np.random.default_rng(0), SIZE, TRIALS), 0
        self.open()

    def open(self):
        self.round += 1
        self.snapshot = self.codec.pack_state(self.state, self.round)
        self.downlink.open(VersionedState(self.state, self.round), self.snapshot)

    def payload(self, client):
        return self.downlink.payload(client)

    def heard(self, *clients):
        for client in clients:
            self.downlink.confirm(client)

    def close(self, *clients, quorum=True):
        """The round's updates are counted, and the next round opens."""
        counted = []
        for client in clients:
            mask = pack(np.random.default_rng(client).random(SIZE) < 0.5)
            payload = self.codec.pack_update(Update(mask), VersionedState(self.state, self.round), client)
            counted.append(AcceptedUpdate(client, 1, payload))
        if quorum:
            self.state = self.add(self.state, [Update(np.frombuffer(c.payload[36:], np.uint8)) for c in counted], self.round)
        for update in counted:
            mask = np.frombuffer(update.payload[36:], np.uint8)
            self.downlink.collect(Update(mask, num_examples=1, client=update.client), update.payload)
        self.downlink.close(self.round, changed=quorum)
        self.open()

    @staticmethod
    def add(state, updates, server_round):
        votes, trials = state.votes.copy(), state.trials
        for update in updates:
            votes, trials = votes + update.gates(SIZE), trials + 1
        return Votes(votes, trials)

    @property
    def relays(self):
        return self.downlink._relays

    def remembered(self):
        return sum(len(update.payload) for update in self.relays._remembered())


@pytest.fixture
def server():
    return Server()


def base_of(payload):
    """The round that a relay starts from; None for a snapshot."""
    header = peek(payload)
    return header.number if header.kind == RELAY else None


def test_who_is_new_is_sent_a_snapshot(server):
    assert server.payload(7) == server.snapshot


def test_who_answered_is_sent_what_came_since(server):
    server.payload(1)
    server.heard(1)
    known = VersionedState(server.state, 1)
    server.close(1, 2)
    payload = server.payload(1)
    assert (base_of(payload), describe(payload)) == (1, "relay, packed")
    assert len(payload) == 36 + 4 + 5 + 2 * (24 + MASK - 36)
    found = server.codec.apply_relay(payload, known, server.add)
    assert found.state.votes.tobytes() == server.state.votes.tobytes()
    assert (found.state.trials, found.server_round) == (TRIALS + 2, 2)


def test_who_did_not_answer_is_sent_a_snapshot(server):
    server.payload(1)
    server.heard(1)
    server.close(2)
    server.payload(1)  # sent, and not heard
    assert server.payload(1) == server.snapshot
    server.close(2)
    assert server.payload(1) == server.snapshot


def test_who_was_away_for_some_rounds_is_sent_all_of_them(server):
    for client in (1, 2):
        server.payload(client)
    server.heard(1, 2)
    known = VersionedState(server.state, 1)
    server.close(2)
    server.payload(2)
    server.heard(2)
    server.close(2, quorum=False)
    server.close(3)
    assert (base_of(server.payload(1)), base_of(server.payload(2))) == (1, 2)
    server.heard(1)
    assert len(server.payload(1)) == 36 + 4  # sent twice in a round: nothing has come since
    server.downlink._known[1] = 1
    found = server.codec.apply_relay(server.payload(1), known, server.add)
    assert found.state.votes.tobytes() == server.state.votes.tobytes()


def test_a_payload_is_made_once_for_all_that_know_the_same(server):
    for client in (1, 2):
        server.payload(client)
        server.heard(client)
    server.close(1)
    assert server.payload(1) is server.payload(2)


def test_a_payload_is_never_larger_than_the_snapshot_and_no_more_is_remembered(server):
    server.payload(1)
    server.heard(1)
    sorts = []
    for _ in range(30):
        server.close(8, 9)
        payload = server.payload(1)
        server.downlink._known[1] = 1  # as if it had been away since
        assert len(payload) <= len(server.snapshot)
        assert server.remembered() <= len(server.snapshot)
        assert len(server.relays._crcs) <= len(server.relays._accepted) + 1
        sorts.append(base_of(payload))
    rounds = sorts.index(None)
    assert 1 <= rounds < 30
    assert sorts == [1] * rounds + [None] * (30 - rounds)
    assert len(server.snapshot) < (rounds + 1) * (5 + 2 * (24 + MASK - 36)) + 40  # one more round would not have paid


def test_where_what_a_relay_adds_makes_it_larger_a_snapshot_is_sent(server):
    server.payload(1)
    server.heard(1)
    server.close()
    server.snapshot = server.snapshot[:44]  # no update at all, so nothing to forget; the relay is one byte longer
    server.downlink.open(VersionedState(server.state, server.round), server.snapshot)
    assert server.payload(1) == server.snapshot
    server.heard(1)
    server.downlink._known[1] = 1
    server.downlink.open(VersionedState(server.state, server.round), server.snapshot + b"..")
    assert base_of(server.payload(1)) == 1


def updates_in(payload):
    """How many updates a relay of packed masks has, in all its rounds."""
    rounds = peek(payload).server_round - peek(payload).number
    return (len(payload) - 36 - 4 - 5 * rounds) // (24 + MASK - 36)


def test_a_relay_has_no_more_updates_than_asked_for():
    server, sent = Server(most_updates=4), []
    server.payload(1)
    server.heard(1)
    for clients in ((8,), (8, 9), (9,), (), (8,)):
        server.close(*clients)
        payload = server.payload(1)
        sent.append(None if base_of(payload) is None else updates_in(payload))
        server.downlink._known[1] = 1  # as if it had been away since
    assert sent == [1, 3, 4, 4, None]
    assert server.remembered() == 4 * MASK  # the first round is forgotten, the others are not
    server.downlink._known[1] = 2
    assert updates_in(server.payload(1)) == 4


def test_a_round_of_more_updates_than_asked_for_is_forgotten_and_the_next_is_not():
    server = Server(most_updates=2)
    for clients, sent in (((2, 3, 4), None), ((2, 3), 2)):
        server.payload(1)
        server.heard(1)
        server.close(*clients)
        payload = server.payload(1)
        assert (None if base_of(payload) is None else updates_in(payload)) == sent


def test_who_is_to_be_sent_no_update_is_told_that_nothing_has_come():
    server = Server(most_updates=0)
    server.payload(1)
    server.heard(1)
    payload = server.payload(1)  # the same state again
    assert (base_of(payload), updates_in(payload)) == (1, 0)
    server.heard(1)
    server.close(2)
    assert server.payload(1) == server.snapshot
    assert not server.remembered()


def test_without_a_relay_nothing_is_remembered():
    for downlink in ("votes", "float32"):
        server = Server(downlink)
        server.payload(1)
        server.heard(1)
        server.close(1, 2)
        assert server.payload(1) == server.snapshot
        assert (server.relays, server.downlink._deltas) == (None, None)


def test_a_state_may_open_twice(server):
    # once for the clients that evaluate it, once for those that train from it
    server.payload(1)
    server.heard(1)
    server.close(1)
    assert base_of(server.payload(1)) == 1
    server.heard(1)
    server.downlink.open(VersionedState(server.state, server.round), server.snapshot)
    payload = server.payload(1)
    assert (base_of(payload), len(payload)) == (2, 36 + 4)


def test_a_round_of_more_than_four_bytes_a_gate_is_not_kept():
    server = Server()
    server.payload(1)
    server.heard(1)
    mask = server.codec.pack_update(Update(np.zeros(-(-SIZE // 8), np.uint8)), VersionedState(server.state, server.round), 2)
    fits = 4 * SIZE // len(mask)
    for client in range(fits):
        server.relays.collect(AcceptedUpdate(client, 1, mask))
    assert len(server.relays._collected) == fits
    server.relays.collect(AcceptedUpdate(fits, 1, mask))
    server.relays.collect(AcceptedUpdate(fits + 1, 1, mask))
    assert not server.relays._collected
    server.downlink.close(server.round, changed=True)
    server.open()
    assert server.payload(1) == server.snapshot
    assert not server.relays._accepted
    server.heard(1)
    server.close(2)  # later rounds are relayed again
    assert peek(server.payload(1)).kind == RELAY


def test_a_rounds_updates_have_room_for_their_tails():
    codec = Codec(WireOptions(uplink="packed", downlink="relay"), LAYERS, DIGEST, "mask and tail", tail=SIZE)
    state = votes_of(np.random.default_rng(0), SIZE, TRIALS)
    opened = VersionedState(Votes(state.votes, TRIALS, tail=np.ones(SIZE, np.float32)), 1)
    broadcast = Broadcast(codec, 256)
    broadcast.open(opened, codec.pack_state(opened.state, 1))
    update = Update(np.zeros(-(-SIZE // 8), np.uint8), tail=np.zeros(SIZE, np.float32))
    payload = codec.pack_update(update, opened, 2)
    assert 4 * SIZE < len(payload) < 8 * SIZE  # more than four bytes a gate, less than four a gate and a value
    broadcast.collect(replace(update, client=2), payload)
    assert len(broadcast._relays._collected) == 1
    broadcast.collect(replace(update, client=3), payload)
    assert not broadcast._relays._collected
