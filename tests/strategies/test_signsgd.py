import numpy as np
import pytest
import torch
from configs import config_of
from fedgates.strategies.signsgd import SignSGD, SignSGDConfig, majority, signs
from torch import nn

from client_app import app
from fedgates.config import parse
from fedgates.errors import ConfigError
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.methods.training import Task
from fedgates.nn.network import Network
from fedgates.types import Update, Votes, Weights, pack, unpack


def method(classes=2, **config):
    """Two classes are four weights: those of class 0 and 1 for one pixel, then their biases."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(1, classes))
    return SignSGD(config_of(SignSGDConfig, **{"strategy": "signsgd", "local_epochs": 1, **config}), Network(module))


def weights(*values):
    return Weights(np.array(values, dtype=np.float32))


def votes(*masks, examples=1):
    return [Update(pack(np.array(mask, dtype=bool)), num_examples=examples) for mask in masks]


def task(*pixels, server_round=1, client=0):
    """Images of class 0 with one pixel; 255 is 1 for the network, 0 is -1."""
    x = torch.tensor(pixels, dtype=torch.uint8).view(-1, 1, 1, 1)
    return Task(x, torch.zeros(len(pixels), dtype=torch.long), server_round, client)


# --- the client's rule


def test_the_signs_of_a_step_by_hand():
    found = method()
    up = found.local_update(weights(0, 0, 0, 0), task(255))  # logit 0 is to rise, logit 1 to fall, at pixel 1
    assert unpack(up.mask, 4).tolist() == [1, 0, 1, 0]
    down = found.local_update(weights(0, 0, 0, 0), task(0))
    assert unpack(down.mask, 4).tolist() == [0, 1, 1, 0]
    assert (up.values, up.theta, up.num_examples, up.memory) == (None, None, 1, None)
    assert up.metrics["loss"] == pytest.approx(np.log(2))


def test_the_sign_is_of_the_change_not_of_the_weight():
    sent = method().local_update(weights(-9, 9, -9, 9), task(255))
    assert unpack(sent.mask, 4).tolist() == [1, 0, 1, 0]


def test_signs():
    change = np.array([1e-30, -1e-30, 0, 0, -0.0, -0.0], dtype=np.float32)
    assert signs(change, np.array([0, 1, 0, 1, 0, 1], dtype=np.uint8)).tolist() == [True, False, False, True, False, True]


def test_without_a_change_a_vote_is_a_fair_coin_that_cancels_between_even_and_odd_clients():
    size = 2000
    state = Weights(np.zeros(2 * size, dtype=np.float32))

    def unmoved(server_round, client, seed=1):
        found = method(size, seed=seed)
        mask = found.local_update(state, task(255, 0, server_round=server_round, client=client)).mask
        return unpack(mask, 2 * size)[:size]  # the two images cancel in the weights, not in the biases

    first = unmoved(1, 0)
    assert abs(first.mean() - 0.5) < 4 * 0.5 / np.sqrt(size)
    assert unmoved(1, 2).tolist() == first.tolist()
    assert (unmoved(1, 1) + first).tolist() == [1] * size
    for other in (unmoved(2, 0), unmoved(1, 0, seed=2)):
        assert abs((other == first).mean() - 0.5) < 4 * 0.5 / np.sqrt(size)


# --- the server's rule


def test_the_majority_moves_each_weight_by_the_servers_rate():
    found = method(server_learning_rate=0.25)
    state = weights(1, 1, 1, 1)
    new = found.aggregate(state, votes([1, 1, 0, 0], [1, 1, 0, 1], [1, 0, 0, 0]), 1)
    assert new.values.tolist() == [1.25, 1.25, 0.75, 0.75]
    assert new.values.dtype == np.float32
    assert state.values.tolist() == [1, 1, 1, 1]


def test_a_tie_moves_nothing():
    assert method(server_learning_rate=0.25).aggregate(weights(1, 1), votes([1, 1], [0, 1]), 1).values.tolist() == [1, 1.25]


def test_one_client_has_one_vote_however_many_examples():
    masks = votes([1], [1]) + votes([0], examples=1000)
    assert method(server_learning_rate=0.5).aggregate(weights(0), masks, 1).values.tolist() == [0.5]


def test_the_order_of_votes_does_not_matter():
    masks = votes([1, 0, 1], [0, 0, 1], [1, 0, 0])
    orders = [masks, masks[::-1], [masks[1], masks[0], masks[2]]]
    assert len({method().aggregate(weights(1, 2, 3), order, 1).values.tobytes() for order in orders}) == 1


def test_no_votes_leave_the_state():
    state = weights(1, 2)
    assert method().aggregate(state, [], 1) is state


def test_majority():
    assert majority(Votes(np.array([0, 1, 2, 3, 4], dtype=np.uint32), 4)).tolist() == [-1, -1, 0, 1, 1]


def test_the_servers_rate_falls_with_the_clients():
    found = method(server_learning_rate=0.5, learning_rate=0.1, final_learning_rate=0.001, num_server_rounds=3)
    assert [found.rate(i) for i in (1, 2, 3)] == pytest.approx([0.5, 0.05, 0.005])
    assert found.aggregate(weights(0), votes([1]), 2).values.tolist() == pytest.approx([0.05])
    assert method(server_learning_rate=0.5).rate(9) == 0.5


# --- keys and runs


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("server-learning-rate", 0.0, "a number above 0"),
        ("server-learning-rate", -1.0, "a number above 0"),
        ("value-type", "float16", "'float32': strategy signsgd does not use it"),
        ("target-density", 0.1, "0.0: strategy signsgd does not use it"),
    ],
)
def test_bad_keys(key, value, expected):
    with pytest.raises(ConfigError) as error:
        parse(SignSGDConfig, {"strategy": "signsgd", key: value})
    assert str(error.value) == f"{key} = {value!r}: expected {expected}"


@pytest.mark.slow
def test_it_learns_on_digits_at_a_bit_a_weight_and_relays_end_the_same(raw):
    changes = {"samples_per_client": 0, "num_server_rounds": 5, "local_epochs": 1, "server_learning_rate": 0.003}
    ends, lines = [], []
    for downlink in ("votes", "relay"):
        config = raw(strategy="signsgd", downlink=downlink, **changes)
        folder = run_on_grid(LoopbackGrid(app, config, 10), config)
        lines = folder.round_log.read()
        ends.append(max(folder.path.glob("checkpoint-*.safetensors")).read_bytes())
    assert ends[0] == ends[1]
    assert lines[-1]["accuracy"] > 0.8
    assert all(line["clients_counted"] == 10 and 0.5 < line["uplink_bpp"] < 1.01 for line in lines)
    assert lines[-1]["downlink_bpp"] < 10.1  # ten clients' votes, where the weights are 32
