"""FlowerStrategy in a user's own code: a loop of one's own, and `start`, give the bytes of a run by `run_on_grid`."""

from dataclasses import dataclass

import pytest
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from loopback_runs import SMALL, Noting, run_on, silent_replies, with_faults
from safetensors.numpy import load_file

from client_app import app
from fedgates.errors import QuorumError
from fedgates.federation import Problem, Server
from fedgates.flower import FlowerStrategy
from fedgates.flower.records import from_record, to_record
from fedgates.methods.registry import build, configure
from fedgates.runs import checkpoint
from fedgates.types import Votes, Weights

NETWORK = SMALL
CLIENTS, ROUNDS = 5, 3
CASES = [
    {"strategy": "coupled-masks", "downlink": "relay", "fraction_train": 0.6},
    {"strategy": "fedpm", "fraction_train": 0.6},
    {"strategy": "fedpm", "downlink": "relay", "fraction_evaluate": 0.4, "samples_per_client": 50},
    {"strategy": "fedavg", "fraction_evaluate": 1.0, "samples_per_client": 50},
]


@dataclass
class End:
    """What a federation ends with: the coded last state, what was sent, and clients' metrics by round."""

    payload: bytes
    states: dict
    evaluated: dict
    metrics: dict


def strategy_of(config):
    return FlowerStrategy(Server(build(*configure(config), Problem.of_images((1, 8, 8), 10)), Problem.of_images((1, 8, 8), 10)))


def by_hand(config):
    """A loop that Flower's own ``Strategy.start`` might run."""
    strategy, grid, metrics = strategy_of(config), Noting(app, config, CLIENTS), {}
    arrays = to_record(strategy.server.snapshot(1))
    for server_round in range(1, ROUNDS + 1):
        messages = strategy.configure_train(server_round, arrays, ConfigRecord(), grid)
        arrays, counted = strategy.aggregate_train(server_round, grid.send_and_receive(messages))
        assert counted["clients-counted"] == len(list(messages))
        messages = strategy.configure_evaluate(server_round, arrays, ConfigRecord(), grid)
        found = strategy.aggregate_evaluate(server_round, grid.send_and_receive(messages))
        if found is not None:
            metrics[server_round] = dict(found)
    return End(from_record(arrays), grid.states, grid.evaluated, metrics)


def by_start(config):
    grid = Noting(app, config, CLIENTS)
    result = strategy_of(config).start(grid, num_rounds=ROUNDS)
    metrics = {at: _of_evaluation(dict(found)) for at, found in result.evaluate_metrics_clientapp.items()}
    return End(from_record(result.arrays), grid.states, grid.evaluated, {k: v for k, v in metrics.items() if v})


def by_run(config):
    grid = Noting(app, config, CLIENTS)
    folder = run_on(grid, config)
    stored = load_file(folder.path / f"checkpoint-{ROUNDS:05d}.safetensors")
    method = build(*configure(config), Problem.of_images((1, 8, 8), 10))
    state, _ = checkpoint.load(folder.path, method.digest)
    assert isinstance(state, Votes if "votes" in stored else Weights)
    metrics = {line["round"]: _of_evaluation(line) for line in folder.round_log.read()}
    return End(method.codec.pack_state(state, ROUNDS + 1), grid.states, grid.evaluated, {k: v for k, v in metrics.items() if v})


def _of_evaluation(found):
    names = [f"client_{metric}{mean}" for metric in ("accuracy", "own_class_accuracy", "loss") for mean in ("", "_macro")]
    return {name: found[name] for name in names if name in found}


@pytest.mark.slow
@pytest.mark.parametrize("changes", CASES, ids=str)
def test_a_loop_of_ones_own_start_and_a_run_give_the_same_bytes(raw, changes):
    config = raw(num_server_rounds=ROUNDS, **changes)
    hand, start, run = by_hand(config), by_start(config), by_run(config)
    assert hand.payload == start.payload == run.payload
    assert hand.states == start.states == run.states
    assert hand.evaluated == start.evaluated == run.evaluated
    assert hand.metrics == start.metrics == run.metrics
    assert bool(hand.metrics) == ("fraction_evaluate" in changes)


def test_start_begins_with_the_arrays_that_it_is_given(raw):
    config = raw(num_server_rounds=2, strategy="fedavg")
    whole = strategy_of(config)
    half = strategy_of(config).start(Noting(app, config, 3), num_rounds=1)
    state = whole.server.codec.unpack_state(from_record(half.arrays)).state
    grid = Noting(app, config, 3)
    whole.start(grid, to_record(whole.server.codec.pack_state(state, 1)), num_rounds=1)
    assert whole.server.codec.unpack_state(grid.states[1, 0]).state.values.tobytes() == state.values.tobytes()


def test_start_evaluates_with_the_function_that_it_is_given(raw):
    config, seen = raw(num_server_rounds=2), []

    def evaluate(server_round, arrays):
        seen.append((server_round, from_record(arrays)))
        return MetricRecord({"accuracy": server_round / 10})

    strategy = strategy_of(config)
    result = strategy.start(Noting(app, config, 3), evaluate_fn=evaluate)
    assert [server_round for server_round, _ in seen] == [1, 2]
    assert seen[-1][1] == from_record(result.arrays)
    assert {at: found["accuracy"] for at, found in result.evaluate_metrics_serverapp.items()} == {1: 0.1, 2: 0.2}


def test_without_a_quorum_a_round_gives_the_state_that_opened_it(raw):
    config = raw(num_server_rounds=2)
    grid = with_faults({(1, name, 1): silent_replies for name in range(3)})(app, config, 3)
    strategy = strategy_of(config)
    first = to_record(strategy.server.snapshot(1))
    messages = strategy.configure_train(1, first, ConfigRecord(), grid)
    arrays, counted = strategy.aggregate_train(1, grid.send_and_receive(messages))
    assert (from_record(arrays), counted["clients-counted"]) == (from_record(first), 0)
    assert strategy.configure_evaluate(1, arrays, ConfigRecord(), grid) == []
    messages = strategy.configure_train(1, arrays, ConfigRecord(), grid)
    arrays, counted = strategy.aggregate_train(1, grid.send_and_receive(messages))
    assert isinstance(arrays, ArrayRecord)
    assert (from_record(arrays) != from_record(first), counted["clients-counted"]) == (True, 3)


def test_start_ends_as_a_run_does_where_a_quorum_is_missed_too_often(raw):
    config = raw(max_failed_rounds=2)
    grid = with_faults({(1, name): silent_replies for name in range(3)})(app, config, 3)
    with pytest.raises(QuorumError, match=r"^round 1 had fewer .*, 2 times"):
        strategy_of(config).start(grid)
