"""Half of the clients fail at random, every round: the run completes, and reaches what half the participation reaches."""

from statistics import fmean

import numpy as np
import pytest
from flwr.app import Error, Message
from loopback_runs import MLP, answer, client_of, run, state_payload

from fedgates.flower import LoopbackGrid
from fedgates.wire.header import peek

NETWORK = MLP
CLIENTS, ROUNDS, LAST = 10, 30, 5
POINTS = 0.02
"""How far the two may lie apart, in the mean of the last rounds."""


def silent(message, lot):
    return None


def failing(message, lot):
    return Message(Error(2, "RuntimeError: the battery is empty"), reply_to=message)


def garbage(message, lot):
    return answer(message, lot.bytes(int(lot.integers(5000))))


class HalfFailing(LoopbackGrid):
    """Each client fails with a chance of one half, in one of three ways: a function of (seed, round, client, attempt)."""

    def __init__(self, app, raw, clients):
        super().__init__(app, raw, clients)
        self._seed, self._asked = raw["seed"], {}

    def deliver(self, message):
        if message.metadata.message_type != "train":
            return super().deliver(message)
        key = peek(state_payload(message)).server_round, client_of(message)
        self._asked[key] = self._asked.get(key, 0) + 1
        lot = np.random.default_rng([self._seed, *key, self._asked[key]])
        if lot.random() < 0.5:
            return super().deliver(message)
        return lot.choice([silent, failing, garbage])(message, lot)


def reached(lines):
    """Mean accuracy of the last rounds."""
    return fmean(line["accuracy"] for line in lines[-LAST:])


def lines_of(raw, seed, grid=LoopbackGrid, **changes):
    config = raw(seed=seed, num_server_rounds=ROUNDS, samples_per_client=0, local_epochs=3, evaluations="threshold", **changes)
    return run(config, CLIENTS, grid).round_log.read()


@pytest.mark.rehearsal
@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_half_of_the_clients_failing_costs_no_more_than_their_absence(raw, seed):
    lines = lines_of(raw, seed, HalfFailing, quorum=0.2, round_timeout=0.01)
    assert [line["round"] for line in lines if line["quorum"]] == list(range(1, ROUNDS + 1))
    counted = [line["clients_counted"] for line in lines]
    assert 4 < fmean(counted) < 6
    assert min(counted) < 4
    for column in ("failed", "rejected"):
        assert fmean(line[f"clients_{column}"] for line in lines) > 1
    without_failures = lines_of(raw, seed, fraction_train=0.5)
    assert reached(lines) == pytest.approx(reached(without_failures), abs=POINTS)
