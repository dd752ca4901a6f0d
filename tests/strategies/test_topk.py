import numpy as np
import pytest
import torch
from configs import config_of
from fedgates.strategies.fedavg import FedAvg, FedAvgConfig
from fedgates.strategies.topk import TopK, TopKConfig, as_read, remembered
from torch import nn

from client_app import app
from fedgates.errors import ConfigError
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.methods.training import Task
from fedgates.nn.network import Network
from fedgates.types import Update, Weights, pack, unpack


def network():
    """Four weights: those of class 0 and 1 for one pixel, then their biases."""
    return Network(nn.Sequential(nn.Flatten(), nn.Linear(1, 2)))


def method(density=0.5, **config):
    settings = {"strategy": "topk", "target_density": density, "local_epochs": 1, "learning_rate": 0.1, **config}
    return TopK(config_of(TopKConfig, **settings), network())


def vector(*values):
    return np.array(values, dtype=np.float32)


def weights(*values):
    return Weights(vector(*values))


def task(memory=None, server_round=1):
    """Three images of class 0: of pixels 1, 1 and -1 for the network."""
    x = torch.tensor([255, 255, 0], dtype=torch.uint8).view(-1, 1, 1, 1)
    return Task(x, torch.zeros(3, dtype=torch.long), server_round, 0, memory or {})


CHANGE = (1 / 60, -1 / 60, 1 / 20, -1 / 20)
"""Of a step of .1 from zero: class 0 has probability 1/2, so biases feel 1/2, and weights a third of it."""


def sent(update):
    return unpack(update.mask, 4).tolist(), update.values.tolist()


# --- the client's rule


def test_the_largest_changes_are_sent_and_the_rest_is_remembered():
    update = method().local_update(weights(0, 0, 0, 0), task())
    assert sent(update) == ([0, 0, 1, 1], pytest.approx([1 / 20, -1 / 20]))
    assert update.memory["error"].tolist() == pytest.approx([1 / 60, -1 / 60, 0, 0])
    assert update.memory["error"].dtype == update.values.dtype == np.float32
    assert update.num_examples == 3
    assert update.metrics["loss"] == pytest.approx(np.log(2))


def test_what_is_remembered_is_added_before_the_largest_are_chosen():
    memory = {"error": vector(0, 0.1, 0, 0.02)}
    update = method().local_update(weights(0, 0, 0, 0), task(memory))
    # owed: 1/60, .1 - 1/60, .05, .02 - .05
    assert sent(update) == ([0, 1, 1, 0], pytest.approx([0.1 - 1 / 60, 0.05]))
    assert update.memory["error"].tolist() == pytest.approx([1 / 60, 0, 0, -0.03])
    assert memory["error"].tolist() == vector(0, 0.1, 0, 0.02).tolist()


def test_the_change_is_counted_from_the_servers_weights():
    update = method(learning_rate=1e-9).local_update(weights(5, 6, 7, 8), task({"error": vector(0, 0, 3, 4)}))
    assert sent(update) == ([0, 0, 1, 1], [3, 4])


@pytest.mark.parametrize(("density", "ones"), [(0.25, 1), (0.01, 1), (0.75, 3), (1.0, 4)])
def test_target_density_is_the_share_that_is_sent_and_at_least_one_is(density, ones):
    assert len(method(density).local_update(weights(0, 0, 0, 0), task()).values) == ones


@pytest.mark.parametrize("value_type", ["float32", "float16"])
def test_nothing_is_lost_between_what_changed_and_what_the_server_reads(value_type):
    found = method(0.25, value_type=value_type)
    dense = FedAvg(config_of(FedAvgConfig, local_epochs=1, learning_rate=0.1), network())
    memory, received, changed = {}, np.zeros(4), np.zeros(4)
    for server_round in range(1, 12):
        state = weights(0.1 * server_round - 0.6, 0.4, -0.2, 0.3)
        update = found.local_update(state, task(memory, server_round))
        received[unpack(update.mask, 4).astype(bool)] += as_read(update.values, value_type)
        changed += dense.local_update(state, task(server_round=server_round)).values - state.values
        memory = update.memory
    assert received + memory["error"] == pytest.approx(changed, abs=1e-6)
    assert np.count_nonzero(received) > 2  # whatever is small comes to its turn


def test_an_error_far_below_the_weights_own_precision_is_kept():
    tiny = vector(3e-8, -2e-8, 1e-8, 5e-8)
    update = method(0.25, learning_rate=1e-30).local_update(weights(1, 1, 1, 1), task({"error": tiny}))
    assert update.values.tolist() == [tiny[3]]
    assert update.memory["error"].tolist() == [*tiny[:3].tolist(), 0]


def test_changes_beyond_float32_do_not_make_a_state_that_nobody_can_read():
    top = Update(pack(np.array([True, False, False, False])), vector(3e38))
    assert method().aggregate(weights(3e38, 0, 0, 0), [top], 1).values.tolist() == [float(np.finfo(np.float32).max), 0, 0, 0]


def test_the_error_keeps_what_rounding_to_float16_loses():
    third = np.float32(1 / 3)
    found = method(0.25, value_type="float16", learning_rate=1e-9)
    update = found.local_update(weights(0, 0, 0, 0), task({"error": vector(third, 0, 0, 0)}))
    assert update.memory["error"][0] == third - np.float32(np.float16(third)) != 0
    exact = method(0.25, learning_rate=1e-9).local_update(weights(0, 0, 0, 0), task({"error": vector(third, 0, 0, 0)}))
    assert exact.memory["error"][0] == 0


def test_as_read():
    assert as_read(vector(1 / 3, 70000, -1e9), "float16").tolist() == [float(np.float16(1 / 3)), 65504, -65504]
    assert as_read(vector(1 / 3, 70000), "float32").tolist() == vector(1 / 3, 70000).tolist()


@pytest.mark.parametrize(
    "memory",
    [
        {},
        {"other": vector(1, 2, 3, 4)},
        {"error": vector(1, 2, 3)},
        {"error": vector(1, 2, 3, 4).reshape(2, 2)},
        {"error": np.array([1.0, 2, 3, 4])},
        {"error": np.array([1, 2, 3, 4])},
        {"error": vector(1, 2, 3, np.nan)},
        {"error": vector(1, 2, -np.inf, 4)},
    ],
    ids=str,
)
def test_without_a_sound_error_a_client_starts_from_zero(memory):
    assert remembered(memory, 4).tolist() == [0, 0, 0, 0]
    update = method().local_update(weights(0, 0, 0, 0), task(memory))
    assert update.memory["error"].tolist() == pytest.approx([1 / 60, -1 / 60, 0, 0])


def test_a_sound_error_is_what_it_is():
    assert remembered({"error": vector(1, 2, 3, 4)}, 4).tolist() == [1, 2, 3, 4]


def test_training_that_diverges_fails_so_that_the_old_error_stays():
    with pytest.raises(FloatingPointError, match="training diverged"):
        method().local_update(weights(3e38, -3e38, 3e38, -3e38), task())


# --- the server's rule


def update(mask, values, examples=1):
    return Update(pack(np.array(mask, dtype=bool)), vector(*values), num_examples=examples)


def test_changes_are_averaged_by_examples_and_added():
    updates = [update([1, 0, 0], [4], 10), update([1, 1, 0], [-4, 8], 30)]
    found = method().aggregate(weights(1, 1, 1), updates, 1)
    assert found.values.tolist() == [1 + (40 - 120) / 40, 1 + 240 / 40, 1]
    assert found.values.dtype == np.float32


def test_no_updates_leave_the_state():
    state = weights(1, 2)
    assert method().aggregate(state, [], 1) is state


# --- keys and runs


def test_it_needs_a_density():
    with pytest.raises(ConfigError, match=r"^target-density = 0\.0: expected a share above 0: strategy topk"):
        method(0.0)


def test_a_run_without_a_density_ends_before_anything_is_sent(raw):
    config = raw(strategy="topk")
    grid = LoopbackGrid(app, config, 4)
    grid.push_messages = None
    with pytest.raises(ConfigError, match=r"^density\.target = 0\.0: expected a share above 0: strategy topk needs one"):
        run_on_grid(grid, config)


@pytest.mark.slow
def test_it_learns_on_digits_at_a_twentieth_of_the_bytes(raw):
    changes = {"samples_per_client": 0, "num_server_rounds": 6, "local_epochs": 3}
    config = raw(strategy="topk", target_density=0.05, **changes)
    folder = run_on_grid(LoopbackGrid(app, config, 10), config)
    lines = folder.round_log.read()
    assert lines[-1]["accuracy"] > 0.8
    for line in lines:
        assert line["clients_counted"] == 10
        assert line["density"] == pytest.approx(0.05, abs=1e-4)
        assert 0 < line["mask_consensus"] < 1
        assert "regrown_share_of_ones" not in line
        assert 0.05 * 32 < line["uplink_bpp"] < 0.05 * 32 + 0.3  # H2(.05) is .286
