import math

import numpy as np
import pytest
import torch
from configs import config_of
from fedgates.strategies.sparsyfed import SparsyFed, SparsyFedConfig, truncated_normal
from torch import nn

from client_app import app
from fedgates.config import parse
from fedgates.errors import ConfigError
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.methods.metrics import MaskCounts
from fedgates.methods.training import Task
from fedgates.nn.network import Network
from fedgates.types import Update, Weights, pack, unpack


def tiny():
    """Three weights of a pixel and two biases: two layers, the first of one weight, the second of two."""
    return nn.Sequential(nn.Flatten(), nn.Linear(1, 1, bias=False), nn.Linear(1, 2))


def method(module=None, **config):
    settings = {"strategy": "sparsyfed", "local_epochs": 1, "target_density": 1.0, "learning_rate": 0.1, **config}
    return SparsyFed(config_of(SparsyFedConfig, **settings), Network(module or tiny()))


def vector(*values):
    return np.array(values, dtype=np.float32)


def weights(*values):
    return Weights(vector(*values))


def asked(held_out=None, server_round=1):
    """One image of class 0, of the pixel 1 for the network."""
    return Task(torch.tensor([255], dtype=torch.uint8).view(1, 1, 1, 1), torch.tensor([0]), server_round, 0, {}, held_out)


def sent(update, size=5):
    return unpack(update.mask, size).tolist(), update.values.tolist()


def update(mask, *values, examples=1):
    return Update(pack(np.array(mask, dtype=bool)), vector(*values), num_examples=examples)


# --- powerprop


def test_the_network_runs_with_the_power_of_the_weights():
    found = method(powerprop=2).weights(weights(3, -2, 0, -0.5, 2))
    assert found.tolist() == [9, -4, 0, -0.5, 2]  # biases as they are


def test_with_power_one_it_runs_with_the_weights():
    assert method(powerprop=1).weights(weights(3, -2, 0, 0, 2)).tolist() == [3, -2, 0, 0, 2]


def test_one_step_by_hand():
    # theta = (4, 1, -1): logits (4, -4); p0 = 1 / (1 + e^-8), q = 1 - p0; d loss / d logits = (-q, q)
    q = 1 / (1 + math.exp(8))
    result = method(powerprop=2, learning_rate=100.0).local_update(weights(2, 1, -1, 0, 0), asked())
    # d loss / d theta = (-2q, -4q, 4q), times 2 |w| = (4, 2, 2); biases -q and q
    moved = [2 + 800 * q, 1 + 800 * q, -1 - 800 * q, 100 * q, -100 * q]
    assert sent(result) == ([1] * 5, pytest.approx(moved, rel=1e-3))
    assert result.metrics["loss"] == pytest.approx(-math.log(1 - q), rel=1e-3)
    assert result.num_examples == 1


def test_weight_decay_is_of_the_weights_that_are_trained():
    result = method(powerprop=2, learning_rate=0.5, weight_decay=0.5).local_update(weights(20, 10, -10, 0, 0), asked())
    assert sent(result)[1] == pytest.approx([15, 7.5, -7.5, 0, 0])


def test_a_weight_of_zero_stays_zero_under_powerprop_and_grows_without():
    state = weights(2, 0, -1, 0, 0)
    assert sent(method().local_update(state, asked()))[0] == [1, 0, 1, 1, 1]
    assert sent(method(powerprop=1, prune_activations=False).local_update(state, asked()))[0] == [1] * 5


def test_the_learning_rate_falls_over_the_run():
    def moved(server_round):
        found = method(powerprop=1, learning_rate=1.0, final_learning_rate=0.01, num_server_rounds=3)
        return sent(found.local_update(weights(1, 1, 1, 0, 0), asked(server_round=server_round)))[1][3]

    assert [moved(r) for r in (1, 2, 3)] == pytest.approx([0.5, 0.05, 0.005])


def test_weights_gradients_come_from_pruned_activations_if_asked():
    module = lambda: nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))  # noqa: E731
    x = torch.tensor([255, 192], dtype=torch.uint8).view(1, 1, 1, 2)  # 1 and about .5
    task = Task(x, torch.tensor([0]), 1, 0)
    state = weights(1, 0, 0, 1)  # half of them zero
    exact = method(module(), powerprop=1, prune_activations=False).local_update(state, task)
    pruned = method(module(), powerprop=1).local_update(state, task)
    exact, pruned = (result.dense(4) - state.values for result in (exact, pruned))
    assert (exact != 0).tolist() == [True] * 4
    assert (pruned != 0).tolist() == [True, False, True, False]
    assert pruned[[0, 2]].tolist() == exact[[0, 2]].tolist()


# --- what is sent


def test_the_largest_weights_are_kept_over_all_layers_and_biases_always():
    found = method(target_density=0.34)
    assert found.kept(vector(1, -3, 2, 0, 0)).tolist() == [False, True, False, True, True]
    assert method(target_density=0.67).kept(vector(1, -3, 2, 9, 9)).tolist() == [False, True, True, True, True]
    assert found.count == 1


def test_zeros_are_not_kept_however_few_there_are():
    assert method().kept(vector(0, -3, 0, 0, 0)).tolist() == [False, True, False, True, True]


def test_with_a_target_of_one_nothing_is_dropped():
    assert method(target_density=1.0).count == 3


def test_trained_weights_are_pruned_before_they_are_sent():
    result = method(target_density=0.34, learning_rate=1e-9).local_update(weights(2, 1, -3, 5, 6), asked())
    assert sent(result) == ([0, 0, 1, 1, 1], pytest.approx([-3, 5, 6]))


def test_or_their_changes_are():
    found = method(prune="update", powerprop=2, learning_rate=100.0, target_density=0.67)
    result = found.local_update(weights(2, 1, 0, 0, 0), asked())
    # logits (4, 0); d loss / d theta = (-q, -4q, .), times (4, 2, 0): of the three only two changed
    q = 1 / (1 + math.exp(4))
    assert sent(result) == ([1, 1, 0, 1, 1], pytest.approx([400 * q, 800 * q, 100 * q, -100 * q], rel=1e-3))
    one = method(prune="update", powerprop=2, learning_rate=100.0, target_density=0.34)
    assert sent(one.local_update(weights(2, 1, 0, 0, 0), asked()))[0] == [0, 1, 0, 1, 1]


@pytest.mark.parametrize(("prune", "accuracy"), [("weights", 0), ("update", 1)])
def test_a_clients_own_accuracy_is_of_the_model_that_it_sends(prune, accuracy):
    # class 0 by the weights, and class 1 by the biases once the weights are gone
    found = method(prune=prune, target_density=1e-6, learning_rate=1e-9)
    task = asked(held_out=(torch.tensor([[[[255]]]], dtype=torch.uint8), torch.tensor([0])))
    assert found.local_update(weights(2, 2, -2, 0, 1), task).metrics["accuracy"] == accuracy


def test_a_client_that_diverges_fails():
    with pytest.raises(FloatingPointError, match="training diverged"):
        method(learning_rate=1e30, weight_decay=1e10).local_update(weights(1, 1, 1, 0, 0), asked())


# --- the server's rule


def test_the_mean_of_sparse_weights_has_the_union_of_their_supports():
    found = method(target_density=0.34)
    updates = [update([1, 0, 0, 1, 1], 4, 1, 2, examples=10), update([0, 1, 0, 1, 1], 4, 5, 6, examples=30)]
    new = found.aggregate(weights(9, 9, 9, 9, 9), updates, 1)
    assert new.values.tolist() == [1, 3, 0, 4, 5]
    assert new.values.dtype == np.float32


def test_the_mean_of_changes_is_added_and_the_sum_pruned():
    found = method(prune="update", target_density=0.34)
    updates = [update([1, 0, 0, 1, 1], 4, 1, 2, examples=10), update([0, 1, 0, 1, 1], 4, 5, 6, examples=30)]
    new = found.aggregate(weights(1, -1, 2.5, 1, 1), updates, 1)
    assert new.values.tolist() == [0, 0, 2.5, 5, 6]  # the first would be 2, the second 2


def test_no_updates_leave_the_state():
    state = weights(1, 2, 3, 4, 5)
    assert method().aggregate(state, [], 1) is state


def test_regrowth_and_consensus_are_of_what_can_be_pruned():
    masks = MaskCounts(5)
    list(masks.watch([update([1, 1, 0, 1, 1], 1, 1, 1, 1), update([1, 0, 0, 1, 1], 1, 1, 1)]))
    found = method().round_metrics(weights(1, 0, 0, 0, 0), weights(1, 1, 0, 0, 0), masks)
    assert found["mask_consensus"] == 1 / 2
    assert found["regrown_share_of_ones"] == 1 / 3  # one of three ones; biases of zero are no regrowth
    assert found["regrown_share_of_gates"] == 1 / 6  # one of two masks' three gates
    assert found["inertia_2.weight"] == 1


# --- the start


def test_the_first_weights_have_the_papers_spread():
    found = method(nn.Linear(400, 500), powerprop=1.25)
    w = found.initial_state().values
    assert w[200_000:].tolist() == [0] * 500
    theta = found.weights(Weights(w)).numpy()[:200_000]
    assert theta.std() == pytest.approx(1 / 20, rel=0.01)
    assert theta.mean() == pytest.approx(0, abs=5e-4)
    assert np.abs(theta).max() == pytest.approx(2 / 20 / 0.8796, rel=0.001)
    assert np.abs(theta).max() <= 2 / 20 / 0.8796 + 1e-6


def test_the_first_weights_are_a_function_of_the_seed_and_of_the_layer():
    slices = Network(nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))).slices
    first = truncated_normal(slices[0], seed=1)
    assert first.tolist() == truncated_normal(slices[0], seed=1).tolist()
    assert not set(first.tolist()) & set(truncated_normal(slices[1], seed=1).tolist())
    assert not set(first.tolist()) & set(truncated_normal(slices[0], seed=2).tolist())


# --- keys, and runs


@pytest.mark.parametrize(
    ("key", "value"),
    [("powerprop", 0.5), ("prune", "masks"), ("prune-activations", "yes"), ("target-density", 1.5), ("density-penalty", 0.1)],
)
def test_bad_keys_are_refused(key, value):
    with pytest.raises(ConfigError, match=f"^{key} = "):
        parse(SparsyFedConfig, {"strategy": "sparsyfed", key: value})


SPARSE = {"strategy": "sparsyfed", "target_density": 0.05, "learning_rate": 0.5, "final_learning_rate": 0.01}
WEIGHTS, BIASES = 64 * 256 + 256 * 256 + 256 * 10, 256 + 256 + 10
ONES = round(0.05 * WEIGHTS)


def lines(raw, **changes):
    config = raw(**SPARSE, **changes)
    folder = run_on_grid(LoopbackGrid(app, config, 4), config)
    return folder.round_log.read()


@pytest.mark.parametrize("prune", ["weights", "update"])
@pytest.mark.parametrize("downlink", ["votes", "relay"])
def test_a_run_is_sparse_both_ways(raw, prune, downlink):
    ledger = lines(raw, prune=prune, downlink=downlink, num_server_rounds=3, samples_per_client=60)
    for line in ledger:
        ((sort, traffic),) = line["uplink"].items()
        assert sort == "mask and values, side-info, float32"
        assert traffic["bytes"] < 4 * (4 * (ONES + BIASES) + 0.3 * (WEIGHTS + BIASES) / 8 + 100)
        assert line["model_density"] <= (1.5 * ONES + BIASES) / (WEIGHTS + BIASES)
        if prune == "update":
            assert line["model_density"] <= (ONES + BIASES) / (WEIGHTS + BIASES)
    for line in ledger[1:]:  # the first broadcast is dense
        assert line["downlink_bytes"] < 0.1 * ledger[0]["downlink_bytes"]
        assert line["regrown_share_of_ones"] == 0
