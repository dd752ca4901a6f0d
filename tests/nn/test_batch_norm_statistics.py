"""Statistics of batch norms from sums."""

import numpy as np
import pytest
import torch
from torch import nn

from fedgates.models.batch_norm import drop_running_statistics
from fedgates.nn.batch_norms import channel_sums, check_sums, statistics_of


class Unused(nn.Module):
    """A norm that runs, and one that never does."""

    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.BatchNorm1d(3), nn.BatchNorm1d(2)

    def forward(self, x):
        return self.used(x)


@pytest.fixture
def module():
    found = Unused()
    drop_running_statistics(found)
    return found


def test_a_norm_that_does_not_run_leaves_the_others_their_statistics(module):
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    with channel_sums(module) as sums:
        for part in x.split(16):
            module(part)
    assert check_sums(module, sums()) == ""
    expected = [*x.double().mean(0), *x.double().var(0, correction=0), 0, 0, 1, 1]
    np.testing.assert_allclose(statistics_of(module, sums()), np.array(expected, dtype=float), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("sums", "reason"),
    [
        ([0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1], "sums in 'used' without values"),
        ([-1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1], "-1 values in a channel of 'used', expected a whole number of at least 0"),
        ([2, 2, 0, 0, 1, 0, 0, 1, 0, 0, 1, 1], "sums of squares in 'used' that are too small for the sums"),
    ],
)
def test_numbers_that_are_no_sums_are_refused(module, sums, reason):
    assert check_sums(module, np.array(sums, dtype=np.float64)) == reason
