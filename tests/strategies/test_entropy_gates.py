import math

import numpy as np
import pytest
import torch
from configs import config_of
from fedgates.strategies.entropy_gates import EntropyGates, EntropyGatesConfig, expected_density
from loopback_runs import TINY, D, Dying, Noting, last_checkpoint, run, run_on, sorts
from safetensors.numpy import load_file
from torch import nn

from client_app import app
from fedgates.errors import ConfigError
from fedgates.methods.metrics import MaskCounts
from fedgates.methods.training import Task
from fedgates.nn import hard_concrete
from fedgates.nn.network import Network
from fedgates.types import Update, Weights

EVEN = -hard_concrete.SHIFT
"""The parameter of a gate with P = 1/2."""


def method(module=None, **config):
    module = module or nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    settings = {"strategy": "entropy-gates", "target_density": 0.25, "dual_learning_rate": 2.0, **config}
    return EntropyGates(config_of(EntropyGatesConfig, **settings), Network(module))


def state(weights, gates, multiplier=0.0, mean=None, square=None):
    """A state; Adam's moments are 0 unless they are given."""
    moments = {"mean": mean, "square": square}
    memory = {name: np.array(values or [0] * len(gates), dtype=np.float32) for name, values in moments.items()}
    return Weights(np.array([*weights, *gates], dtype=np.float32), (multiplier,), memory)


def update(*values, examples=1):
    return Update(mask=None, values=np.array(values, dtype=np.float32), num_examples=examples)


def images(*pixels, labels, server_round=1, client=0):
    """Images of one pixel; 255 is 1 for the network, 0 is -1."""
    return Task(torch.tensor(pixels, dtype=torch.uint8).view(-1, 1, 1, 1), torch.tensor(labels), server_round, client)


def test_the_first_state_is_the_networks_weights_behind_gates_that_are_likely_open():
    module = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    own = torch.cat([p.detach().reshape(-1) for p in module.parameters()]).tolist()
    found = method(module, initial_density=0.75)
    first = found.initial_state()
    assert first.values[:4].tolist() == own
    assert expected_density(first.values) == pytest.approx(0.75, abs=1e-6)
    assert (first.values.dtype, first.size, first.scalars) == (np.float32, 8, (0.0,))
    assert {name: moment.tolist() for name, moment in first.server_memory.items()} == {"mean": [0] * 4, "square": [0] * 4}


def test_it_wants_a_density():
    with pytest.raises(ConfigError, match=r"^target-density = 0\.0: expected a share above 0: strategy entropy-gates"):
        method(target_density=0.0)


# --- the client's rule


def test_gates_that_are_open_leave_plain_sgd():
    # both classes have probability 1/2, so d loss / d logits is (-1/2, 1/2), at pixel 1; a gate of a = 40 is surely open
    found = method(local_epochs=1, learning_rate=0.1)
    sent = found.local_update(state([0] * 4, [40] * 4), images(255, labels=[0]))
    assert sent.values[:4].tolist() == pytest.approx([0.05, -0.05, 0.05, -0.05])
    assert sent.values[4:].tolist() == [0] * 4
    assert (sent.mask, sent.num_examples, sent.values.dtype) == (None, 1, np.float32)
    assert sent.metrics["loss"] == pytest.approx(math.log(2))


def test_a_client_needs_neither_the_multiplier_nor_the_moments():
    before = state([0.1, 0.2, 0.3, 0.4], [0.0] * 4, 5.0, [1] * 4, [1] * 4)
    bare = Weights(before.values, (0.0,))
    task = images(9, 99, labels=[0, 1])
    one, other = method(entropy_bonus=1.0).local_update(before, task), method().local_update(bare, task)
    assert one.values.tobytes() == other.values.tobytes()


def by_hand(before, task, config):
    """The client's rule written out again, in float64, with autograd through the clamped sample."""
    w, a = torch.tensor(before.values, dtype=torch.float64).chunk(2)
    draw, order = task.generator(config.seed, "gates"), task.generator(config.seed, "batches")
    gradients, speed = [], torch.zeros_like(w)
    x, y, losses = task.x.view(len(task.y), -1).double() / 127.5 - 1, task.y, []
    a = a.requires_grad_()
    for _ in range(config.local_epochs):
        for batch in torch.randperm(len(y), generator=order).split(config.batch_size):
            w = w.detach().requires_grad_()
            u = torch.rand(len(a), generator=draw).double()
            z = (torch.sigmoid((u.log() - (1 - u).log() + a) * 1.5) * 1.2 - 0.1).clamp(0, 1)
            run = w * z
            loss = nn.functional.cross_entropy(x[batch] @ run[: x.shape[1] * 2].view(2, -1).T + run[x.shape[1] * 2 :], y[batch])
            (by_weight, by_gate) = torch.autograd.grad(loss, (w, a))
            losses.append(loss.item())
            gradients.append(by_gate)
            speed = config.sgd.momentum * speed + by_weight + config.sgd.weight_decay * w.detach()
            w = w.detach() - config.learning_rate * speed
    return torch.cat([w, torch.stack(gradients).mean(0)]), sum(losses) / len(losses)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"momentum": 0.9, "weight_decay": 0.1},
        {"learning_rate": 0.5, "batch_size": 2, "seed": 9, "local_epochs": 1},
    ],
    ids=str,
)
def test_training_is_the_papers_written_out_again(config):
    settings = {"batch_size": 3, "local_epochs": 3, **config}
    found = method(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), **settings)
    x = torch.randint(0, 256, (8, 1, 2, 2), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    task = Task(x, torch.arange(8) % 2, server_round=4, client=6)
    before = state(np.linspace(-1, 1, 10), np.linspace(-3, 2, 10), multiplier=0.7)
    kept = before.values.copy()
    sent = found.local_update(before, task)
    values, loss = by_hand(before, task, found.config)
    assert torch.allclose(torch.tensor(sent.values).double(), values, atol=1e-4)
    assert sent.metrics["loss"] == pytest.approx(loss, rel=1e-4)
    assert before.values.tolist() == kept.tolist()


def test_an_update_is_a_function_of_state_seed_round_and_client():
    def values(found, **task):
        return tuple(found.local_update(state([0.1, 0.2, 0.3, 0.4], [0.0] * 4), images(9, 99, labels=[0, 1], **task)).values)

    found = method()
    first = values(found)
    others = {values(found, server_round=2), values(found, client=1), values(method(seed=2))}
    assert values(found) == values(method()) == first
    assert len({first, *others}) == 4


# --- the server's rule


def test_the_server_by_hand():
    # one client of 10 examples, one of 30; lambda 0.5 and P = 1/2, 3/4, 1/4 add 0.5 P (1 - P) / 3 to the mean gradient
    before = state([9] * 3, [EVEN, EVEN + math.log(3), EVEN - math.log(3)], 0.5, [0.2, -0.1, 0], [0.04, 0.01, 0.09])
    one, other = update(1, 2, -3, 0.4, 0, -0.8, examples=10), update(5, 2, 1, 0.8, 0.4, 0, examples=30)
    found = method(gate_learning_rate=0.1).aggregate(before, [one, other], 3)
    assert found.values[:3].tolist() == pytest.approx([4, 2, 0])
    a, p, g = before.values[3:].astype(float), np.array([0.5, 0.75, 0.25]), np.array([0.7, 0.3, -0.2])
    c = 0.5 * p * (1 - p) / 3
    m, v = np.array([0.25, -0.06, -0.02]), 0.999 * np.array([0.04, 0.01, 0.09]) + 0.001 * (g + c) ** 2
    gates = (a - 0.1 * (m / (1 - 0.9**3) + c) / np.sqrt(v / (1 - 0.999**3))).tolist()
    assert found.values[3:].tolist() == pytest.approx(gates, rel=1e-5)
    assert found.server_memory["mean"].tolist() == pytest.approx(m.tolist())
    assert found.server_memory["square"].tolist() == pytest.approx(v.tolist())
    p_after = [1 / (1 + math.exp(-(a + hard_concrete.SHIFT))) for a in gates]
    assert found.scalars == (pytest.approx(0.5 + 2 * (sum(p_after) / 3 - 0.25), abs=1e-5),)
    assert {array.dtype for array in (found.values, *found.server_memory.values())} == {np.dtype(np.float32)}


def test_many_steps_are_those_of_torchs_adam():
    found = method(gate_learning_rate=0.1, dual_learning_rate=1e-9)
    now, gates = state([0] * 3, [1.0, -1.0, 0.0]), torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([gates], lr=0.1, eps=1e-12)
    for number in range(1, 20):
        gates.grad = torch.tensor([0.3, -0.02, 0.001 * number], dtype=torch.float64) * math.cos(number)
        now = found.aggregate(now, [update(0, 0, 0, *gates.grad.tolist())], number)
        adam.step()
    assert now.values[3:].tolist() == pytest.approx(gates.tolist(), abs=1e-4)


@pytest.mark.parametrize(("multiplier", "bonus", "moves"), [(1.0, 0.0, -0.1), (0.0, 1.0, -0.1), (0.0, -1.0, 0.1), (0, 0, 0)])
def test_multiplier_and_bonus_move_gates_without_a_gradient(multiplier, bonus, moves):
    # P > 1/2 here, so a bonus above 0 pulls P down to 1/2; in a first round the gradient over its root of the square is 1
    found = method(entropy_bonus=bonus, num_server_rounds=2, gate_learning_rate=0.1)
    after = found.aggregate(state([0] * 4, [1.0] * 4, multiplier), [update(*[0] * 8)], 1)
    assert after.values[4:].tolist() == pytest.approx([1 + moves] * 4, abs=1e-5)


def test_the_multiplier_restarts_when_the_density_is_met():
    shut, still = state([0] * 2, [EVEN - 5] * 2, 3.0), update(0, 0, 0, 0)
    assert method(gate_learning_rate=1e-9).aggregate(shut, [still], 1).scalars == (0.0,)
    slower = method(gate_learning_rate=1e-9, dual_restart=False).aggregate(shut, [still], 1).scalars[0]
    assert slower == pytest.approx(3 - 2 * (0.25 - 1 / (1 + math.exp(5))), abs=1e-5)


def test_no_updates_leave_the_state():
    before = state([1], [2], 3.0)
    assert method().aggregate(before, [], 1) is before


# --- what it stands for


def test_the_model_has_the_medians_and_their_zeros():
    found = method(**{"entropy-gates.cut": False})
    weights = found.weights(state([2, 2, 2, 2], [EVEN - 0.01, 0, 40, -EVEN + 0.01]))
    assert weights.tolist() == pytest.approx([0, 1, 2, 2])
    assert (weights == 0).tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("target", "expected"),
    [(0.25, [0, 0, 2, 0]), (0.5, [0, 0, 2, 2]), (0.6, [0, 0, 2, 2]), (1.0, [0, 1, 2, 2]), (0.1, [0] * 4)],
)
def test_a_cut_keeps_the_targets_share_of_the_likeliest_gates(target, expected):
    found = method(target_density=target)
    assert found.weights(state([2, 2, 2, 2], [EVEN - 0.01, 0, 40, -EVEN + 0.01])).tolist() == pytest.approx(expected)


def test_of_equal_gates_a_cut_keeps_the_first():
    assert method(target_density=0.5).weights(state([2, 3, 4, 5], [40] * 4)).tolist() == [2, 3, 0, 0]


def test_evaluation_has_both_densities_and_a_round_its_multiplier():
    found, task = method(), images(255, labels=[0])
    before = state([2, 2, 2, 2], [EVEN - math.log(3)] * 3 + [EVEN + math.log(3)], 1.5)
    metrics = found.evaluate(before, task)
    assert metrics["model_density"] == 0.25
    assert metrics["expected_density"] == pytest.approx((3 * 0.25 + 0.75) / 4, abs=1e-6)
    assert found.round_metrics(before, before, MaskCounts(8))["multiplier"] == 1.5


# --- through the wire


def test_a_run_through_the_wire(raw):
    settings = {"strategy": "entropy-gates", "target_density": 0.3, "num_server_rounds": 3}
    folder = run(raw(**settings))
    lines = folder.round_log.read()
    assert [line["clients_counted"] for line in lines] == [4, 4, 4]
    assert [line["multiplier"] > 0 for line in lines] == [True] * 3
    assert 0.3 < lines[-1]["expected_density"] < lines[0]["expected_density"] < 0.9


@pytest.mark.slow
def test_moments_stay_on_the_server(raw):
    """Neither a snapshot nor, with a relay asked for, anything else has them: every state is a snapshot of two vectors."""
    grids, settings = {}, {"strategy": "entropy-gates", "target_density": 0.3, "num_server_rounds": 3, **TINY}
    for downlink in ("votes", "relay"):
        config = raw(**settings, downlink=downlink)
        grids[downlink] = Noting(app, config, 4)
        run_on(grids[downlink], config)
    assert set(sorts(grids["relay"].states).values()) == {"values, float32"}
    assert grids["relay"].states == grids["votes"].states
    assert {len(payload) for payload in grids["votes"].states.values()} == {36 + 8 + 4 * 2 * D}


@pytest.mark.slow
def test_a_stopped_run_resumes_to_the_same_bits(raw):
    config = raw(strategy="entropy-gates", target_density=0.3, num_server_rounds=4, **TINY)
    whole = run(config)
    with pytest.raises(KeyboardInterrupt):
        run(config, grid=Dying)
    (stopped,) = {path.parent for path in whole.path.parent.glob("*/config.json")} - {whole.path}
    resumed = run({**config, "resume": str(stopped)})
    assert last_checkpoint(resumed).read_bytes() == last_checkpoint(whole).read_bytes()
    moments = load_file(last_checkpoint(resumed))
    assert moments["server_memory.mean"].any()
    assert (moments["server_memory.square"] > 0).any()


@pytest.mark.slow
def test_it_learns_digits_at_its_density(raw):
    """Half the images and a third of the rounds of a real run."""
    asked = {"num_server_rounds": 12, "local_epochs": 3, "samples_per_client": 0}
    last = run(raw(strategy="entropy-gates", target_density=0.3, **asked)).round_log.read()[-1]
    assert last["accuracy"] > 0.85
    assert last["model_density"] == pytest.approx(0.3, abs=0.1)


@pytest.mark.slow
def test_it_finds_the_support_of_a_regression(raw):
    asked = {"num_server_rounds": 150, "local_epochs": 1, "samples_per_client": 0, "batch_size": 50, "learning_rate": 0.5}
    problem = {"dataset": "synthetic-linear", "model": "linear", "synthetic_features": 200, "synthetic_support": 10}
    config = raw(
        strategy="entropy-gates", target_density=0.05, gate_learning_rate=0.1, dual_learning_rate=1.0, **asked, **problem
    )
    last = run(config).round_log.read()[-1]
    assert last["support_f1"] > 0.8
    assert last["r2"] > 0.8
