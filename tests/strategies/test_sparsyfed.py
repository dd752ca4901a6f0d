import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from configs import config_of
from fedgates.strategies.sparsyfed import SparsyFed, SparsyFedConfig, schedule
from hypothesis import given
from hypothesis import strategies as st
from loopback_runs import SMALL, Dying, last_checkpoint, run, without
from torch import nn

from client_app import app
from fedgates.config import parse
from fedgates.errors import ConfigError
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.methods.density import cubic_density
from fedgates.methods.metrics import MaskCounts
from fedgates.methods.training import Task
from fedgates.nn.network import Network
from fedgates.nn.truncated_normal import truncated_normal
from fedgates.types import Update, Weights, pack, unpack


def tiny():
    """Three weights of a pixel and two biases: two layers, the first of one weight, the second of two; fan_in 1 in both."""
    return nn.Sequential(nn.Flatten(), nn.Linear(1, 1, bias=False), nn.Linear(1, 2))


def method(module=None, own=None, **config):
    """The method, without a schedule; `own` are keys of its table."""
    settings = {"strategy": "sparsyfed", "local_epochs": 1, "target_density": 1.0, "learning_rate": 0.1, **config}
    table = {"dense_rounds": 0, "density_rounds": 0, **(own or {})}
    settings |= {f"sparsyfed.{name}": value for name, value in table.items()}
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
    by_default = method(module(), powerprop=1).local_update(state, task)  # this layer's input is the network's
    pruned = method(module(), {"prune_input": True}, powerprop=1).local_update(state, task)
    exact, by_default, pruned = (result.dense(4) - state.values for result in (exact, by_default, pruned))
    assert by_default.tolist() == exact.tolist()
    assert (exact != 0).tolist() == [True] * 4
    assert (pruned != 0).tolist() == [True, False, True, False]
    assert pruned[[0, 2]].tolist() == exact[[0, 2]].tolist()


# --- what is sent


def test_the_largest_weights_are_kept_over_all_layers_and_biases_always():
    found = method(target_density=0.34)
    assert found.kept(vector(1, -3, 2, 0, 0), 1).tolist() == [False, True, False, True, True]
    assert method(target_density=0.67).kept(vector(1, -3, 2, 9, 9), 1).tolist() == [False, True, True, True, True]


def test_zeros_are_not_kept_however_few_there_are():
    assert method().kept(vector(0, -3, 0, 0, 0), 1).tolist() == [False, True, False, True, True]


def test_with_a_target_of_one_nothing_is_dropped():
    assert method(target_density=1.0).kept(vector(1, -3, 2, 0, 0), 1).tolist() == [True] * 5


@pytest.mark.parametrize(
    ("score", "powerprop", "kept"),
    [
        # fan_in is 16 for the kernel and 1 for the matrix; |w| is compared as it is, or times 16^(1 / (2 beta)) in the kernel
        ("magnitude", 1, [0, 0, 0, 0, 1, 1]),
        ("scaled", 1, [1, 0, 1, 0, 0, 0]),  # times 4: 1.6, .4, 1.2, .8 against 1, .9
        ("scaled", 2, [0, 0, 0, 0, 1, 1]),  # times 2: .8, .2, .6, .4 against 1, .9
        ("scaled", 1.25, [1, 0, 0, 0, 1, 0]),  # times 16^.4 = 3.03: 1.21, .30, .91, .61 against 1, .9
    ],
)
def test_layers_are_compared_by_magnitude_or_on_the_scale_of_their_initial_spread(score, powerprop, kept):
    module = nn.Sequential(nn.Conv2d(1, 1, 4, bias=False), nn.Flatten(), nn.Linear(1, 2, bias=False))
    found = method(module, {"score": score}, powerprop=powerprop, target_density=2 / 18)
    mask = found.kept(vector(0.4, -0.1, 0.3, 0.2, *[0] * 12, -1, 0.9), 1)
    assert mask[[0, 1, 2, 3, 16, 17]].astype(int).tolist() == kept


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


# --- the schedule


def zhu_and_gupta(step, final, start, steps):
    """Equation 1 of arXiv 1710.01878 with the initial sparsity 0 and a pruning step each round, in exact fractions."""
    step = min(max(step, start), start + steps)
    return final + (0 - final) * (1 - Fraction(step - start, steps)) ** 3


@pytest.mark.slow
@given(st.integers(1, 60), st.fractions(0, 1), st.integers(0, 20), st.integers(1, 30))
def test_the_density_falls_as_zhu_and_gupta_prune(server_round, target, dense, falling):
    sparsity = zhu_and_gupta(server_round, 1 - target, dense, falling)
    assert cubic_density(server_round, float(target), dense, falling) == pytest.approx(float(1 - sparsity), abs=1e-12)


def test_without_density_rounds_the_target_holds_at_once():
    assert [cubic_density(r, 0.05, 0, 0) for r in (1, 2)] == [0.05, 0.05]
    assert [cubic_density(r, 0.05, 2, 0) for r in (1, 2, 3)] == [1, 1, 0.05]


@pytest.mark.parametrize(
    ("dense", "falling", "rounds", "mean"), [(1, 6, 30, 0.115), (2, 13, 30, 0.201), (2, 13, 700, 0.056), (0, 0, 30, 0.05)]
)
def test_the_mean_density_of_a_run_is_that_of_the_docstring(dense, falling, rounds, mean):
    densities = [cubic_density(r, 0.05, dense, falling) for r in range(1, rounds + 1)]
    assert sum(densities) / rounds == pytest.approx(mean, abs=5e-4)


def schedule_of(rounds, **own):
    table = {f"sparsyfed.{name}": value for name, value in own.items()}
    return schedule(config_of(SparsyFedConfig, target_density=0.05, num_server_rounds=rounds, **table))


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [(1, (0, 0)), (2, (0, 1)), (3, (0, 1)), (6, (0, 3)), (15, (1, 6)), (29, (1, 13)), (30, (2, 13)), (700, (2, 13))],
)
def test_short_runs_have_a_shorter_schedule_by_default(rounds, expected):
    assert schedule_of(rounds) == expected


@given(st.integers(1, 1_000_000), st.integers(-1, 40))
def test_the_default_reaches_the_target_in_every_run(rounds, dense):
    dense = min(dense, rounds - 1)
    found = schedule_of(rounds, dense_rounds=dense)
    assert cubic_density(rounds, 0.05, *found) == 0.05
    assert dense in {-1, found[0]}


def test_explicit_rounds_hold_in_every_run_that_is_long_enough():
    assert schedule_of(4, dense_rounds=3, density_rounds=1) == (3, 1)
    assert schedule_of(4, dense_rounds=3) == (3, 0)
    assert schedule_of(700, dense_rounds=0, density_rounds=350) == (0, 350)


@pytest.mark.parametrize(
    ("own", "line"),
    [
        (
            {"dense_rounds": 4},
            "sparsyfed.dense-rounds = 4: expected less than num-server-rounds = 4, or nothing is pruned",
        ),
        (
            {"dense_rounds": 1, "density_rounds": 4},
            "sparsyfed.density-rounds = 4: expected at most 3, to reach density.target within num-server-rounds = 4",
        ),
    ],
)
def test_a_schedule_longer_than_the_run_is_refused(own, line):
    with pytest.raises(ConfigError) as error:
        method(own=own, num_server_rounds=4)
    assert str(error.value) == line


def test_clients_and_server_prune_to_the_density_of_the_round():
    own = {"dense_rounds": 1, "density_rounds": 2, "score": "magnitude"}  # densities 1, .125 + .875 * .2 = .3, .2
    module = lambda: nn.Linear(5, 2, bias=False)  # noqa: E731
    w = weights(*range(1, 11))
    task = Task(torch.zeros(1, 1, 1, 5, dtype=torch.uint8), torch.tensor([0]), 1)
    found = method(nn.Sequential(nn.Flatten(), module()), own, target_density=0.2, learning_rate=1e-9, num_server_rounds=3)
    for server_round, ones in ((1, 10), (2, 3), (3, 2)):
        result = found.local_update(w, Task(task.x, task.y, server_round))
        assert unpack(result.mask, 10).tolist() == [False] * (10 - ones) + [True] * ones
    changed = method(module(), {**own, "prune": "update"}, target_density=0.2, num_server_rounds=3)
    for server_round, ones in ((1, 10), (2, 3), (3, 2)):
        new = changed.aggregate(w, [update([0] * 9 + [1], 1)], server_round)
        assert np.flatnonzero(new.values).tolist() == list(range(10 - ones, 10))


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
    [
        ("powerprop", 0.5),
        ("prune", "masks"),
        ("prune-activations", "yes"),
        ("target-density", 1.5),
        ("density-penalty", 0.1),
        ("sparsyfed.score", "random"),
        ("sparsyfed.dense-rounds", -2),
        ("sparsyfed.density-rounds", 1.5),
        ("sparsyfed.prune-input", "no"),
    ],
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


@pytest.mark.quick_cases(1)
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


SCHEDULE = {**SPARSE, **SMALL, "sparsyfed.dense_rounds": 1, "sparsyfed.density_rounds": 3}
DENSITIES = [1, 0.05 + 0.95 * 8 / 27, 0.05 + 0.95 / 27, 0.05]
"""Densities of the four rounds of that schedule."""


def falling(raw, **changes):
    return raw(**SCHEDULE, num_server_rounds=4, fraction_train=0.75, **changes)


@pytest.mark.parametrize("prune", ["weights", "update"])
def test_the_density_of_each_round_is_in_its_line_and_in_what_travels(raw, prune):
    lines = run(falling(raw, prune=prune)).round_log.read()
    prunable, biases = 64 * 64 + 64 * 10, 64 + 10
    expected = [(round(density * prunable) + biases) / (prunable + biases) for density in DENSITIES]
    found = [line["density"] for line in lines]
    if prune == "weights":
        assert found == pytest.approx(expected)
    else:  # what is zero does not change, so fewer of the changes are nonzero than may be sent
        assert all(one <= other + 1e-9 for one, other in zip(found, expected, strict=True))
        assert [line["model_density"] for line in lines] == pytest.approx(expected, abs=biases / 4810)  # a bias may be 0
    for line in lines:
        assert line["uplink_bpp"] < 32.1 * line["density"] + 1.02  # 32 bits a value, and at most one a gate for the mask
        assert line["regrown_share_of_ones"] == 0
    sizes = [line["downlink_bytes"] for line in lines]
    assert sizes == sorted(sizes, reverse=True)  # the union of the masks shrinks, too
    assert sizes[3] < 0.2 * sizes[0]


@pytest.mark.slow
@pytest.mark.parametrize("prune", ["weights", "update"])
def test_a_relay_follows_the_schedule(raw, prune):
    # one client a round, in float16: only then are updates smaller than the state, even where both are dense
    changes = {**SCHEDULE, "prune": prune, "value_type": "float16", "num_server_rounds": 6, "fraction_train": 0.4}
    relayed, plain = run(raw(**changes, downlink="relay"), 2), run(raw(**changes), 2)
    relays = [sort for line in relayed.round_log.read() for sort in line["downlink"] if sort.startswith("relay")]
    assert len(relays) > 1
    assert weights_of(relayed) == weights_of(plain)


@pytest.mark.slow
@pytest.mark.parametrize("prune", ["weights", "update"])
def test_a_run_that_is_resumed_within_the_schedule_ends_bit_identically(raw, prune):
    whole = run(falling(raw, prune=prune))
    with pytest.raises(KeyboardInterrupt):
        run(falling(raw, prune=prune), grid=Dying)  # after round 2 of 4
    (stopped,) = set(whole.path.parent.iterdir()) - {whole.path}
    resumed = run(falling(raw, prune=prune, resume=str(stopped)))
    assert without(resumed.round_log.read()) == without(whole.round_log.read())
    assert weights_of(resumed) == weights_of(whole)


def weights_of(folder):
    return last_checkpoint(folder).read_bytes()
