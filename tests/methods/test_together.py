"""Clients that train together: as alone but for rounding, and only where that is sure."""

import math

import numpy as np
import pytest
import torch
from fedgates.strategies.fedavg import FedAvg
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedgates.methods.registry import BUILT_IN, build, configure
from fedgates.methods.together import Together
from fedgates.methods.training import Task
from fedgates.types import InputSpec, Problem, Weights, unpack

PROBLEM = Problem.of_images((1, 8, 8), 10)
FIVE = (InputSpec("x", (5,), "float32"),)
NUMBERS, LABELS = Problem(FIVE, "regression", 1), Problem(FIVE, "multi-label", 3)
SMALL = {"model": "tiny_network:small", "local-epochs": 2}
RULES = [
    {"strategy": "coupled-masks"},
    {"strategy": "fedpm"},
    {"strategy": "fedpm", "density.penalty": 30.0, "fedpm.straight-through": "authors-code"},
    {"strategy": "fedmask"},
    {"strategy": "one-bit-gates", "density.target": 0.2, "density.entropy-bonus": 3.0},
    {"strategy": "fedavg"},
    {"strategy": "fedavg", "sgd.momentum": 0.9, "sgd.weight-decay": 0.1, "logit-adjustment": 1.0},
    {"strategy": "topk", "density.target": 0.2},
    {"strategy": "signsgd"},
    {"strategy": "fediht", "density.target": 0.2, "fediht.clients": "step"},
    {"strategy": "fediht", "density.target": 0.2, "fediht.clients": "round"},
]
MASKS_AGREE, VALUES_DIFFER = 0.99, 1e-4
"""Share of the bits that are equal at least, and largest difference of values relative to the largest."""


def method(problem=PROBLEM, **changes):
    raw = {**SMALL, **{key.replace("_", "-"): value for key, value in changes.items()}}
    return build(*configure(raw), problem)


def task(n, client=0, server_round=2, **kept):
    draw = torch.Generator().manual_seed(client)
    x = torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=draw)
    return Task(x, torch.randint(0, 10, (n,), generator=draw), server_round, client, **kept)


def agree(together, alone):
    """Whether two updates are equal but for the order of sums."""
    assert together.num_examples == alone.num_examples
    assert together.metrics == pytest.approx(alone.metrics, rel=1e-3)
    assert (together.mask is None) == (alone.mask is None)
    same = 1.0
    if alone.mask is not None:
        ours, theirs = (unpack(each.mask, 4810) for each in (together, alone))
        same = (ours == theirs).mean()
        assert 0.02 < theirs.mean() < 0.98
    if alone.values is not None:
        ours, theirs = (each.dense(4810) for each in (together, alone))
        both = (ours != 0) == (theirs != 0)
        assert np.abs(ours - theirs)[both].max() <= VALUES_DIFFER * np.abs(theirs).max()
    if alone.theta is not None:
        assert np.abs(together.theta - alone.theta).mean() < 1e-3
    return bool(same >= MASKS_AGREE)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("settings", RULES, ids=lambda each: "-".join(map(str, each.values())))
def test_clients_that_train_together_send_what_they_send_alone(settings):
    found = method(**settings)
    state = found.initial_state()
    tasks = [task(n, client) for client, n in ((3, 33), (4, 48), (9, 40))]  # three batches of 16 at most
    alone = [found.local_update(state, each) for each in tasks]
    assert found.trains_together(tasks)
    together = [update() for update in found.local_updates(state, tasks)]
    assert all(agree(*each) for each in zip(together, alone, strict=True))
    again = [found.local_update(state, each) for each in tasks]
    for one, other in zip(alone, again, strict=True):  # and leave no trace
        assert one.metrics == other.metrics
        assert (one.values is None) or (one.values == other.values).all()
        assert (one.mask is None) or (one.mask == other.mask).all()


@pytest.mark.slow
def test_every_method_trains_together_but_those_with_a_rule_of_their_own():
    own = {"entropy-gates", "sparsyfed", "lips"}
    needed = {"entropy-gates", "one-bit-gates", "sparsyfed", "topk", "fediht"}
    for name in BUILT_IN:
        found = method(strategy=name, model="mlp", **({"density.target": 0.1} if name in needed else {}))
        tasks = [task(20, client) for client in (1, 2)]
        possible = isinstance(found, Together) and found.trains_together(tasks)
        assert possible is (name not in own), name


@pytest.mark.slow
@given(sizes=st.lists(st.integers(9, 12), min_size=2, max_size=5), batch_size=st.sampled_from([4, 64]))
@settings(max_examples=12, deadline=None)
def test_smaller_last_batches_count_as_alone(sizes, batch_size):
    found = method(strategy="fedavg", model="tiny_network:build", batch_size=batch_size)
    tasks = [task(n, client) for client, n in enumerate(sizes)]
    state = found.initial_state()
    together = [update() for update in found.local_updates(state, tasks)]
    for update, each in zip(together, tasks, strict=True):
        alone = found.local_update(state, each)
        assert np.allclose(update.values, alone.values, rtol=1e-3, atol=1e-5)
        assert update.metrics["loss"] == pytest.approx(alone.metrics["loss"], rel=1e-4)


def one_pixel(_shape, out):
    """A linear layer on one pixel, which is -1 where it is black."""
    return nn.Sequential(nn.Flatten(), nn.Linear(1, out))


def test_a_group_by_hand():
    """From zeros a step of SGD moves the bias of c by the rate times the mean over examples of [y = c] - 1/2."""
    found = method(
        Problem.of_images((1, 1, 1), 2), strategy="fedavg", model=f"{__name__}:one_pixel", local_epochs=1, learning_rate=1.0
    )
    state = Weights(np.zeros(4, dtype=np.float32))
    labels = {1: [0], 4: [0, 1, 1, 1], 3: [0, 0, 1]}
    tasks = [Task(torch.zeros(n, 1, 1, 1, dtype=torch.uint8), torch.tensor(y), 1, n) for n, y in labels.items()]
    found_updates = [update() for update in found.local_updates(state, tasks)]
    biases = np.array([[0.5, -0.5], [-0.25, 0.25], [1 / 6, -1 / 6]])
    assert np.array([update.values for update in found_updates]) == pytest.approx(np.hstack([-biases, biases]))
    assert [update.metrics["loss"] for update in found_updates] == pytest.approx([math.log(2)] * 3)


OTHERS = {
    "numbers": (NUMBERS, lambda n, draw: torch.randn(n, generator=draw), {"model": "linear"}),
    "labels": (LABELS, lambda n, draw: torch.randint(0, 2, (n, 3), generator=draw, dtype=torch.uint8), {"model": "mlp"}),
    "own loss": (
        Problem(FIVE, "classes", 3),
        lambda n, draw: torch.randint(0, 3, (n,), generator=draw),
        {"model": "mlp", "loss": "own_functions:smoothed"},
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_tasks_and_losses(kind):
    problem, labels, changes = OTHERS[kind]
    found, draw = method(problem, strategy="fedavg", **changes), torch.Generator().manual_seed(1)
    tasks = [Task(torch.randn(n, 5, generator=draw), labels(n, draw), 1, n) for n in (17, 30)]
    assert found.trains_together(tasks)
    state = found.initial_state()
    for update, each in zip(found.local_updates(state, tasks), tasks, strict=True):
        together, alone = update(), found.local_update(state, each)
        assert np.allclose(together.values, alone.values, rtol=1e-3, atol=1e-5)
        assert together.metrics["loss"] == pytest.approx(alone.metrics["loss"], rel=1e-4)


# --- what trains alone


def mixing(_shape, _out):
    """A layer that looks at all examples of a batch."""

    class Centred(nn.Module):
        def forward(self, x):
            return x - x.mean(0)

    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), Centred(), nn.ReLU(), nn.Linear(16, 10))


def normed(_shape, _out):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16, affine=False), nn.Linear(16, 10))


def dropping(_shape, _out):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.1), nn.Linear(16, 10))


def reaching(_shape, _out):
    """It multiplies by a layer's weight itself."""

    class Reaching(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(64, 16), nn.Linear(16, 10)

        def forward(self, x):
            return self.last(x.flatten(1) @ self.first.weight.T + self.first.bias)

    return Reaching()


def counting(_shape, _out):
    """It expects no more examples than a batch has."""

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(64, 10)

        def forward(self, x):
            if len(x) > 16:
                raise ValueError(len(x))
            return self.last(x.flatten(1))

    return Counting()


class Own(FedAvg):
    """A client's rule of one's own."""

    def local_update(self, state, task):
        return super().local_update(state, task)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    "settings",
    [
        {"model": f"{__name__}:mixing"},
        {"model": f"{__name__}:normed"},
        {"model": f"{__name__}:dropping"},
        {"model": f"{__name__}:reaching"},
        {"model": f"{__name__}:counting"},
        {"model": "cnn"},
        {"precision": "bfloat16"},
        {"data.augment": "flip"},
        {"gates.personal": "last", "fraction-evaluate": 0.5},
        {"strategy": f"{__name__}:Own"},
    ],
    ids=lambda each: next(iter(each.values())),
)
def test_what_is_not_sure_to_be_the_same_trains_alone(settings):
    found = method(**{"strategy": "fedavg", **settings})
    assert not found.trains_together([task(30, 1), task(30, 2)])
    assert math.isfinite(found.local_update(found.initial_state(), task(30, 1)).metrics["loss"])


def test_the_trial_draws_nothing_and_leaves_no_trace():
    found = method(strategy="fedavg", model=f"{__name__}:dropping")
    state, before = found.initial_state(), torch.random.get_rng_state()
    found.trains_together([task(30, 1), task(30, 2)])
    assert torch.equal(before, torch.random.get_rng_state())
    with torch.random.fork_rng():
        torch.manual_seed(1)
        tried = found.local_update(state, task(30, 1))
        torch.manual_seed(1)
        fresh = method(strategy="fedavg", model=f"{__name__}:dropping").local_update(state, task(30, 1))
    assert (tried.values == fresh.values).all()


def test_clients_with_other_numbers_of_batches_do_not_train_together():
    found = method(strategy="fedavg")
    assert found.trains_together([task(32, 1), task(17, 2)])
    assert not found.trains_together([task(32, 1), task(33, 2)])
    assert not found.trains_together([task(32, 1)])


def test_a_client_that_diverges_fails_alone():
    found = method(NUMBERS, strategy="fedavg", model="linear")
    draw = torch.Generator().manual_seed(1)
    x, y = torch.randn(3, 20, 5, generator=draw), torch.randn(3, 20, generator=draw)
    x[1, 3] = 1e30
    tasks, state = [Task(x[k], y[k], 1, k) for k in range(3)], found.initial_state()
    updates = found.local_updates(state, tasks)
    for k in (0, 2):
        assert np.allclose(updates[k]().values, found.local_update(state, tasks[k]).values, rtol=1e-3, atol=1e-5)
    with pytest.raises(FloatingPointError, match="not finite"):
        updates[1]()
