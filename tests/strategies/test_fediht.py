import math

import numpy as np
import pytest
import torch
from configs import config_of
from fedgates.strategies.fediht import FedIHT, FedIHTConfig, hard_threshold
from torch import nn

from client_app import app
from fedgates.errors import ConfigError
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.methods.training import Task
from fedgates.nn.network import Network
from fedgates.types import Update, Weights, pack, unpack


def method(density=0.5, **config):
    """Four weights: those of class 0 and 1 for one pixel, then their biases; two are kept."""
    settings = {"strategy": "fediht", "target_density": density, "local_epochs": 1, "learning_rate": 0.1, **config}
    return FedIHT(config_of(FedIHTConfig, **settings), Network(nn.Sequential(nn.Flatten(), nn.Linear(1, 2))))


def weights(*values):
    return Weights(np.array(values, dtype=np.float32))


def task():
    """Three images of class 0: of pixels 1, 1 and -1 for the network, so that biases feel three times what weights do."""
    x = torch.tensor([255, 255, 0], dtype=torch.uint8).view(-1, 1, 1, 1)
    return Task(x, torch.zeros(3, dtype=torch.long), server_round=1, client=0)


def sent(update):
    return unpack(update.mask, 4).tolist(), update.values.tolist()


# --- the client's rule


@pytest.mark.parametrize("when", ["step", "round"])
def test_a_step_by_hand(when):
    update = method(iht_clients=when).local_update(weights(0, 0, 0, 0), task())
    assert sent(update) == ([0, 0, 1, 1], pytest.approx([0.05, -0.05]))
    assert (update.num_examples, update.memory) == (3, None)


def test_weights_are_cut_after_every_step_or_once_a_round():
    # the second step's logits are +-.05 without the weights; with them +-(.05 + 1/60) at pixel 1 and +-(.05 - 1/60) at -1
    every = method(iht_clients="step", local_epochs=2).local_update(weights(0, 0, 0, 0), task())
    moved = 0.05 + 0.1 * wrong(0.1)
    assert sent(every) == ([0, 0, 1, 1], pytest.approx([moved, -moved]))
    once = method(iht_clients="round", local_epochs=2).local_update(weights(0, 0, 0, 0), task())
    moved = 0.05 + 0.1 * (2 * wrong(0.1 + 1 / 30) + wrong(0.1 - 1 / 30)) / 3
    assert sent(once) == ([0, 0, 1, 1], pytest.approx([moved, -moved]))


def wrong(margin):
    """The probability of class 1 where logit 0 is so much larger."""
    return 1 / (1 + math.exp(margin))


def test_a_dense_state_is_cut_by_the_first_step():
    update = method(iht_clients="step", learning_rate=1e-9).local_update(weights(1, -4, 3, 2), task())
    assert sent(update) == ([0, 1, 1, 0], [-4, 3])


def test_clients_that_never_cut_train_and_send_all_weights():
    update = method().local_update(weights(0, 0, 0, 0), task())
    assert sent(update) == ([1, 1, 1, 1], pytest.approx([1 / 60, -1 / 60, 0.05, -0.05]))


@pytest.mark.parametrize("when", ["never", "round", "step"])
def test_weights_of_zero_are_not_sent(when):
    x = torch.tensor([255, 0], dtype=torch.uint8).view(-1, 1, 1, 1)
    cancel = Task(x, torch.zeros(2, dtype=torch.long), server_round=1, client=0)  # in the weights, not in the biases
    update = method(1.0, iht_clients=when).local_update(weights(0, 0, 0, 0), cancel)
    assert sent(update) == ([0, 0, 1, 1], pytest.approx([0.05, -0.05]))


def test_the_state_is_left_as_it_is():
    state = weights(1, -4, 3, 2)
    method().local_update(state, task())
    assert state.values.tolist() == [1, -4, 3, 2]


def test_hard_threshold():
    values = torch.tensor([0.5, -3.0, 2.0, -1.0, 0.0])
    hard_threshold(values, 2)
    assert values.tolist() == [0, -3, 2, 0, 0]
    hard_threshold(values, 4)
    assert values.tolist() == [0, -3, 2, 0, 0]
    tied = torch.ones(6)
    hard_threshold(tied, 4)
    assert tied.sum() == 4


# --- the server's rule


def update(mask, values, examples):
    return Update(pack(np.array(mask, dtype=bool)), np.array(values, dtype=np.float32), num_examples=examples)


def test_the_largest_of_the_mean_values_are_kept():
    updates = [update([1, 1, 0, 0], [4, -2], 10), update([0, 1, 1, 1], [-2, 3, 0.5], 30)]
    # the mean is 1, -2, 2.25, .375
    assert method().aggregate(weights(9, 9, 9, 9), updates, 1).values.tolist() == [0, -2, 2.25, 0]
    assert method(0.25).aggregate(weights(9, 9, 9, 9), updates, 1).values.tolist() == [0, 0, 2.25, 0]
    assert method(0.01).aggregate(weights(9, 9, 9, 9), updates, 1).values.tolist() == [0, 0, 2.25, 0]
    assert method(1.0).aggregate(weights(9, 9, 9, 9), updates, 1).values.tolist() == [1, -2, 2.25, 0.375]


def test_no_updates_leave_the_state():
    state = weights(1, 2, 3, 4)
    assert method().aggregate(state, [], 1) is state


# --- keys and runs


def test_it_needs_a_density():
    with pytest.raises(ConfigError, match=r"^target-density = 0\.0: expected a share above 0: strategy fediht"):
        method(0.0)


LINEAR = {
    "strategy": "fediht",
    "dataset": "synthetic-linear",
    "model": "linear",
    "synthetic_features": 200,
    "synthetic_support": 8,
    "synthetic_examples": 120,
    "target_density": 0.04,
    "samples_per_client": 0,
    "learning_rate": 2.0,
    "batch_size": 32,
    "num_server_rounds": 10,
}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("when", "density"), [("never", 1), ("round", 8 / 200), ("step", 8 / 200)])
def test_it_finds_the_support_where_features_are_more_than_examples(raw, when, density):
    config = raw(**LINEAR, iht_clients=when)
    folder = run_on_grid(LoopbackGrid(app, config, 4), config)
    lines = folder.round_log.read()
    assert lines[-1]["r2"] > 0.98  # of .99 that the noise allows
    assert lines[-1]["support_f1"] == 1
    assert lines[-1]["model_density"] == 8 / 200
    assert [line["density"] for line in lines] == [density] * 10
