"""Callbacks of one's own in a run: what they are called with, and what an error in one of them does."""

import json

import pytest

import fedgates
from fedgates.federation import Callback

ERROR = "no room on this tracker"


class Noting(Callback):
    """Notes each call."""

    def __init__(self):
        self.started, self.records, self.trials, self.ended = [], [], [], []

    def on_start(self, server, first_round, *, resumed):
        self.started.append((first_round, resumed, server.state.trials))

    def on_round_end(self, record, server):
        self.records.append(dict(record))
        self.trials.append(server.state.trials)

    def on_end(self, server, *, finished):
        self.ended.append((finished, server.state.trials))


class Raising(Noting):
    """Raises at one of the calls."""

    def __init__(self, at, number=1):
        super().__init__()
        self.at, self.number = at, number

    def on_start(self, server, first_round, *, resumed):
        super().on_start(server, first_round, resumed=resumed)
        if self.at == "start":
            raise RuntimeError(ERROR)

    def on_round_end(self, record, server):
        super().on_round_end(record, server)
        if self.at == "round" and record["round"] == self.number:
            raise RuntimeError(ERROR)

    def on_end(self, server, *, finished):
        super().on_end(server, finished=finished)
        if self.at == "end":
            raise RuntimeError(ERROR)


def simulate(settings, *callbacks):
    return fedgates.simulate(settings, num_clients=3, callbacks=callbacks, progress=False)


def lines_of(folder):
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


def test_a_callback_is_called_at_the_start_after_each_round_and_at_the_end(raw):
    noting = Noting()
    result = simulate(raw(num_server_rounds=3, strategy="fedpm", reset_every=9), noting)
    assert noting.started == [(1, False, 0)]
    assert noting.records == lines_of(result.folder)
    assert [record["round"] for record in noting.records] == [1, 2, 3]
    assert noting.trials == [3, 6, 9]  # the state after each round
    assert noting.ended == [(True, 9)]


@pytest.mark.slow
def test_a_callback_of_a_resumed_run_starts_with_the_next_round(raw):
    folder = simulate(raw(num_server_rounds=1, strategy="fedpm", reset_every=9)).folder
    noting = Noting()
    simulate(raw(num_server_rounds=2, strategy="fedpm", reset_every=9, resume=str(folder)), noting)
    assert noting.started == [(2, True, 3)]
    assert noting.records == lines_of(folder)[1:]


def test_a_callback_that_raises_ends_the_run_after_the_others_have_ended(raw, tmp_path):
    before, raising, after = Noting(), Raising("round", number=2), Noting()
    with pytest.raises(RuntimeError, match=ERROR):
        simulate(raw(num_server_rounds=3), before, raising, after)
    assert [record["round"] for record in before.records] == [1, 2]
    assert [record["round"] for record in after.records] == [1]  # its turn in round 2 comes after the error
    assert [[finished for finished, _ in each.ended] for each in (before, raising, after)] == [[False]] * 3
    (folder,) = (tmp_path / "runs").iterdir()
    assert [line["round"] for line in lines_of(folder)] == [1, 2]  # the run's own callbacks come first
    assert (folder / "checkpoint-00002.safetensors").exists()


def test_only_callbacks_that_have_started_are_ended(raw):
    before, raising, after = Noting(), Raising("start"), Noting()
    with pytest.raises(RuntimeError, match=ERROR):
        simulate(raw(), before, raising, after)
    assert (before.ended, raising.ended, after.started, after.ended) == ([(False, 0)], [], [], [])


def test_an_error_at_the_end_is_raised_once_all_have_ended(raw):
    raising, after = Raising("end"), Noting()
    with pytest.raises(RuntimeError, match=ERROR):
        simulate(raw(), raising, after)
    assert [finished for finished, _ in after.ended] == [True]


def test_an_attempt_without_a_quorum_is_reported_too(raw):
    noting = Noting()
    nodes = [{"partition-id": i, "num-partitions": 3, "max-payload-mb": 1e-6} for i in range(3)]
    settings = raw(max_failed_rounds=2)
    with pytest.raises(fedgates.QuorumError):
        fedgates.simulate(settings, node_configs=nodes, callbacks=[noting], progress=False)
    assert [(record["round"], record["attempt"], record["quorum"]) for record in noting.records] == [
        (1, 1, False),
        (1, 2, False),
    ]
    assert noting.ended == [(False, 0)]
