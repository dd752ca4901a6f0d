"""A loss of the user's own: its values, its gradient, and the one line for each that cannot be used."""

import own_functions
import pytest
import torch
from configs import config_of
from torch import nn
from torch.nn import functional as F

from fedgates.config import RunConfig
from fedgates.errors import ConfigError
from fedgates.methods.losses import check_loss, evaluated_loss, loss_function, loss_of
from fedgates.methods.registry import build, configure
from fedgates.methods.training import Task, train_backward
from fedgates.methods.trial import random_labels, random_outputs
from fedgates.nn.network import Network
from fedgates.types import InputSpec, Problem

CLASSES = Problem.of_images((1, 8, 8), 10)
REGRESSION = Problem((InputSpec("x", (5,), "float32"),), "regression", 3)
LABELS = Problem((InputSpec("x", (5,), "float32"),), "multi-label", 4)
POSITIONS = Problem((InputSpec("x", (1, 4, 4), "uint8"),), "positions", 3, (4, 4))


def config(loss, **changes):
    return config_of(RunConfig, loss=f"own_functions:{loss}" if loss else "", **changes)


@pytest.mark.parametrize("problem", [CLASSES, REGRESSION, LABELS, POSITIONS], ids=lambda problem: problem.task)
def test_random_outputs_and_labels_are_what_the_task_has(problem):
    output, y = random_outputs(problem, 64), random_labels(problem, 64)
    assert output.shape == (64, *problem.output_shape)
    assert output.dtype == torch.float32
    assert loss_of(output, y).isfinite()
    if problem.task in {"classes", "positions"}:
        assert (y.dtype, set(y.unique().tolist())) == (torch.int64, set(range(problem.outputs)))


def test_without_a_loss_of_ones_own_it_is_that_of_the_task():
    assert loss_function(config("")) is loss_of


def test_the_gradient_is_that_of_the_own_loss():
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
    network, twin = Network(module), nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
    twin.load_state_dict(module.state_dict())
    x, y = torch.randn(9, 6), torch.arange(9) % 4
    loss = train_backward(network, Task(x, y, 1), torch.arange(9), config("smoothed"))
    wanted = F.cross_entropy(twin(x), y, label_smoothing=0.2)
    wanted.backward()
    assert loss == pytest.approx(wanted.item(), rel=1e-6)
    expected = torch.cat([parameter.grad.flatten() for parameter in twin.parameters()])
    assert torch.allclose(network.gradient, expected, atol=1e-6)


def test_targets_have_the_shape_of_the_outputs_so_that_nothing_broadcasts():
    network = Network(nn.Linear(1, 1), task="regression")
    network.weights.copy_(torch.tensor([1.0, 0.0]))
    x, y = torch.tensor([[1.0], [2], [3]]), torch.tensor([1.0, 2, 4])
    own_functions.CALLS.clear()
    assert train_backward(network, Task(x, y, 1), torch.arange(3), config("absolute")) == pytest.approx(1 / 3)
    (call,) = own_functions.CALLS
    assert call == ((3, 1), (3, 1), torch.float32)


def test_an_evaluated_loss_is_a_finite_number_whatever_the_outputs():
    output, y = torch.tensor([[2.0, 0], [0, 4]]), torch.tensor([0, 1])
    assert evaluated_loss(config("likelihood"), output, y) == pytest.approx(-3 + 1e-3 * 5)
    for value, expected in ((float("nan"), 1e9), (float("inf"), 1e9), (-1e30, -1e9)):
        assert evaluated_loss(config("no_bound"), torch.tensor([[value]]), y[:1]) == expected


own_functions.no_bound = lambda outputs, y: outputs.sum()


@pytest.mark.parametrize(
    ("loss", "problem"),
    [("smoothed", CLASSES), ("likelihood", CLASSES), ("absolute", REGRESSION), ("focal_bits", LABELS), ("smoothed", POSITIONS)],
)
def test_good_ones_pass_and_leave_the_random_numbers_alone(loss, problem):
    before = torch.get_rng_state()
    check_loss(config(loss), problem)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("missing", "module own_functions to define missing"),
        ("constant", "a function of (outputs, y), not int"),
        ("raising", "outputs [64, 10] and y [64]; it raised RuntimeError: no way"),
        ("no_tensor", "it returned float"),
        ("each", "it returned float32 [64]"),
        ("whole", "it returned int64 []"),
        ("infinite", "it returned "),
        ("detached", "its result has no gradient"),
        ("elsewhere", "its result does not depend on the outputs"),
        ("spread", "outputs [1, 10] and y [1]; it returned nan"),
        ("root", "its gradient is not finite"),
    ],
)
def test_one_line_for_each_that_cannot_be_used(loss, expected):
    with pytest.raises(ConfigError) as error:
        check_loss(config(loss), CLASSES)
    line = str(error.value)
    assert line.startswith(f"loss = 'own_functions:{loss}': expected ")
    assert expected in line
    assert "\n" not in line


@pytest.mark.parametrize("value", ["l1", "a:b:c", "my loss:f", ":"])
def test_what_is_no_reference(value):
    with pytest.raises(ConfigError, match='expected empty, or "module:function"'):
        config_of(RunConfig, loss=value)
    with pytest.raises(ConfigError, match='expected empty, or "module:function"'):
        config_of(RunConfig, metric=value)


@pytest.mark.parametrize(
    "changes",
    [{"strategy": "fedpm", "logit-adjustment": 0.5}, {"coupled-masks.class-prior": 0.7}],
    ids=str,
)
def test_logit_adjustment_is_for_the_loss_of_the_task_alone(changes):
    with pytest.raises(ConfigError, match=r"logit-adjustment|class-prior") as error:
        configure({"loss": "own_functions:smoothed", **changes})
    assert "a user-defined loss gets logits without adjustment" in str(error.value)


def test_the_prior_that_coupled_masks_have_by_default_is_off():
    assert configure({})[1].class_prior == 0.5
    assert configure({"loss": "own_functions:smoothed"})[1].class_prior == 0


def test_a_method_is_not_built_with_a_bad_one():
    with pytest.raises(ConfigError, match="its result has no gradient"):
        build(*configure({"loss": "own_functions:detached"}), CLASSES)
