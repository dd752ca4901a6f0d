"""What a server keeps to code deltas, and what each client is sent."""

from dataclasses import replace

import numpy as np
import pytest
from wire_cases import COUPLING, DIGEST, SEED, aggregate, floats, sampled_by_coins, start_theta

from fedgates.types import Update, Votes, pack
from fedgates.wire import VersionedState, describe
from fedgates.wire.broadcast import Broadcast
from fedgates.wire.codec import Codec, WireOptions
from fedgates.wire.context import CodingContext
from fedgates.wire.header import DELTA, HEADER_SIZE, peek

LAYERS, ROWS = (400 * 10, 10), (10, 1)
SIZE = sum(LAYERS)
INITIAL = Votes(np.zeros(SIZE, np.uint32), 0)


class Server:
    """Rounds of a server by hand: masks whose probabilities moved a little, added to votes."""

    def __init__(self, downlink="delta", most_updates=256, reset_every=100, coupling=COUPLING):
        if coupling:
            coupling = coupling._replace(initial=INITIAL, expect=coupling.expect and self.untrained)
        options = WireOptions(uplink="side-info", downlink=downlink, seed=SEED)
        self.codec = Codec(options, LAYERS, DIGEST, "mask", rows=ROWS, coupling=coupling)
        self.downlink, self.reset_every = Broadcast(self.codec, most_updates), reset_every
        self.state, self.round = INITIAL, 0
        self.open()

    def open(self):
        self.round += 1
        self.snapshot = self.codec.pack_state(self.state, self.round)
        self.downlink.open(VersionedState(self.state, self.round), self.snapshot)

    @property
    def known(self):
        return VersionedState(self.state, self.round)

    def heard(self, *clients):
        for client in clients:
            self.downlink.payload(client)
            self.downlink.confirm(client)

    def rule(self, state, updates, server_round):
        return aggregate(INITIAL if (server_round - 1) % self.reset_every == 0 else state, updates, server_round)

    def untrained(self, state, rounds):
        theta = start_theta(state)
        for server_round, clients in rounds:
            contexts = (CodingContext(DIGEST, LAYERS, server_round, seed=SEED, client=client) for client in clients)
            updates = [Update(pack(sampled_by_coins(floats(theta), context))) for context in contexts]
            state = self.rule(state, updates, server_round)
        return state

    def close(self, *clients, quorum=True, order=1):
        updates = []
        for client in clients[::order]:
            context = CodingContext(DIGEST, LAYERS, self.round, self.state, SEED, client)
            theta = np.clip(start_theta(self.state) + 0.02 * np.random.default_rng(client).normal(size=SIZE), 0, 1)
            updates.append(Update(pack(sampled_by_coins(floats(theta), context)), client=client))
            self.downlink.collect(updates[-1], self.codec.pack_update(updates[-1], self.known, client))
        if quorum:
            self.state = self.rule(self.state, updates, self.round)
        self.downlink.close(self.round, changed=quorum)
        self.open()

    def delta_of(self, client):
        payload = self.downlink.payload(client)
        assert peek(payload).kind == DELTA, describe(payload)
        return payload


def base_of(payload):
    header = peek(payload)
    return header.number if header.kind == DELTA else None


def expect_found(server, payload, base):
    found = server.codec.apply_delta(payload, base)
    assert (found.state.votes.tobytes(), found.server_round) == (server.state.votes.tobytes(), server.round)


def test_a_client_that_answered_gets_the_change_since_then():
    server = Server()
    server.close(*range(10))
    server.heard(1)
    known = server.known
    server.close(*range(10))
    payload = server.delta_of(1)
    assert base_of(payload) == 2
    assert len(payload) < len(server.snapshot) / 2
    expect_found(server, payload, known)


def test_a_client_that_was_never_sent_a_state_knows_the_initial_one():
    server = Server()
    for _ in range(3):
        server.close(*range(4))
    payload = server.delta_of(77)
    assert base_of(payload) == 1
    expect_found(server, payload, VersionedState(INITIAL, 1))


def test_a_client_that_did_not_answer_gets_a_snapshot():
    server = Server()
    server.close(*range(4))
    server.downlink.payload(1)  # sent, but never confirmed
    server.close(*range(4))
    assert server.downlink.payload(1) == server.snapshot
    server.downlink.confirm(1)
    server.close(*range(4))
    assert base_of(server.delta_of(1)) == 3


def test_where_the_first_state_is_not_the_initial_one_a_new_client_gets_a_snapshot():
    server = Server()
    server.state = replace(INITIAL, votes=np.ones(SIZE, np.uint32), trials=1)
    server.round = 0
    server.open()
    server.close(1, 2)
    assert server.downlink.payload(7) == server.snapshot


def test_a_server_that_begins_in_the_middle_sends_snapshots_first():
    server = Server()
    server.downlink = Broadcast(server.codec, 256)
    server.round = 4
    server.open()
    assert server.downlink.payload(1) == server.snapshot
    server.downlink.confirm(1)
    known = server.known
    server.close(1, 2)
    assert server.downlink.payload(2) == server.snapshot
    expect_found(server, server.delta_of(1), known)


def test_a_client_that_was_away_gets_all_rounds_at_once():
    server = Server()
    server.close(*range(5))
    server.heard(1)
    known = server.known
    server.close(2, 3)
    server.close(2, 4, quorum=False)
    server.close(5)
    payload = server.delta_of(1)
    assert base_of(payload) == 2
    expect_found(server, payload, known)


def test_rounds_before_a_reset_of_the_votes_leave_no_trace():
    server = Server(reset_every=3)
    for _ in range(2):
        server.close(*range(5))
    server.heard(1)
    known = server.known
    for _ in range(3):
        server.close(*range(5))
    expect_found(server, server.delta_of(1), known)


def by_classes(payload):
    return bool(payload[HEADER_SIZE + 10] & 2)


@pytest.mark.parametrize(("most", "coins"), [(19, False), (20, True), (0, False)])
def test_coins_of_no_more_masks_than_asked_for_are_regenerated(most, coins):
    server = Server(most_updates=most)
    server.close(*range(10))
    server.heard(1)
    known = server.known
    server.close(*range(10))
    server.close(*range(10, 20))
    payload = server.delta_of(1)
    assert (base_of(payload), by_classes(payload)) == (2, not coins)
    expect_found(server, payload, known)


def test_the_smaller_of_both_is_sent():
    """Over rounds in which probabilities drift far, coins around the old ones say nothing."""
    server = Server(reset_every=1)
    server.close(*range(10))
    server.heard(1, 2)
    server.close(*range(10))
    assert not by_classes(server.delta_of(1))
    for _ in range(3):
        server.close(*range(10))
    assert by_classes(server.delta_of(2))


def test_states_of_at_most_32_earlier_rounds_are_kept():
    server = Server()
    for client in range(40):
        server.close(1, 2)
        server.heard(100 + client)
    kept = server.downlink._deltas._snapshots
    server.close(1, 2)
    assert set(kept) <= {1, *range(8, 43)}
    assert server.downlink.payload(100) == server.snapshot
    assert base_of(server.downlink.payload(139)) == 41


def test_over_more_rounds_than_256_a_snapshot_is_sent(monkeypatch):
    monkeypatch.setattr("fedgates.wire.deltas._MOST_ROUNDS", 3)
    server = Server()
    server.close(1, 2)
    server.heard(1, 2)
    for sent in (True, True, True, False):
        server.close(1, 2)
        if not sent:
            assert server.downlink.payload(1) == server.snapshot
    assert len(server.downlink._deltas._rounds) <= 4


def test_only_states_that_a_client_knows_are_kept():
    server = Server()
    for _ in range(8):
        server.close(1, 2)
    server.heard(1)
    for _ in range(3):
        server.close(1, 2)
    assert set(server.downlink._deltas._snapshots) == {1, 9, 12}


def test_the_order_of_replies_does_not_matter():
    payloads = set()
    for order in (1, -1):
        server = Server()
        for _ in range(2):
            server.heard(1)
            server.close(*range(20), order=order)
        payloads.add(server.delta_of(1))
    assert len(payloads) == 1


def test_a_delta_is_coded_once_for_all_that_know_the_same():
    server = Server()
    server.close(1, 2)
    server.heard(1, 2)
    server.close(1, 2)
    assert server.delta_of(1) is server.delta_of(2)


def test_a_state_that_opens_twice_costs_a_few_bytes():
    server = Server()
    server.close(*range(4))
    server.heard(1)
    server.downlink.open(server.known, server.snapshot)
    payload = server.delta_of(1)
    assert len(payload) < 150
    expect_found(server, payload, server.known)


def test_a_round_that_is_revoked_changed_nothing():
    server = Server()
    server.close(*range(4))
    server.heard(1)
    known, state = server.known, server.state
    server.close(*range(4))
    server.heard(2)  # knows a state that is withdrawn
    server.downlink.revoke(server.round - 1)
    server.state = state
    server.round -= 2
    server.open()
    server.downlink.payload(1)
    server.downlink.confirm(1)
    server.close(5, 6)
    assert server.downlink.payload(2) == server.snapshot
    expect_found(server, server.delta_of(1), known)


def test_the_smallest_of_all_is_sent_with_relays():
    sizes = {}
    for downlink in ("votes", "delta", "relay"):
        server = Server(downlink)
        server.close(*range(2))
        server.heard(1)
        server.close(*range(2))
        sizes[downlink] = len(server.downlink.payload(1))
    assert sizes["relay"] <= sizes["delta"] < sizes["votes"]


def test_without_coins_deltas_are_by_classes():
    server = Server(coupling=COUPLING._replace(expect=None))
    server.close(*range(10))
    server.heard(1)
    known = server.known
    server.close(*range(10))
    payload = server.delta_of(1)
    assert by_classes(payload)
    expect_found(server, payload, known)


def test_without_a_state_of_votes_there_are_no_deltas():
    server = Server(coupling=None)
    assert not server.codec.keeps_states
    server.close(1, 2)
    server.heard(1)
    server.close(1, 2)
    assert server.downlink.payload(1) == server.snapshot
    with pytest.raises(ValueError, match="deltas need a state of votes"):
        server.codec.apply_delta(server.snapshot, server.known)
