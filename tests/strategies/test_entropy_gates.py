import math

import numpy as np
import pytest
import torch
from configs import config_of
from fedgates.strategies.entropy_gates import EntropyGates, EntropyGatesConfig, expected_density
from loopback_runs import last_checkpoint, run
from safetensors.numpy import load_file
from torch import nn

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


def state(weights, gates, multiplier=0.0):
    return Weights(np.array([*weights, *gates], dtype=np.float32), (multiplier,))


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


def test_it_wants_a_density():
    with pytest.raises(ConfigError, match=r"^target-density = 0\.0: expected a share above 0: strategy entropy-gates"):
        method(target_density=0.0)


# --- the client's rule


def test_gates_that_are_open_leave_plain_sgd():
    # both classes have probability 1/2, so d loss / d logits is (-1/2, 1/2), at pixel 1; a gate of a = 40 is surely open
    sent = method(local_epochs=1).local_update(state([0] * 4, [40] * 4), images(255, labels=[0]))
    assert sent.values[:4].tolist() == pytest.approx([0.05, -0.05, 0.05, -0.05])
    assert sent.values[4:].tolist() == pytest.approx([40] * 4)
    assert (sent.mask, sent.num_examples, sent.values.dtype) == (None, 1, np.float32)
    assert sent.metrics["loss"] == pytest.approx(math.log(2))


@pytest.mark.parametrize(("multiplier", "bonus", "moves"), [(1.0, 0.0, -0.1), (0.0, 1.0, -0.1), (0.0, -1.0, 0.1), (0, 0, 0)])
def test_multiplier_and_bonus_move_gates_that_do_nothing(multiplier, bonus, moves):
    # weights of zero at pixel 1 give gates no gradient of the loss; P > 1/2 here, so a bonus above 0 pulls P down to 1/2
    found = method(local_epochs=1, entropy_bonus=bonus, num_server_rounds=2)
    sent = found.local_update(state([0] * 4, [1.0] * 4, multiplier), images(255, labels=[0]))
    assert sent.values[4:].tolist() == pytest.approx([1 + moves] * 4, abs=1e-5)


def by_hand(before, task, config):
    """The client's rule written out again: float64, autograd through the clamped sample, both optimisers spelled out."""
    w, a = torch.tensor(before.values, dtype=torch.float64).chunk(2)
    multiplier, tau = before.scalars[0], config.bonus(task.server_round)
    draw, order = task.generator(config.seed, "gates"), task.generator(config.seed, "batches")
    first, second, speed = torch.zeros_like(a), torch.zeros_like(a), torch.zeros_like(w)
    x, y, losses, step = task.x.view(len(task.y), -1).double() / 127.5 - 1, task.y, [], 0
    for _ in range(config.local_epochs):
        for batch in torch.randperm(len(y), generator=order).split(config.batch_size):
            step += 1
            w, a = w.detach().requires_grad_(), a.detach().requires_grad_()
            u = torch.rand(len(a), generator=draw).double()
            z = (torch.sigmoid((u.log() - (1 - u).log() + a) * 1.5) * 1.2 - 0.1).clamp(0, 1)
            p = torch.sigmoid(a - 2 / 3 * math.log(0.1 / 1.1))
            run = w * z
            loss = nn.functional.cross_entropy(x[batch] @ run[: x.shape[1] * 2].view(2, -1).T + run[x.shape[1] * 2 :], y[batch])
            entropy = -(p * p.log2() + (1 - p) * (1 - p).log2())
            (loss + multiplier * (p.mean() - config.density.target) - tau * entropy.mean()).backward()
            losses.append(loss.item())
            first, second = 0.9 * first + 0.1 * a.grad, 0.999 * second + 0.001 * a.grad**2
            adam = (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-12)
            speed = config.sgd.momentum * speed + w.grad + config.sgd.weight_decay * w.detach()
            a, w = a.detach() - config.entropy_gates.gate_learning_rate * adam, w.detach() - config.learning_rate * speed
    return torch.cat([w, a]), sum(losses) / len(losses)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"entropy_bonus": 2.0, "entropy_bonus_final": -1.0},
        {"momentum": 0.9, "weight_decay": 0.1, "gate_learning_rate": 0.3},
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
    # one client of 10 examples, one of 30; odds of P after the mean: 1, 3 and 1/3, so P is 1/2, 3/4, 1/4 and mean P 1/2
    gates = [EVEN, EVEN + math.log(3), EVEN - math.log(3)]
    one, other = update(1, 2, -3, *(g + 3 for g in gates), examples=10), update(5, 2, 1, *(g - 1 for g in gates), examples=30)
    found = method().aggregate(state([9] * 3, [9] * 3, multiplier=0.5), [one, other], 1)
    assert found.values.tolist() == pytest.approx([4, 2, 0, *gates])
    assert found.scalars == (pytest.approx(0.5 + 2 * (0.5 - 0.25)),)
    assert found.values.dtype == np.float32


def test_the_multiplier_restarts_when_the_density_is_met():
    shut = update(0, 0, EVEN - 5, EVEN - 5)
    assert method().aggregate(state([0] * 2, [0] * 2, 3.0), [shut], 1).scalars == (0.0,)
    slower = method(dual_restart=False).aggregate(state([0] * 2, [0] * 2, 3.0), [shut], 1).scalars[0]
    assert slower == pytest.approx(3 - 2 * (0.25 - 1 / (1 + math.exp(5))), abs=1e-5)


def test_no_updates_leave_the_state():
    before = state([1], [2], 3.0)
    assert method().aggregate(before, [], 1) is before


# --- what it stands for


def test_the_model_has_the_medians_and_their_zeros():
    found = method()
    weights = found.weights(state([2, 2, 2, 2], [EVEN - 0.01, 0, 40, -EVEN + 0.01]))
    assert weights.tolist() == pytest.approx([0, 1, 2, 2])
    assert (weights == 0).tolist() == [True, False, False, False]


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
    relayed = run(raw(**settings, downlink="relay"))
    first, second = load_file(last_checkpoint(relayed)), load_file(last_checkpoint(folder))
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.slow
def test_it_learns_digits_at_its_density(raw):
    """Half the images and a third of the rounds of a real run."""
    asked = {"num_server_rounds": 12, "local_epochs": 3, "samples_per_client": 0}
    last = run(raw(strategy="entropy-gates", target_density=0.3, **asked)).round_log.read()[-1]
    assert last["accuracy"] > 0.85
    assert last["model_density"] == pytest.approx(0.3, abs=0.1)


@pytest.mark.slow
def test_it_finds_the_support_of_a_regression(raw):
    asked = {"num_server_rounds": 60, "local_epochs": 3, "samples_per_client": 0, "dual_learning_rate": 0.3}
    problem = {"dataset": "synthetic-linear", "model": "linear", "synthetic_features": 200, "synthetic_support": 10}
    config = raw(strategy="entropy-gates", target_density=0.05, gate_learning_rate=0.05, **asked, **problem)
    last = run(config).round_log.read()[-1]
    assert last["support_f1"] > 0.8
    assert last["r2"] > 0.8
