"""`downlink` "relay" through whole runs: who is sent what, and that the state does not depend on it."""

import pytest
from loopback_runs import (
    FEDPM,
    OF_THE_DOWNLINK,
    SMALL,
    Dying,
    Noting,
    last_checkpoint,
    method,
    run,
    run_on,
    sorts,
    votes_of,
    with_faults,
    without,
)
from safetensors.numpy import load_file

from client_app import app
from fedgates.flower import LoopbackGrid
from fedgates.flower.records import from_record
from fedgates.wire.header import RELAY, peek
from fedgates.wire.relays import Relays

NETWORK = SMALL | FEDPM
RELAYED = {"uplink": "side-info", "downlink": "relay"}
SNAPSHOT, UPDATES = "votes", "relay, side-info"
pytestmark = pytest.mark.usefixtures("without_deltas")


def silent(message, reply):
    return None


def noted(raw, clients=5, grid=Noting, **changes):
    """A run: what was sent to whom, its folder, and the grid."""
    config = raw(**{**RELAYED, **changes})
    grid = grid(app, config, clients)
    return grid, run_on(grid, config)


def same_end(one, other):
    assert last_checkpoint(one).read_bytes() == last_checkpoint(other).read_bytes()
    assert without(one.round_log.read(), *OF_THE_DOWNLINK) == without(other.round_log.read(), *OF_THE_DOWNLINK)


def test_at_first_a_snapshot_and_then_the_updates_of_the_last_round(raw):
    grid, folder = noted(raw, 3, num_server_rounds=4)
    found = sorts(grid.states)
    assert {key: sort for key, sort in found.items() if key[0] == 1} == {(1, i): SNAPSHOT for i in range(3)}
    assert {sort for (server_round, _), sort in found.items() if server_round > 1} == {UPDATES}
    lines = folder.round_log.read()
    for server_round in (2, 3, 4):
        bodies = lines[server_round - 2]["uplink_bytes"] - 3 * 36  # of the round before, without their headers
        assert {len(grid.states[server_round, i]) for i in range(3)} == {36 + 4 + 5 + 3 * 24 + bodies}


@pytest.mark.slow
def test_who_was_away_is_sent_all_updates_since_or_a_snapshot_where_that_is_smaller(raw):
    plain, expected = noted(raw, downlink="votes", fraction_train=0.4, num_server_rounds=8)
    grid, folder = noted(raw, fraction_train=0.4, num_server_rounds=8)
    same_end(folder, expected)
    assert grid.states.keys() == plain.states.keys()
    last, gaps = {}, []
    for (server_round, client), payload in sorted(grid.states.items()):
        assert len(payload) <= len(plain.states[server_round, client])
        header = peek(payload)
        assert (header.kind == RELAY) == (client in last)
        if header.kind == RELAY:
            assert header.number == last[client]
            gaps.append(server_round - last[client])
        last[client] = server_round
    assert max(gaps) > 1


@pytest.mark.slow
@pytest.mark.parametrize("uplink", ["packed", "entropy"])
def test_where_updates_are_larger_than_a_snapshot_snapshots_are_sent(raw, uplink):
    plain, expected = noted(raw, uplink=uplink, downlink="votes", num_server_rounds=3)
    grid, folder = noted(raw, uplink=uplink, num_server_rounds=3)
    same_end(folder, expected)
    assert grid.states == plain.states


@pytest.mark.parametrize("uplink", ["entropy", "side-info"])
def test_a_server_remembers_no_more_than_a_snapshot(raw, monkeypatch, uplink):
    held, opened = [], Relays.open

    def watch(self, known, snapshot):
        opened(self, known, snapshot)
        held.append((sum(len(update.payload) for update in self._remembered()), len(snapshot)))
        assert len(self._crcs) <= len(self._accepted) + 1

    monkeypatch.setattr(Relays, "open", watch)
    noted(raw, uplink=uplink, fraction_train=0.4, num_server_rounds=8, reset_every=1)
    assert all(updates <= snapshot for updates, snapshot in held)
    assert len(held) == 8
    assert any(updates for updates, _ in held) == (uplink == "side-info")


@pytest.mark.slow
def test_a_round_that_is_repeated_is_relayed_once(raw):
    faults = {(3, client, attempt): silent for client in range(4) for attempt in (1, 2)}
    _, expected = noted(raw, grid=with_faults(faults), downlink="votes", num_server_rounds=6)
    grid, folder = noted(raw, grid=with_faults(faults), num_server_rounds=6)
    same_end(folder, expected)
    lines = folder.round_log.read()
    assert [(line["round"], line["attempt"]) for line in lines] == [
        (1, 1),
        (2, 1),
        (3, 1),
        (3, 2),
        (3, 3),
        (4, 1),
        (5, 1),
        (6, 1),
    ]
    assert [line["quorum"] for line in lines] == [True, True, False, False, True, True, True, True]
    found = sorts(grid.states)
    assert [found[3, client] for client in range(5)] == [SNAPSHOT] * 4 + [UPDATES]
    assert [len(payload) for payload in grid.sent[3, 4][1:]] == [36 + 4] * 2  # it knows that state; no round lies between
    assert {found[4, client] for client in range(5)} == {UPDATES}


@pytest.mark.slow
def test_a_repeated_round_that_is_to_reset_the_prior_resets_on_both_ends(raw):
    faults = {(3, client, 1): silent for client in range(4)}
    changes = {"num_server_rounds": 5, "reset_every": 2}
    _, expected = noted(raw, grid=with_faults(faults), downlink="votes", **changes)
    _, folder = noted(raw, grid=with_faults(faults), **changes)
    same_end(folder, expected)
    assert votes_of(folder).max() <= 5


@pytest.mark.slow
def test_trimmed_votes_are_trimmed_on_both_ends(raw):
    changes = {"num_server_rounds": 4, "reset_every": 9}
    _, expected = noted(raw, downlink="votes", trim=0.2, **changes)
    grid, folder = noted(raw, trim=0.2, **changes)
    same_end(folder, expected)
    assert [sort for (server_round, _), sort in sorts(grid.states).items() if server_round > 1] == [UPDATES] * 15
    _, untrimmed = noted(raw, **changes)
    assert (votes_of(folder).max(), votes_of(untrimmed).max()) == (4 * 3, 4 * 5)  # of five masks one on either side


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{}, {"trim": 0.34}, {"coupled_masks.trials": 40}, {"fraction_train": 0.6, "quorum": 0.4}], ids=str
)
def test_clients_of_coupled_masks_rebuild_the_state_from_relays(raw, changes):
    # what the masks add to the votes depends on the coins of who sent them, so on the names in the relay
    faults = {(3, 1): silent, (4, 0, 1): silent, (4, 2, 1): silent}
    changes = {"strategy": "coupled-masks", "quorum": 0.6, "num_server_rounds": 8, **changes}
    _, expected = noted(raw, 3, with_faults(faults), downlink="votes", **changes)
    grid, folder = noted(raw, 3, with_faults(faults), **changes)
    same_end(folder, expected)
    assert UPDATES in sorts(grid.states).values()
    codec, before = (
        method(**{**NETWORK, "strategy": "coupled-masks"}).codec,
        load_file(folder.path / "checkpoint-00007.safetensors"),
    )
    kept = [from_record(context.state.array_records["known"]) for context in grid.contexts.values()]
    current = [known.state.votes for known in map(codec.unpack_state, kept) if known.server_round == 8]
    assert current
    assert all((votes == before["votes"]).all() for votes in current)


@pytest.mark.slow
@pytest.mark.parametrize(("most", "relayed"), [(0, False), (4, False), (5, True)])
def test_a_relay_of_more_updates_than_asked_for_is_not_sent(raw, most, relayed):
    plain, expected = noted(raw, downlink="votes", num_server_rounds=3)
    grid, folder = noted(raw, max_relay_updates=most, num_server_rounds=3)
    same_end(folder, expected)
    assert (grid.states == plain.states) == (not relayed)
    assert {sort for (server_round, _), sort in sorts(grid.states).items() if server_round > 1} == {
        UPDATES if relayed else SNAPSHOT
    }


@pytest.mark.slow
def test_evaluators_are_sent_relays_too_and_who_evaluated_knows_the_state_already(raw):
    changes = {"fraction_train": 0.6, "fraction_evaluate": 0.4, "num_server_rounds": 5, "samples_per_client": 50}
    _, expected = noted(raw, downlink="votes", **changes)
    grid, folder = noted(raw, **changes)
    same_end(folder, expected)
    lines = folder.round_log.read()
    assert all(0 <= line["client_accuracy"] <= 1 for line in lines)
    assert UPDATES in lines[-1]["evaluation_downlink"]
    both = grid.evaluated.keys() & grid.states.keys()  # evaluated the state that opens a round, then trained from it
    assert len(both) > 1
    assert {len(grid.states[key]) for key in both} == {36 + 4}
    for line in lines:
        sizes = [len(payload) for (at, _), payload in grid.evaluated.items() if at == line["round"] + 1]
        assert sum(sizes) == line["evaluation_downlink_bytes"]


@pytest.mark.slow
@pytest.mark.parametrize("keep_clients", [False, True])
def test_a_resumed_run_starts_with_snapshots_and_ends_bit_identically(raw, keep_clients):
    config = raw(**RELAYED, num_server_rounds=5, fraction_train=0.6)
    whole = run(config, 5)
    dying = Dying(app, config, 5)
    with pytest.raises(KeyboardInterrupt):
        run_on(dying, config)
    stopped = max(whole.path.parent.iterdir(), key=lambda path: path.stat().st_ctime)
    again = Noting(app, config, 5)
    if keep_clients:
        again.contexts = dying.contexts
    resumed = run_on(again, config | {"resume": str(stopped)})
    same_end(resumed, whole)
    found = sorts(again.states)
    assert {sort for (server_round, _), sort in found.items() if server_round == 3} == {SNAPSHOT}
    assert UPDATES in found.values()


@pytest.mark.slow
def test_without_a_relay_clients_keep_nothing(raw):
    for downlink, kept in (("votes", set()), ("relay", {"known"})):
        config = raw(downlink=downlink)
        grid = LoopbackGrid(app, config, 2)
        run_on(grid, config)
        assert [set(context.state) for context in grid.contexts.values()] == [kept] * 2
