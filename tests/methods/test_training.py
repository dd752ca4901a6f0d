import math
from dataclasses import replace

import pytest
import torch
from configs import config_of
from torch import nn
from torch.nn import functional as F

from fedgates.config import RunConfig
from fedgates.errors import ConfigError
from fedgates.methods.evaluation import predict
from fedgates.methods.registry import BUILT_IN, build, configure, method_class
from fedgates.methods.training import Task, autocast, backward, batches, log_prior, seeded_rng
from fedgates.nn.network import Network
from fedgates.rng import generator
from fedgates.types import Problem


def task(n=10, server_round=1, client=0, pixels=None):
    x = torch.full((n, 1, 1, 1), 255, dtype=torch.uint8) if pixels is None else torch.tensor(pixels, dtype=torch.uint8)
    return Task(x.view(n, 1, 1, -1), torch.arange(n) % 2, server_round, client)


def linear(*weights):
    """Two classes, one pixel: weights of class 0 and 1, then their biases."""
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(1, 2)))
    network.weights.copy_(torch.tensor(weights))
    return network


# --- batches


@pytest.mark.parametrize(("size", "sizes"), [(4, [4, 4, 2]), (10, [10]), (16, [10]), (1, [1] * 10), (5, [5, 5])])
def test_batches_cover_each_epoch_exactly_once(size, sizes):
    found = list(batches(task(), config_of(RunConfig, batch_size=size, local_epochs=3)))
    assert [len(batch) for batch in found] == sizes * 3
    epochs = torch.cat(found).view(3, 10)
    assert [sorted(epoch.tolist()) for epoch in epochs] == [list(range(10))] * 3


def test_batches_are_reshuffled_every_epoch():
    epochs = torch.cat(list(batches(task(), config_of(RunConfig, local_epochs=3)))).view(3, 10)
    assert len({tuple(epoch.tolist()) for epoch in [torch.arange(10), *epochs]}) == 4


def test_batches_are_a_function_of_seed_round_and_client():
    def order(seed=1, **names):
        return tuple(torch.cat(list(batches(task(20, **names), config_of(RunConfig, seed=seed, local_epochs=1)))).tolist())

    torch.manual_seed(1)
    first, before = order(), torch.get_rng_state()
    torch.manual_seed(2)
    assert order() == first
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert len({first, order(seed=2), order(server_round=2), order(client=1)}) == 4


def test_a_task_gives_the_generator_of_its_key():
    asked = replace(task(), server_round=4, client=7)
    found = asked.generator(3, "masks").initial_seed()
    assert found == generator(3, "masks", server_round=4, client=7).initial_seed()
    assert found != asked.generator(3, "upload").initial_seed()


# --- one pass


def test_backward_by_hand():
    network = linear(0.0, 0, math.log(3), 0)  # class 0 with probability 3/4, whatever the pixel
    network.gradient.fill_(99)  # of a batch before
    loss = backward(network, task(2, pixels=[255, 0]), torch.tensor([0, 1]), "float32")  # pixels are 1 and -1
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    assert not loss.requires_grad
    # d loss / d logits: (-1/4, 1/4) at pixel 1 of class 0, (3/4, -3/4) at pixel -1 of class 1; their mean
    assert network.gradient.tolist() == pytest.approx([-0.5, 0.5, 0.25, -0.25])
    assert network.module.training


def test_backward_takes_the_batch_alone():
    network, whole = linear(0.0, 0, 0, 0), task(2, pixels=[255, 0])
    backward(network, whole, torch.tensor([0]), "float32")
    assert network.gradient.tolist() == pytest.approx([-0.5, 0.5, -0.5, 0.5])
    backward(network, whole, torch.tensor([1]), "float32")
    assert network.gradient.tolist() == pytest.approx([-0.5, 0.5, 0.5, -0.5])


def regression(*weights):
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(len(weights), 1, bias=False)), task="regression")
    network.weights.copy_(torch.tensor(weights))
    return network


def test_backward_of_a_regression_by_hand():
    network = regression(2.0, 1)
    x = torch.tensor([[255, 0], [0, 0]], dtype=torch.uint8).view(2, 1, 1, 2)  # 1 -1 and -1 -1
    both = Task(x, torch.tensor([0.0, -1]), 1, 0)
    loss = backward(network, both, torch.tensor([0, 1]), "float32")  # outputs 1 and -3, errors 1 and -2
    assert loss.item() == pytest.approx((1 + 4) / 2)
    # mean of 2 * error * x: (2 + 4) / 2 and (-2 + 4) / 2
    assert network.gradient.tolist() == pytest.approx([3, 1])
    assert predict(network, x).tolist() == [[1], [-3]]


# --- logit adjustment


@pytest.mark.parametrize("pseudo_count", [0.5, 1.0, 20.0])
def test_the_log_prior_by_hand(pseudo_count):
    labels, counts = [2, 0, 2, 2], [1, 0, 3, 0, 0]
    expected = [math.log((n + pseudo_count) / (4 + 5 * pseudo_count)) for n in counts]
    found = log_prior(torch.tensor(labels), 5, pseudo_count)
    assert found.tolist() == pytest.approx(expected)
    assert (found.dtype, float(found.exp().sum())) == (torch.float32, pytest.approx(1))


def test_backward_with_adjusted_logits_by_hand():
    network = linear(0.0, 0, math.log(3), 0)
    pixels, y = torch.tensor([255, 0, 255], dtype=torch.uint8).view(3, 1, 1, 1), torch.tensor([0, 0, 1])
    loss = backward(network, Task(pixels, y, 1, 0), torch.tensor([0]), "float32", class_prior=1.0)
    # odds 3 to 1, times those of the client's three labels, not of the batch: (2 + 1) / 5 to (1 + 1) / 5
    p = 9 / 11
    assert loss.item() == pytest.approx(-math.log(p))
    assert network.gradient.tolist() == pytest.approx([p - 1, 1 - p, p - 1, 1 - p])
    adjusted, labels = network.gradient.clone(), F.one_hot(y[:1], 2)
    logits = torch.tensor([[math.log(3), 0.0]], requires_grad=True)
    chances = (logits + log_prior(y, 2, 1.0)).softmax(1)  # the gradient of the adjusted loss, from autograd
    (-(labels * chances.log()).sum()).backward()
    assert torch.allclose(adjusted[2:], logits.grad[0])


def test_without_a_pseudo_count_logits_are_not_adjusted():
    one, two = linear(1.0, -1, 0.5, 0), linear(1.0, -1, 0.5, 0)
    three_to_one = replace(task(4), y=torch.tensor([0, 0, 0, 1]))
    batch = torch.arange(4)
    assert backward(one, three_to_one, batch, "float32", 0.0) == backward(two, three_to_one, batch, "float32")
    assert torch.equal(one.gradient, two.gradient)
    assert backward(two, three_to_one, batch, "float32", 0.5) != backward(one, three_to_one, batch, "float32")
    assert not torch.equal(one.gradient, two.gradient)


def test_targets_are_not_adjusted():
    network = regression(2.0)
    both = Task(torch.tensor([255, 0], dtype=torch.uint8).view(2, 1, 1, 1), torch.tensor([0.0, -1]), 1, 0)
    assert backward(network, both, torch.tensor([0, 1]), "float32", 0.5).item() == pytest.approx((4 + 1) / 2)


def method_of(strategy, shape=((1, 8, 8), 10), **changes):
    config = method_class(strategy).Config
    # lips needs a layer between the first and the last; fedmask rounds its masks, so that only large steps show
    own = {"lips": {"model": "mlp"}, "fedmask": {"fedpm.eps": 0.3, "learning-rate": 1.0}}.get(strategy, {})
    density = {"density.target": 0.5} if config.requires_density else {}
    settings = {"strategy": strategy, "model": "tiny_network:build", **own, **density, **changes}
    return build(*configure(settings), Problem.of_images(*shape))


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("strategy", BUILT_IN)
def test_every_method_trains_with_adjusted_logits(strategy):
    key = "coupled-masks.class-prior" if strategy == "coupled-masks" else "logit-adjustment"
    x = torch.randint(0, 256, (30, 1, 8, 8), generator=generator(1, "x")).to(torch.uint8)
    lacking = Task(x, torch.arange(30) % 3, 1, 0)  # most classes

    def update(pseudo_count):
        method = method_of(strategy, **{key: pseudo_count})
        found = method.local_update(method.initial_state(), lacking)
        values = [] if found.values is None else found.values.tolist()
        return None if found.mask is None else found.mask.tobytes(), values

    assert update(0.0) == update(0.0)
    assert update(0.0) != update(0.5)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("strategy", [name for name in BUILT_IN if name != "coupled-masks"])
def test_a_regression_refuses_logit_adjustment(strategy):
    with pytest.raises(ConfigError) as error:
        method_of(strategy, ((1, 8, 8), 0), **{"logit-adjustment": 0.5})
    assert str(error.value) == "logit-adjustment = 0.5: expected 0: the task is regression, not classes"


def test_coupled_masks_train_a_regression_without_it():
    method = method_of("coupled-masks", ((1, 2, 2), 0), model="linear")
    x = torch.randint(0, 256, (30, 1, 2, 2), generator=generator(1, "x")).to(torch.uint8)
    found = method.local_update(method.initial_state(), Task(x, torch.rand(30), 1, 0))
    assert math.isfinite(found.metrics["loss"])


# --- predictions


# --- precision


def conv():
    torch.manual_seed(0)
    return Network(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)))


def test_bfloat16_is_near_float32_and_not_it():
    x = torch.randint(0, 256, (6, 1, 8, 8), generator=generator(1, "x")).to(torch.uint8)
    exact, rough = predict(conv(), x), predict(conv(), x, "bfloat16")
    assert rough.dtype == torch.float32
    assert 0 < (exact - rough).abs().max() < 0.02
    both = Task(x, torch.arange(6) % 2, 1, 0)
    one, two = conv(), conv()
    losses = [backward(n, both, torch.arange(6), p).item() for n, p in ((one, "float32"), (two, "bfloat16"))]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)
    assert two.gradient.dtype == torch.float32
    assert 0 < (one.gradient - two.gradient).norm() / one.gradient.norm() < 0.05


def test_autocast_is_off_for_float32():
    with autocast(torch.device("cpu"), "float32"):
        assert not torch.is_autocast_enabled("cpu")
    with autocast(torch.device("cpu"), "bfloat16"):
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16


# --- isolation


def test_isolated_restores_threads_and_generators():
    torch.set_num_threads(2)
    before = torch.get_rng_state()
    with seeded_rng(generator(1, "train"), threads=1):
        assert torch.get_num_threads() == 1
        torch.rand(3)
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), before)


def test_isolated_restores_after_an_error():
    torch.set_num_threads(2)
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="of the user's"), seeded_rng(generator(1, "train"), threads=1):
        raise RuntimeError("of the user's")
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(torch.cuda.is_initialized(), reason="nothing is queued once a GPU is in use")
def test_clients_leave_nothing_queued_for_a_gpu():
    queued = len(torch.cuda._queued_calls)
    for client in range(3):
        with seeded_rng(generator(1, "train", client=client), threads=0):
            torch.rand(1)
    assert len(torch.cuda._queued_calls) == queued


def test_no_threads_asked_for_leaves_them_as_they_are():
    torch.set_num_threads(2)
    with seeded_rng(generator(1, "train"), threads=0):
        assert torch.get_num_threads() == 2


def test_dropout_within_repeats_for_the_same_key():
    def dropped(seed, outside):
        torch.manual_seed(outside)
        with seeded_rng(generator(seed, "train"), threads=1):
            return nn.functional.dropout(torch.ones(50)).tolist()

    assert dropped(1, outside=3) == dropped(1, outside=4)
    assert dropped(1, outside=3) != dropped(2, outside=3)


def test_one_thread_or_two_the_state_of_the_generator_is_that_of_the_key():
    with seeded_rng(generator(1, "train"), threads=1):
        one = torch.rand(3)
    with seeded_rng(generator(1, "train"), threads=2):
        assert torch.equal(torch.rand(3), one)
