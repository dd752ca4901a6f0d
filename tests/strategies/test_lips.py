import numpy as np
import pytest
import torch
from configs import config_of
from fedgates.strategies.fedavg import FedAvg
from fedgates.strategies.lips import LIPS, LastEpoch, LIPSConfig
from torch import nn

from client_app import app
from fedgates.config import parse
from fedgates.errors import ConfigError
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.methods.training import Task
from fedgates.nn.network import Network
from fedgates.types import Update, Weights


def network():
    """Nine parameters: a weight, two weights and two biases in the middle, and the four weights of two classes."""
    layers = [nn.Linear(1, 1, bias=False), nn.Linear(1, 2), nn.Linear(2, 2, bias=False)]
    return Network(nn.Sequential(nn.Flatten(), *layers))


START = [1, 2, 1, 5, 5, 1, 0, 0, 1]
"""For the pixel 1: logits (7, 6), so class 0 has probability 1 / (1 + e^-1), .731."""
FAR = 1 / (1 + np.e)
"""The gradient of the middle weights at START is (-FAR, FAR) for class 0, so their importance is 2 FAR and FAR."""


def method(kind=LIPS, **config):
    settings = {"strategy": "lips", "local_epochs": 1, "num_server_rounds": 20, "learning_rate": 0.1, **config}
    return kind(config_of(kind.Config, **settings), network())


def weights(*values):
    return Weights(np.array(values, dtype=np.float32))


def asked(server_round=10, memory=None, held_out=None):
    """One image of class 0, of the pixel 1 for the network."""
    x = torch.tensor([255], dtype=torch.uint8).view(1, 1, 1, 1)
    return Task(x, torch.tensor([0]), server_round, 0, memory or {}, held_out)


def remembering(*gradient):
    return {"gradient": np.array(gradient, dtype=np.float32)}


# --- which weights, when, and how many


def test_the_middle_is_neither_the_first_layer_nor_the_classifier_nor_a_bias():
    assert method().middle.tolist() == [False, True, True] + 6 * [False]


@pytest.mark.parametrize(("server_round", "density"), [(1, None), (4, None), (5, 0.625), (10, 0.75), (12, None), (20, 1)])
def test_the_density_rises_to_one_with_the_last_round(server_round, density):
    assert method().density(server_round) == density


def test_the_density_starts_where_it_is_told_as_often_as_it_is_told():
    found = method(lips_every=2, lips_density=0.2)
    assert [found.density(r) for r in (1, 2, 3)] == [None, pytest.approx(0.28), None]


def test_the_top_of_gradient_times_weight_is_kept():
    state = weights(9, 3, -4, 5, 5, 9, 9, 9, 9)
    by_weight = method().sparse(state, np.array([1, 1], dtype=np.float32), 0.5)
    assert by_weight.values.tolist() == [9, 0, -4, 5, 5, 9, 9, 9, 9]
    by_both = method().sparse(state, np.array([-2, 1], dtype=np.float32), 0.5)
    assert by_both.values.tolist() == [9, 3, 0, 5, 5, 9, 9, 9, 9]
    assert state.values.tolist() == [9, 3, -4, 5, 5, 9, 9, 9, 9]
    assert method().sparse(state, np.array([1, 1], dtype=np.float32), 1.0).values.tolist() == state.values.tolist()
    assert method().sparse(state, np.array([1, 1], dtype=np.float32), 0.0).values.tolist() == [9, 0, 0, 5, 5, 9, 9, 9, 9]


def test_middle_layers_are_ranked_together():
    layers = [nn.Linear(1, 1, bias=False) for _ in range(4)]
    found = LIPS(LIPSConfig(), Network(nn.Sequential(nn.Flatten(), *layers)))
    assert found.sparse(weights(1, 2, 3, 1), np.ones(2, dtype=np.float32), 0.5).values.tolist() == [1, 0, 3, 1]


# --- the client's rule


@pytest.mark.parametrize(
    ("memory", "start"),
    [
        (remembering(0.1, 1), [0, 1]),
        (remembering(1, 0.1), [2, 0]),
        (None, [2, 0]),  # by the gradient of its first batch
        (remembering(1), [2, 0]),
        (remembering(0.1, np.nan), [2, 0]),
    ],
)
def test_a_client_starts_sparse_by_the_gradient_it_remembers(memory, start):
    sent = method(lips_density=0, learning_rate=1e-9).local_update(weights(*START), asked(10, memory))
    assert sent.values.tolist() == pytest.approx([1, *start, 5, 5, 1, 0, 0, 1], abs=1e-6)
    assert (sent.mask, sent.num_examples) == (None, 1)


def test_zeroed_weights_grow_back_in_training():
    sent = method(lips_density=0).local_update(weights(*START), asked(10, remembering(0.1, 1)))
    # the first weight of the middle is 0: logits (5, 6), so the gradient of the middle is (-1 + FAR, 1 - FAR)
    assert sent.values[1:3].tolist() == pytest.approx([0.1 * (1 - FAR), 1 - 0.1 * (1 - FAR)])


@pytest.mark.parametrize("server_round", [1, 9, 20])
def test_other_rounds_and_the_last_are_fedavgs(server_round):
    task = asked(server_round, remembering(0.1, 1))
    sent = method().local_update(weights(*START), task)
    assert sent.values.tolist() == method(FedAvg).local_update(weights(*START), task).values.tolist()


def test_it_remembers_the_gradient_of_its_last_epoch():
    sent = method().local_update(weights(*START), asked(1))
    assert list(sent.memory) == ["gradient"]
    assert sent.memory["gradient"].dtype == np.float32
    assert sent.memory["gradient"].tolist() == pytest.approx([-FAR, FAR])
    again = method(local_epochs=2).local_update(weights(*START), asked(1)).memory["gradient"]
    assert 0 < again[1] < sent.memory["gradient"][1]  # the second epoch's alone: nearer to the label
    assert LIPS.spec.memory == ("gradient",)


def test_the_last_epoch_is_a_mean_over_images():
    gradient = torch.zeros(1)
    last = LastEpoch(gradient, 3, config_of(LIPSConfig, local_epochs=2, batch_size=2))
    for value in (90, 90, 3, 6):  # batches of 2, 1, 2 and 1
        gradient.fill_(value)
        last.add()
    assert last.mean.tolist() == [4]


def test_the_server_is_fedavgs():
    updates = [
        Update(None, np.full(9, 1, np.float32), num_examples=10),
        Update(None, np.full(9, 5, np.float32), num_examples=30),
    ]
    assert method().aggregate(weights(*START), updates, 5).values.tolist() == [4] * 9


# --- what it refuses


def test_a_network_without_a_middle_is_refused():
    line = "model = 'mlp': expected a network with at least one layer between its first and last layers, for strategy lips"
    with pytest.raises(ConfigError) as caught:
        LIPS(LIPSConfig(), Network(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))))
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("key", "value"),
    [("lips-every", 0), ("lips-density", 1.1), ("lips-density", -0.1), ("uplink", "packed"), ("target-density", 0.1)],
)
def test_bad_keys_are_refused(key, value):
    with pytest.raises(ConfigError, match=f"^{key} = "):
        parse(LIPSConfig, {"strategy": "lips", key: value})


# --- runs


def ledger(raw, **config):
    config = raw(fraction_evaluate=1.0, num_server_rounds=4, **config)
    grid = LoopbackGrid(app, config, 4)
    folder = run_on_grid(grid, config)
    return folder.round_log.read(), grid


@pytest.mark.slow
def test_a_run_says_what_clients_reach_before_and_after_and_how_far_layers_moved(raw):
    lips, grid = ledger(raw, strategy="lips", lips_every=2, samples_per_client=100, local_epochs=3)
    dense, _ = ledger(raw, strategy="fedavg", samples_per_client=100, local_epochs=3)
    for line in (*lips, *dense):
        assert 0 < line["train_accuracy"] <= 1
        assert 0 < line["client_accuracy"] <= 1
        assert line["inertia_3.weight"] > 0
        assert line["rms_inertia_3.weight"] > 0
    assert lips[0]["accuracy"] == dense[0]["accuracy"]
    assert lips[0]["inertia_3.weight"] == dense[0]["inertia_3.weight"]
    # half of what is zeroed and does not grow back is a large update of the middle, by far the largest of its own
    assert lips[1]["inertia_3.weight"] > 2 * dense[1]["inertia_3.weight"]
    assert lips[1]["inertia_1.weight"] < 2 * dense[1]["inertia_1.weight"]
    assert lips[-1]["accuracy"] > 0.6
    kept = [context.state.array_records["memory"]["gradient"].numpy() for context in grid.contexts.values()]
    assert [array.shape for array in kept] == [(256 * 256,)] * 4
    assert len({array.tobytes() for array in kept}) == 4
