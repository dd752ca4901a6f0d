"""Training of a personal last layer on a client."""

import numpy as np
import pytest
import torch
from configs import config_of
from torch import nn
from torch.nn import functional as F

from fedgates.config import RunConfig
from fedgates.data import normalise
from fedgates.methods.evaluation import score
from fedgates.methods.personal import LEARNING_RATE, train_head
from fedgates.methods.training import Task, batches
from fedgates.nn.network import Network
from fedgates.nn.roles import Patterns, roles_of

CONFIG = config_of(RunConfig, personal="last", fraction_evaluate=1.0, personal_epochs=2, batch_size=4, seed=3)


def network():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    return Network(module, roles=roles_of(module, Patterns(personal="last")))


@pytest.fixture
def task():
    x = torch.randint(0, 256, (10, 1, 2, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Task(x, torch.arange(10) % 3, server_round=2, client=4)


def trained(task, kept=None, config=CONFIG, weights=0.3):
    found = network()
    train_head(found, torch.full((found.size,), weights).cumsum(0).sin(), kept, task, config)
    return found


def test_the_head_takes_the_steps_of_torch_on_the_features_of_the_shared_part(task):
    found, twin = trained(task), network()
    shared = torch.full((twin.size,), 0.3).cumsum(0).sin()
    twin.weights.copy_(shared)
    features = twin.module[:3](normalise(task.x)).detach()
    head = nn.Linear(5, 3)
    head.load_state_dict(twin.module[3].state_dict())
    optimizer = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE)
    for batch in batches(task, CONFIG, 2, "personal batches"):
        optimizer.zero_grad()
        F.cross_entropy(head(features[batch]), task.y[batch]).backward()
        optimizer.step()
    assert torch.allclose(found.head.values, torch.cat([p.detach().reshape(-1) for p in head.parameters()]), atol=1e-6)
    assert torch.equal(found.weights, shared)


def test_the_head_starts_where_the_client_left_it(task):
    kept = np.linspace(-1, 1, 18, dtype=np.float32)
    one_step = config_of(RunConfig, personal="last", fraction_evaluate=1.0, personal_epochs=1, batch_size=10)
    head = trained(task, kept, one_step).head.values.numpy()
    assert 0 < np.abs(head - kept).max() < 1.01 * LEARNING_RATE  # the first step of Adam


def test_it_is_a_function_of_its_arguments(task):
    head = trained(task).head.values
    assert torch.equal(trained(task).head.values, head)
    others = [Task(task.x, task.y, 3, 4), Task(task.x, task.y, 2, 5), Task(task.x, task.y.flip(0), 2, 4)]
    assert not any(torch.equal(trained(other).head.values, head) for other in others)
    assert not torch.equal(trained(task, weights=0.4).head.values, head)


NO_HEADS = {
    "of another size": np.zeros(17, dtype=np.float32),
    "of another shape": np.zeros((18, 1), dtype=np.float32),
    "of another type": np.zeros(18),
    "not finite": np.full(18, np.nan, dtype=np.float32),
}


@pytest.mark.parametrize("case", NO_HEADS)
def test_what_is_no_head_counts_as_the_initial_one(task, case):
    assert torch.equal(trained(task, NO_HEADS[case]).head.values, trained(task).head.values)


def test_accuracy_among_own_classes():
    predictions = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.1, 0.3], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [float("nan")] * 3])
    y = torch.tensor([1, 1, 0, 2, 1])
    metrics = score(predictions, y, own_classes=(1, 2))
    assert metrics["accuracy"] == pytest.approx(2 / 5)  # the third and the fourth
    assert metrics["own_class_accuracy"] == pytest.approx(2 / 5)  # the first and the fourth
    assert score(predictions, y) == {name: metrics[name] for name in ("accuracy", "loss", "not_finite")}
    assert metrics["not_finite"] == pytest.approx(1 / 5)
