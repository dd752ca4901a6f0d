import math

import pytest
import torch

from fedgates.nn import hard_concrete


def test_the_constants_are_the_papers():
    assert (hard_concrete.BETA, hard_concrete.GAMMA, hard_concrete.ZETA) == (2 / 3, -0.1, 1.1)
    assert pytest.approx(1.599, abs=5e-4) == hard_concrete.SHIFT


def test_the_probability_by_hand():
    # -gamma / zeta = 1/11, so at a = 0 the odds of z != 0 are 11^(2/3)
    odds = 11 ** (2 / 3)
    found = torch.sigmoid(hard_concrete.logit_of(torch.tensor([0.0, -math.log(odds)])))
    assert found.tolist() == pytest.approx([odds / (1 + odds), 0.5])
    assert hard_concrete.parameter_of(0.5) == pytest.approx(-math.log(odds))
    assert hard_concrete.parameter_of(odds / (1 + odds)) == pytest.approx(0)


def test_samples_by_hand():
    # u = 1/2 has no noise; u = .8 adds log 4; s = sigmoid(1.5 log 4) = 8/9, stretched to 8/9 * 1.2 - .1
    found = hard_concrete.stretched(torch.zeros(2), torch.tensor([0.5, 0.8]))
    assert found.tolist() == pytest.approx([0.5, 8 / 9 * 1.2 - 0.1])
    shifted = hard_concrete.stretched(torch.tensor([math.log(4)]), torch.tensor([0.5]))
    assert shifted.tolist() == pytest.approx([8 / 9 * 1.2 - 0.1])


def test_samples_of_extreme_numbers_are_finite():
    found = hard_concrete.stretched(torch.tensor([0.0, 0.0, -300.0, 300.0]), torch.tensor([0.0, 1 - 2**-24, 0.5, 0.5]))
    assert found.tolist() == pytest.approx([-0.1, 1.1, -0.1, 1.1], abs=1e-4)
    assert hard_concrete.slope(found).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("parameter", [-3.0, -1.0, 0.0, 2.0])
def test_a_sample_is_zero_as_often_as_its_probability_says(parameter):
    uniform = (torch.arange(100_000) + 0.5) / 100_000
    z = hard_concrete.stretched(torch.full_like(uniform, parameter), uniform).clamp(0, 1)
    probability = torch.sigmoid(hard_concrete.logit_of(torch.tensor(parameter)))
    assert float((z != 0).double().mean()) == pytest.approx(float(probability), abs=2e-5)
    # zero and one are alike: P(z = 1) at a is P(z = 0) at -a
    ones = torch.sigmoid(-hard_concrete.logit_of(torch.tensor(-parameter)))
    assert float((z == 1).double().mean()) == pytest.approx(float(ones), abs=2e-5)


def test_the_slope_is_that_of_the_clamped_sample():
    assert hard_concrete.slope(torch.tensor([0.5])).tolist() == pytest.approx([1.2 * 0.25 * 1.5])
    parameter = torch.linspace(-3, 3, 41, dtype=torch.float64).repeat_interleave(9).requires_grad_()
    uniform = torch.linspace(0.1, 0.9, 9, dtype=torch.float64).repeat(41)
    sample = hard_concrete.stretched(parameter, uniform)
    sample.clamp(0, 1).sum().backward()
    assert torch.allclose(hard_concrete.slope(sample.detach()), parameter.grad)
    assert 0 < int((parameter.grad == 0).sum()) < 41 * 9


def test_the_median_is_zero_up_to_a_probability_of_a_half():
    edge = hard_concrete.parameter_of(0.5)
    found = hard_concrete.median(torch.tensor([edge - 1e-3, edge + 1e-3, 0.0, -edge - 1e-3, -edge + 1e-3, 50.0]))
    assert (found != 0).tolist() == [False, True, True, True, True, True]
    assert found[2:].tolist() == pytest.approx([0.5, 1, 1, 1], abs=1e-3)
    assert (found == 1).tolist() == [False, False, False, False, True, True]
    middle = hard_concrete.stretched(torch.tensor([0.3]), torch.tensor([0.5])).clamp(0, 1)
    assert hard_concrete.median(torch.tensor([0.3])).tolist() == pytest.approx(middle.tolist())
