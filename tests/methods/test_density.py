import math

import pytest
import torch
from configs import config_of

from fedgates.config import DensityConfig
from fedgates.config.parsing import require_density
from fedgates.errors import ConfigError
from fedgates.methods.density import constraint_gradient


def config(**changes):
    return config_of(DensityConfig, **{"target_density": 0.1, "dual_learning_rate": 10.0, **changes})


@pytest.mark.parametrize(
    ("multiplier", "density", "restart", "following"),
    [
        (0.0, 0.3, True, 2.0),
        (1.5, 0.15, True, 2.0),
        (7.0, 0.1, True, 0.0),  # met: what was gathered is dropped
        (7.0, 0.05, True, 0.0),
        (7.0, 0.05, False, 6.5),
        (0.2, 0.05, False, 0.0),  # never below 0
    ],
)
def test_the_dual_step(multiplier, density, restart, following):
    assert config(dual_restart=restart).dual_step(multiplier, density) == pytest.approx(following)


def test_a_dual_learning_rate_of_zero_is_the_methods_own():
    assert config(dual_learning_rate=0.0).dual_step(1.0, 0.3) == pytest.approx(1.2)


def test_the_bonus_goes_straight_from_one_to_the_other():
    found = config(entropy_bonus=3.0, entropy_bonus_final=-1.0, num_server_rounds=5)
    assert [found.bonus(server_round) for server_round in (1, 2, 3, 4, 5)] == [3, 2, 1, 0, -1]
    assert found.bonus(9) == -1  # asked for more rounds than the config says
    assert config(entropy_bonus=3.0, num_server_rounds=1).bonus(1) == 3


@pytest.mark.parametrize(("multiplier", "bonus"), [(2.0, 0.0), (0.0, 3.0), (2.0, -3.0)])
def test_the_pull_is_the_gradient_of_constraint_and_entropy(multiplier, bonus):
    logits = torch.tensor([-4.0, -0.5, 0.0, 2.0], dtype=torch.float64, requires_grad=True)
    p = torch.sigmoid(logits)
    entropy = -(p * p.log2() + (1 - p) * (1 - p).log2())
    (multiplier * p.mean() - bonus * entropy.mean()).backward()
    before = logits.detach().clone()
    assert torch.allclose(constraint_gradient(before, multiplier, bonus), logits.grad)
    assert torch.equal(before, logits)


def test_the_pull_by_hand():
    # P = 3/4, P (1 - P) = 3/16, log2(P / (1 - P)) = log2 3; two gates
    found = constraint_gradient(torch.tensor([math.log(3), 0.0]), 4.0, 1.0)
    assert found.tolist() == pytest.approx([3 / 32 * (4 + math.log2(3)), 4 / 8])


def test_a_density_must_be_asked_for():
    with pytest.raises(ConfigError) as error:
        require_density(DensityConfig(strategy="one-bit-gates"))
    expected = "a share above 0: strategy one-bit-gates needs one, such as density.target=0.1"
    assert str(error.value) == f"density.target = 0.0: expected {expected}"
    require_density(config_of(DensityConfig, target_density=0.01))


@pytest.mark.parametrize("logit", [-30.0, -18.0, 17.0, 18.0, 30.0])
def test_gates_far_open_or_shut_feel_the_pull_in_float32(logit):
    exact = math.exp(-abs(logit)) / (1 + math.exp(-abs(logit))) ** 2  # P (1 - P)
    assert constraint_gradient(torch.tensor([logit]), 2.0, 0.0).item() == pytest.approx(2 * exact, rel=1e-5)
