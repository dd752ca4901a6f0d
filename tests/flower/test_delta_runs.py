"""`downlink` "delta", the default, through whole runs: who is sent what, and that the state does not depend on it."""

import pytest
from fedgates.strategies.fedpm import FedPM
from flwr.app import RecordDict
from loopback_runs import (
    FIRST_NODE,
    OF_THE_DOWNLINK,
    SMALL,
    Dying,
    Noting,
    last_checkpoint,
    run_on,
    sorts,
    with_faults,
    without,
)

from client_app import app
from fedgates.errors import WireError
from fedgates.federation import Client, partition_data
from fedgates.federation.messages import Request
from fedgates.methods.registry import build, configure
from fedgates.types import Problem
from fedgates.wire.header import DELTA, HEADER_SIZE, peek

NETWORK = SMALL
SNAPSHOT, CHANGE = "votes", "delta, votes"
MOST = {"strategy": "fedpm", "num_server_rounds": 5}


def silent(message, reply):
    return None


def noted(raw, clients=5, grid=Noting, **changes):
    """A run: what was sent to whom, its folder."""
    config = raw(**changes)
    grid = grid(app, config, clients)
    return grid, run_on(grid, config)


def expect_same_end(raw, clients=5, grid=Noting, **changes):
    """Run with deltas and with snapshots; return the first grid and its lines."""
    _, expected = noted(raw, clients, grid, downlink="votes", **changes)
    found, folder = noted(raw, clients, grid, **changes)
    assert last_checkpoint(folder).read_bytes() == last_checkpoint(expected).read_bytes()
    lines = folder.round_log.read()
    assert without(lines, *OF_THE_DOWNLINK) == without(expected.round_log.read(), *OF_THE_DOWNLINK)
    assert all(
        one["downlink_bytes"] <= other["downlink_bytes"] for one, other in zip(lines, expected.round_log.read(), strict=True)
    )
    return found, lines


def test_after_the_first_round_all_get_changes(raw):
    grid, lines = expect_same_end(raw, **MOST)
    found = sorts(grid.states)
    assert {sort for (server_round, _), sort in found.items() if server_round > 1} == {CHANGE}
    assert {sort for (server_round, _), sort in found.items() if server_round == 1} == {SNAPSHOT}  # its header alone
    assert lines[-1]["downlink"] == {CHANGE: {"messages": 5, "bytes": lines[-1]["downlink_bytes"]}}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": "coupled-masks"},
        {"strategy": "coupled-masks", "trim": 0.34},
        {"strategy": "coupled-masks", "coupled_masks.trials": 40},
        {"strategy": "fedpm", "reset_every": 3},
        {"strategy": "fedpm", "reset_every": 9, "trim": 0.34},
        {"strategy": "fedpm", "fedpm.score_init": "normal"},
        {"strategy": "fedpm", "flip_probability": 0.1},
        {"strategy": "one-bit-gates", "target_density": 0.2},
        {"strategy": "fedpm", "gates.sent": "last"},
        {"strategy": "coupled-masks", "gates.personal": "last", "fraction_evaluate": 0.5, "samples_per_client": 50},
    ],
    ids=str,
)
def test_every_method_ends_the_same_where_some_take_part_and_some_are_silent(raw, changes):
    faults = {(3, 1): silent, (4, 0, 1): silent, (4, 2, 1): silent}
    changes = {"fraction_train": 0.6, "quorum": 0.4, "num_server_rounds": 7, **changes}
    grid, _ = expect_same_end(raw, 5, with_faults(faults), **changes)
    payloads = [peek(payload) for payload in grid.states.values()]
    assert any(header.kind == DELTA for header in payloads)
    assert any(header.kind == DELTA and header.server_round - header.number > 1 for header in payloads)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"strategy": "fedmask"}, {"strategy": "fedpm", "uplink": "sampled"}])
def test_where_masks_do_not_depend_on_coins_deltas_are_by_classes(raw, changes):
    grid, _ = expect_same_end(raw, **MOST | changes)
    flags = [payload[HEADER_SIZE + 10] for payload in grid.states.values() if peek(payload).kind == DELTA]
    assert flags
    assert all(each & 2 for each in flags)


def test_weights_are_sent_whole(raw):
    grid, _ = noted(raw, 3, num_server_rounds=3, strategy="fedavg")
    assert not [payload for payload in grid.states.values() if peek(payload).kind == DELTA]
    assert all(set(context.state) <= {"memory"} for context in grid.contexts.values())


def test_evaluators_get_changes_and_those_who_train_next_know_the_state_already(raw):
    changes = {"fraction_train": 0.6, "fraction_evaluate": 0.6, "samples_per_client": 50}
    grid, lines = expect_same_end(raw, **MOST, **changes)
    assert CHANGE in lines[-1]["evaluation_downlink"]
    both = grid.evaluated.keys() & grid.states.keys()
    assert both
    assert max(len(grid.states[key]) for key in both) < 150


class NeedsLoss(FedPM):
    """A rule that uses more of an update than it may."""

    def aggregate(self, state, updates, server_round):
        def checked():
            for update in updates:
                assert update.metrics["loss"] >= 0
                yield update

        return super().aggregate(state, checked(), server_round)


def test_a_rule_that_fails_on_masks_that_nobody_trained_gets_deltas_by_classes(raw, caplog):
    grid, folder = noted(raw, 3, strategy="test_delta_runs:NeedsLoss", num_server_rounds=4)
    assert CHANGE in sorts(grid.states).values()
    assert caplog.text.count("deltas are coded without coins: aggregate fails for clients that did not train") == 1
    assert [line["clients_counted"] for line in folder.round_log.read()] == [3] * 4


def test_a_device_may_lower_the_masks_of_a_change(raw):
    nodes = [{"partition-id": i, "num-partitions": 3, "max-relay-updates": 2 if i == 0 else 9} for i in range(3)]
    config = raw(**MOST, quorum=0.5)
    grid = Noting(app, config, node_configs=nodes)
    lines = run_on(grid, config).round_log.read()
    assert [list(line["failed"]) for line in lines] == [[], ["0"], [], [], []]
    assert "more than 2 counted clients (limits.max-relay-updates)" in lines[1]["failed"]["0"]
    found = sorts(grid.states)
    assert [found[5, client] for client in range(3)] == [SNAPSHOT, CHANGE, CHANGE]


@pytest.mark.parametrize("changes", [{"fedpm.score_init": "normal"}, {"gates.sent": "last"}])
def test_a_newcomer_is_not_expected_to_make_a_state_that_may_differ_there(raw, changes):
    grid, _ = noted(raw, 5, fraction_train=0.4, num_server_rounds=4, strategy="fedpm", **changes)
    first = {}
    for (server_round, client), payload in sorted(grid.states.items()):
        first.setdefault(client, (server_round, peek(payload).kind))
    assert any(server_round > 1 for server_round, _ in first.values())
    assert all(kind != DELTA for _, kind in first.values())


def test_a_payload_beyond_the_last_round_is_not_decoded(raw):
    config = raw(**MOST)
    method = build(*configure(config), Problem.of_images((1, 8, 8), 10))
    client = Client(method, 0, partition_data(method.config, 0, 2))
    payload = bytearray(method.codec.pack_state(method.initial_state(), 1))
    payload[12:16] = (7).to_bytes(4, "little")
    with pytest.raises(WireError, match="a state for round 7, beyond num-server-rounds = 5"):
        client.reply(Request(0, 0, "train", bytes(payload), Problem.of_images((1, 8, 8), 10)))


class Forgetful(Noting):
    """Client 1 loses all that it keeps before the third round."""

    def push_messages(self, messages):
        messages = list(messages)
        self.rounds = getattr(self, "rounds", 0) + any(m.metadata.message_type == "train" for m in messages)
        if self.rounds == 3:
            self.contexts[FIRST_NODE + 1].state = RecordDict()
            self.rounds += 1
        return super().push_messages(messages)


def test_a_client_that_lost_its_state_costs_one_reply_and_gets_a_snapshot(raw):
    grid, folder = noted(raw, grid=Forgetful, quorum=0.5, **MOST)
    lines = folder.round_log.read()
    reason = "a change of the state of round 2, but this client has none"
    assert [list(line["failed"]) for line in lines] == [[], [], ["1"], [], []]
    assert reason in lines[2]["failed"]["1"]
    found = sorts(grid.states)
    assert [found[server_round, 1] for server_round in (3, 4, 5)] == [CHANGE, SNAPSHOT, SNAPSHOT]  # it may forget again
    assert found[5, 0] == CHANGE


def test_a_resumed_run_starts_with_snapshots_and_ends_bit_identically(raw):
    config = raw(**MOST, fraction_train=0.6)
    whole = run_on(Noting(app, config, 5), config)
    with pytest.raises(KeyboardInterrupt):
        run_on(Dying(app, config, 5), config)
    stopped = max(whole.path.parent.iterdir(), key=lambda path: path.stat().st_ctime)
    again = Noting(app, config, 5)
    resumed = run_on(again, config | {"resume": str(stopped)})
    assert last_checkpoint(resumed).read_bytes() == last_checkpoint(whole).read_bytes()
    found = sorts(again.states)
    assert {sort for (server_round, _), sort in found.items() if server_round == 3} == {SNAPSHOT}
    assert CHANGE in found.values()
