"""What the rules of a small method of one's own get: `aggregate` the client of each update, `evaluate` the client's memory."""

from dataclasses import replace

import numpy as np
import pytest
from fedgates.strategies.fedavg import FedAvg
from fedgates.strategies.fedpm import FedPM
from loopback_runs import SMALL, Noting, last_checkpoint, run_on, sorts, votes_of

from client_app import app
from fedgates.methods import add_votes

NETWORK = SMALL
AGGREGATED: list[list[int]] = []
"""The clients of the updates of each aggregation, on the server and on clients."""


class Doubling(FedPM):
    """The vote of client 2 counts twice."""

    def aggregate(self, state, updates, server_round):
        updates = list(updates)
        AGGREGATED.append([update.client for update in updates])
        return add_votes(state, [update for update in updates for _ in range(1 + (update.client == 2))])


class Veteran(FedAvg):
    """A client keeps the rounds in which it trained, and its accuracy is a tenth of their number."""

    spec = replace(FedAvg.spec, memory=("rounds",))

    def local_update(self, state, task):
        rounds = np.append(task.memory.get("rounds", np.zeros(0, np.float32)), np.float32(task.server_round))
        return replace(super().local_update(state, task), memory={"rounds": rounds})

    def evaluate(self, state, task):
        return {"accuracy": len(task.memory.get("rounds", ())) / 10, "loss": float(task.client + 1)}


@pytest.fixture(autouse=True)
def _nothing_aggregated():
    AGGREGATED.clear()


def doubled(raw, downlink):
    config = raw(strategy="test_own_rules:Doubling", downlink=downlink, num_server_rounds=4, fraction_train=0.8)
    grid = Noting(app, config, 5)
    folder = run_on(grid, config)
    assert [line["clients_counted"] for line in folder.round_log.read()] == [4] * 4
    return grid, folder


@pytest.mark.slow
def test_aggregate_gets_the_client_of_each_update(raw):
    grid, folder = doubled(raw, "votes")
    trained = [sorted(name for at, name in grid.states if at == server_round) for server_round in (1, 2, 3, 4)]
    assert [sorted(clients) for clients in AGGREGATED] == trained
    trials = sum(len(clients) + (2 in clients) for clients in trained)
    assert votes_of(folder).max() <= trials
    assert votes_of(folder).max() > 16  # above the number of masks


def test_clients_that_are_sent_updates_get_it_too_and_reach_the_same_state(raw):
    _, plain = doubled(raw, "votes")
    AGGREGATED.clear()
    grid, relayed = doubled(raw, "relay")
    assert "relay, side-info" in sorts(grid.states).values()
    assert len(AGGREGATED) > 4  # clients aggregate as well
    assert all(0 <= client < 5 for clients in AGGREGATED for client in clients)
    assert last_checkpoint(plain).read_bytes() == last_checkpoint(relayed).read_bytes()


def test_evaluate_gets_the_clients_memory_and_on_the_server_none(raw):
    config = raw(strategy="test_own_rules:Veteran", fraction_train=0.5, fraction_evaluate=1.0, samples_per_client=50)
    config["num-server-rounds"] = 8
    grid = Noting(app, config, 2)
    lines = run_on(grid, config).round_log.read()
    trained = {0: 0, 1: 0}
    for line in lines:
        for server_round, client in grid.states:
            trained[client] += server_round == line["round"]
        found = {int(name): evaluation for name, evaluation in line["client_evaluations"].items()}
        assert {name: evaluation["accuracy"] for name, evaluation in found.items()} == {k: n / 10 for k, n in trained.items()}
        assert {name: evaluation["loss"] for name, evaluation in found.items()} == {0: 1.0, 1: 2.0}
        assert (line["accuracy"], line["loss"]) == (0.0, 0.0)
    assert sum(trained.values()) == 8
    assert min(trained.values()) > 0
