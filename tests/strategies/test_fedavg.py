import math

import numpy as np
import pytest
import torch
from configs import config_of
from fedgates.strategies.fedavg import FedAvg, FedAvgConfig
from torch import nn

from fedgates.methods import largest, mean_values, to_float32
from fedgates.methods.training import Task
from fedgates.nn.gates import Gates
from fedgates.nn.network import Network
from fedgates.types import Update, Weights, pack


def method(module=None, **config):
    module = module or nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    return FedAvg(config_of(FedAvgConfig, **{"strategy": "fedavg", "learning_rate": 0.1, **config}), Network(module))


def weights(*values):
    return Weights(np.array(values, dtype=np.float32))


def update(*values, examples=1):
    return Update(mask=None, values=np.array(values, dtype=np.float32), num_examples=examples)


def images(*pixels, labels, server_round=1, client=0):
    """Images of one pixel; 255 is 1 for the network, 0 is -1."""
    return Task(torch.tensor(pixels, dtype=torch.uint8).view(-1, 1, 1, 1), torch.tensor(labels), server_round, client)


def test_the_first_state_is_the_networks_own_weights():
    module = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    own = torch.cat([p.detach().reshape(-1) for p in module.parameters()]).tolist()
    found = method(module)
    found.local_update(weights(9, 9, 9, 9), images(255, labels=[0]))
    assert found.initial_state().values.tolist() == own
    assert found.initial_state().values.dtype == np.float32


def test_one_step_by_hand():
    # all weights zero: both classes have probability 1/2, so d loss / d logits is (-1/2, 1/2), at pixel 1
    sent = method(local_epochs=1).local_update(weights(0, 0, 0, 0), images(255, labels=[0]))
    assert sent.values.tolist() == pytest.approx([0.05, -0.05, 0.05, -0.05])
    assert sent.values.dtype == np.float32
    assert (sent.mask, sent.num_examples) == (None, 1)
    assert sent.metrics["loss"] == pytest.approx(math.log(2))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_two_steps_by_hand(momentum):
    sent = method(local_epochs=2, momentum=momentum).local_update(weights(0, 0, 0, 0), images(255, labels=[0]))
    p = 1 / (1 + math.exp(-0.2))  # after the first step the logits are (.1, -.1)
    moved = 0.05 + 0.1 * (momentum * 0.5 + 1 - p)
    assert sent.values.tolist() == pytest.approx([moved, -moved, moved, -moved])
    assert sent.metrics["loss"] == pytest.approx((math.log(2) - math.log(p)) / 2)


def test_a_batch_is_a_mean_and_the_learning_rate_counts():
    sent = method(local_epochs=1, learning_rate=1.0).local_update(
        weights(0, 0, 0, 0), images(255, 0, 0, 0, labels=[0, 1, 1, 1])
    )
    # one image says (-1/2, 1/2) at pixel 1, three say (1/2, -1/2) at pixel -1
    assert sent.values.tolist() == pytest.approx([0.5, -0.5, -0.25, 0.25])
    assert sent.num_examples == 4


def test_a_client_starts_from_the_state_and_leaves_it():
    state = weights(1, 2, 3, 4)
    found = method(local_epochs=1, learning_rate=1e-9)
    found.local_update(weights(5, 5, 5, 5), images(255, labels=[0]))
    sent = found.local_update(state, images(255, labels=[0]))
    assert sent.values.tolist() == pytest.approx([1, 2, 3, 4])
    assert state.values.tolist() == [1, 2, 3, 4]
    found.local_update(weights(5, 5, 5, 5), images(255, labels=[0]))
    assert sent.values.tolist() == pytest.approx([1, 2, 3, 4])  # an update does not change with the network


def test_momentum_does_not_outlive_a_round():
    found = method(momentum=0.9, local_epochs=3)
    first = found.local_update(weights(0, 0, 0, 0), images(255, labels=[0])).values.tolist()
    assert found.local_update(weights(0, 0, 0, 0), images(255, labels=[0])).values.tolist() == first


def test_the_mean_is_weighted_by_examples():
    found = method().aggregate(weights(9, 9), [update(1, -2, examples=10), update(5, 2, examples=30)], 1)
    assert found.values.tolist() == [4, 1]
    assert found.values.dtype == np.float32


def test_the_mean_is_summed_in_float64():
    # in float32, 2^25 + 1 is 2^25
    found = method().aggregate(weights(0), [update(2**25), update(1), update(-(2**25)), update(0)], 1)
    assert found.values.tolist() == [0.25]


def test_no_updates_leave_the_state():
    state = weights(1, 2)
    assert method().aggregate(state, [], 1) is state


def test_evaluation_by_hand():
    task = images(255, 0, 255, labels=[0, 1, 1])
    metrics = method().evaluate(weights(math.log(3), 0, 0, 0), task)
    loss = -(2 * math.log(0.75) + math.log(0.25)) / 3
    assert metrics == {"accuracy": pytest.approx(2 / 3), "loss": pytest.approx(loss), "model_density": 0.25}


@pytest.mark.parametrize(
    ("density", "kept"),
    [
        (0.0, [1, -3, 2, -2]),  # none asked for
        (0.25, [0, -3, 0, 0]),
        (0.5, [0, -3, 2, 0]),  # of equal ones the first
        (0.75, [0, -3, 2, -2]),
        (1.0, [1, -3, 2, -2]),
        (0.1, [0, 0, 0, 0]),
    ],
)
def test_target_density_prunes_the_model_that_a_state_stands_for(density, kept):
    state = weights(1, -3, 2, -2)
    assert method(target_density=density).weights(state).tolist() == kept
    assert state.values.tolist() == [1, -3, 2, -2]


def test_the_pruned_model_is_evaluated_and_the_dense_one_trained_and_sent():
    state, asked = weights(math.log(3), -5, 0, 0), images(255, 0, 255, labels=[0, 1, 1])
    dense, pruned = method(), method(target_density=0.25)
    metrics = pruned.evaluate(state, asked)
    assert metrics == dense.evaluate(weights(0, -5, 0, 0), asked)
    assert metrics["model_density"] == 0.25
    sent = [found.local_update(state, asked).values.tolist() for found in (dense, pruned)]
    assert sent[0] == sent[1]
    updates = [update(*sent[0]), update(1, 2, 3, 4)]
    assert pruned.aggregate(state, updates, 1).values.tolist() == dense.aggregate(state, updates, 1).values.tolist()


def test_largest():
    values = np.array([0, -3, 2, -2, 2], dtype=np.float32)
    found = [np.flatnonzero(largest(values, count)).tolist() for count in (0, 1, 2, 3, 4, 5, 9)]
    assert found == [[], [1], [1, 2], [1, 2, 3], [1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]


def test_mean_values_of_sparse_updates_counts_what_is_missing_as_zero():
    sparse = Update(pack(np.array([True, False, True])), np.array([3, 6], dtype=np.float32), num_examples=1)
    assert mean_values([sparse, update(1, 1, 1, examples=2)], 3).tolist() == [5 / 3, 2 / 3, 8 / 3]
    assert mean_values([], 3) is None


def test_final_learning_rate_is_reached_exponentially():
    config = config_of(FedAvgConfig, learning_rate=0.5, final_learning_rate=0.005, num_server_rounds=5)
    assert [config.rate(i) for i in (1, 3, 5, 6)] == pytest.approx([0.5, 0.05, 0.005, 0.005])
    assert config_of(FedAvgConfig, learning_rate=0.5).rate(7) == 0.5
    assert config_of(FedAvgConfig, learning_rate=0.5, final_learning_rate=0.1, num_server_rounds=1).rate(1) == 0.5
    found = method(local_epochs=1, final_learning_rate=0.001, num_server_rounds=3)
    sent = found.local_update(weights(0, 0, 0, 0), images(255, labels=[0], server_round=3))
    assert sent.values.tolist() == pytest.approx([0.0005, -0.0005, 0.0005, -0.0005])


def test_weight_decay_by_hand():
    sent = method(local_epochs=1, weight_decay=0.5).local_update(weights(1, 1, 1, 1), images(255, labels=[0]))
    assert sent.values.tolist() == pytest.approx([1, 0.9, 1, 0.9])  # -.05 of each by the decay, +-.05 by the loss


def test_something_is_done_after_every_step():
    found, seen = method(local_epochs=3), []
    trained, _ = found.train(
        weights(0, 0, 0, 0),
        images(255, labels=[0]),
        after_step=lambda: seen.append(found.network.weights[0].item()),
    )
    assert len(seen) == 3
    assert seen[0] == pytest.approx(0.05)
    assert seen[-1] == trained[0]


def test_weights_that_overflow_are_measured_all_the_same():
    # finite, so the wire lets them through; the round must still be written down, and numbers in it are finite
    task = images(255, 0, labels=[0, 1])
    found = method(nn.Sequential(nn.Flatten(), nn.Linear(1, 2), nn.Linear(2, 2)))
    metrics = found.evaluate(weights(*[3e38, -3e38] * 5), task)
    assert all(math.isfinite(value) for value in metrics.values())


def test_the_digest_names_the_layout_and_is_not_that_of_gates():
    digest = method().digest
    assert digest == method(seed=5).digest
    assert digest != method(nn.Sequential(nn.Flatten(), nn.Linear(1, 3))).digest
    assert digest != Gates(method().network, 1).digest


def test_it_sends_values_alone():
    assert FedAvg.spec.update == "values"
    assert not FedAvg.spec.samples
    assert FedAvg.Config is FedAvgConfig


def test_an_update_is_a_function_of_state_seed_round_and_client():
    def values(found, **task):
        pixels = torch.arange(40) * 6
        asked = images(*pixels.tolist(), labels=[int(p > 90) for p in pixels], **task)
        return tuple(found.local_update(weights(0.1, 0.2, 0.3, 0.4), asked).values.tolist())

    found = method(batch_size=4)
    torch.manual_seed(1)
    first, before = values(found), torch.get_rng_state()
    assert torch.equal(torch.get_rng_state(), before)
    others = {values(found, server_round=2), values(found, client=1), values(method(batch_size=4, seed=2))}
    torch.manual_seed(2)
    assert values(found) == values(method(batch_size=4)) == first
    assert len({first, *others}) == 4


def test_it_learns():
    draw = torch.Generator().manual_seed(3)
    y = torch.arange(120) % 2
    x = torch.randint(0, 120, (len(y), 1, 4, 4), generator=draw)
    x[y == 0, :, :, :2] += 100  # class 0 is bright on the left, class 1 on the right
    x[y == 1, :, :, 2:] += 100
    parts = list(zip(x.to(torch.uint8).split(24), y.split(24), strict=True))
    torch.manual_seed(0)
    found = method(nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2)), batch_size=8)
    state = found.initial_state()
    before = found.evaluate(state, Task(*parts[-1], server_round=0))
    for server_round in (1, 2, 3):
        tasks = [Task(*part, server_round, client) for client, part in enumerate(parts[:-1])]
        state = found.aggregate(state, [found.local_update(state, task) for task in tasks], server_round)
    metrics = found.evaluate(state, Task(*parts[-1], server_round=3))
    assert metrics["accuracy"] > 0.9
    assert metrics["loss"] < before["loss"] / 2


def test_training_that_diverges_sends_nothing():
    with pytest.raises(FloatingPointError, match="the weights are not finite: training diverged"):
        method(local_epochs=1, learning_rate=1e38, weight_decay=1e38).local_update(weights(1, 1, 1, 1), images(255, labels=[0]))


def test_sums_beyond_float32_are_held_at_its_largest():
    top = float(np.finfo(np.float32).max)
    assert to_float32(np.array([1e300, -1e300, 0.1])).tolist() == [top, -top, float(np.float32(0.1))]
