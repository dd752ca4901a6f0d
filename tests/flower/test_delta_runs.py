"""`downlink` "delta", the default, through whole runs: who is sent what, and that the state does not depend on it."""

import pytest
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
from fedgates.wire.header import DELTA, peek

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


@pytest.mark.parametrize(
    "changes", [{"strategy": "fedmask"}, {"strategy": "fedpm", "uplink": "sampled"}, {"strategy": "fedavg"}]
)
def test_where_masks_do_not_depend_on_coins_all_get_snapshots(raw, changes):
    grid, _ = noted(raw, 3, num_server_rounds=3, **changes)
    assert not [payload for payload in grid.states.values() if peek(payload).kind == DELTA]
    assert all(set(context.state) <= {"memory"} for context in grid.contexts.values())


def test_evaluators_get_changes_and_those_who_train_next_know_the_state_already(raw):
    changes = {"fraction_train": 0.6, "fraction_evaluate": 0.6, "samples_per_client": 50}
    grid, lines = expect_same_end(raw, **MOST, **changes)
    assert CHANGE in lines[-1]["evaluation_downlink"]
    both = grid.evaluated.keys() & grid.states.keys()
    assert both
    assert max(len(grid.states[key]) for key in both) < 150


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
    assert [found[server_round, 1] for server_round in (3, 4, 5)] == [CHANGE, SNAPSHOT, CHANGE]


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
