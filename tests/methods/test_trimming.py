"""Trimmed votes and means, against numbers that are sorted and dropped one by one, and what a server makes of them."""

from fractions import Fraction
from itertools import pairwise
from math import floor

import numpy as np
import pytest
from configs import config_of
from fedgates.strategies.fedmask import FedMask, FedMaskConfig
from fedgates.strategies.fedpm import FedPM, FedPMConfig
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fedgates.errors import ConfigError
from fedgates.methods import add_votes, mean_values
from fedgates.methods.registry import BUILT_IN, config_classes, configure
from fedgates.methods.trimming import trimmed, trimmed_mean
from fedgates.nn.network import Network
from fedgates.types import Update, Votes, pack

WITHOUT = {"one-bit-gates", "signsgd"}
PERCENT = st.integers(0, 49).map(lambda percent: percent / 100)


def dropped_of(masks, share):
    """How many bits go on either side: exact, of the decimal that a user writes."""
    return floor(Fraction(str(share)) * masks)


def by_sorting(ones, masks, share):
    """Definition 2 of the paper, of bits."""
    dropped = dropped_of(masks, share)
    kept = sorted([1] * ones + [0] * (masks - ones))[dropped : masks - dropped]
    return sum(kept), len(kept)


def trim_all(masks, share):
    """Every number of ones at once."""
    left, of = trimmed(np.arange(masks + 1, dtype=np.uint32), masks, share)
    assert left.dtype == np.uint32
    return left.tolist(), of


@pytest.mark.parametrize("masks", range(31))
def test_counts_alone_say_what_is_left_of_the_sorted_bits(masks):
    for percent in range(50):
        share = percent / 100
        left, of = trim_all(masks, share)
        assert [(ones, of) for ones in left] == [by_sorting(n, masks, share) for n in range(masks + 1)]


@given(st.integers(0, 3000), PERCENT, st.data())
def test_so_it_is_with_many_masks(masks, share, data):
    ones = data.draw(st.integers(0, masks))
    left, of = trimmed(np.array([ones], dtype=np.uint32), masks, share)
    assert (left.tolist()[0], of) == by_sorting(ones, masks, share)


@given(st.integers(1, 2000), PERCENT)
def test_at_least_one_bit_is_left_and_more_ones_never_leave_fewer(masks, share):
    left, of = trim_all(masks, share)
    assert 1 <= of <= masks
    assert (left[0], left[-1]) == (0, of)
    assert all(0 <= later - earlier <= 1 for earlier, later in pairwise(left))
    assert [of - ones for ones in left[::-1]] == left  # ones and zeros are treated alike


@pytest.mark.parametrize(("masks", "share"), [(4, 0.24), (9, 0.1), (1, 0.49), (2, 0.49), (0, 0.49), (7, 0.0), (99, 0.01)])
def test_a_share_that_drops_nobody_changes_nothing(masks, share):
    assert trim_all(masks, share) == (list(range(masks + 1)), masks)


@pytest.mark.parametrize(("masks", "share", "left"), [(100, 0.29, 42), (10, 0.3, 4), (50, 0.14, 36), (3, 0.333, 3)])
def test_a_share_is_the_decimal_that_was_written(masks, share, left):
    # .29 * 100 is 28.999999999999996 in floats
    assert trim_all(masks, share)[1] == left


@given(st.integers(1, 60), PERCENT, st.booleans(), st.data())
def test_so_many_as_are_dropped_have_no_voice_where_all_others_agree(masks, share, agreed, data):
    most = dropped_of(masks, share)
    colluders = data.draw(st.integers(0, most))
    for_one = data.draw(st.integers(0, colluders)) + agreed * (masks - colluders)
    left, of = trimmed(np.array([for_one], dtype=np.uint32), masks, share)
    assert left.tolist() == [agreed * of]


def test_one_more_has_one():
    left, of = trimmed(np.array([0, 1, 2, 3, 8, 9, 10], dtype=np.uint32), 10, 0.2)
    assert (left.tolist(), of) == ([0, 0, 0, 1, 6, 6, 6], 6)


def test_the_largest_counts_do_not_wrap_around():
    masks = 2**32 - 1
    dropped = 2**30 - 1
    ones = np.array([0, dropped - 1, dropped, dropped + 1, masks - dropped, masks - dropped + 1, masks], dtype=np.uint32)
    left, of = trimmed(ones, masks, 0.25)
    assert left.dtype == np.uint32
    assert (left.tolist(), of) == ([0, 0, 0, 1, masks - 2 * dropped, masks - 2 * dropped, masks - 2 * dropped], 2**31 + 1)


def test_what_is_given_is_left_as_it_is():
    ones = np.array([0, 5, 10], dtype=np.uint32)
    trimmed(ones, 10, 0.3)
    assert ones.tolist() == [0, 5, 10]


# --- counting with it

MASKS = [(1, 1, 1, 0), (1, 1, 1, 0), (1, 1, 0, 0), (1, 0, 0, 0)]
"""4, 3, 2 and 0 ones; with a quarter trimmed 2, 2, 1 and 0 of 2."""


def updates():
    return [Update(pack(np.array(mask, dtype=bool))) for mask in MASKS]


def votes(*counts, trials, scalars=()):
    return Votes(np.array(counts, dtype=np.uint32), trials, scalars)


def content(state):
    return state.votes.tolist(), state.trials, state.scalars


@pytest.mark.parametrize(
    ("trim", "fresh", "expected"),
    [
        (0.25, False, ([9, 7, 2, 7], 9)),
        (0.25, True, ([2, 2, 1, 0], 2)),
        (0.49, False, ([9, 7, 2, 7], 9)),
        (0.24, False, ([11, 8, 3, 7], 11)),
        (0.0, False, ([11, 8, 3, 7], 11)),
        (0.0, True, ([4, 3, 2, 0], 4)),
    ],
)
def test_a_rounds_own_votes_are_trimmed_and_added_to_the_earlier_ones(trim, fresh, expected):
    before = votes(7, 5, 1, 7, trials=7, scalars=(0.5,))
    found = add_votes(before, iter(updates()), fresh=fresh, trim=trim)
    assert content(found) == (*expected, (0.5,))
    assert content(before) == ([7, 5, 1, 7], 7, (0.5,))
    assert found.votes.dtype == np.uint32


def test_without_being_asked_nothing_is_trimmed():
    assert content(add_votes(votes(7, 5, 1, 7, trials=7), updates())) == ([11, 8, 3, 7], 11, ())


def test_no_masks_are_no_votes():
    assert content(add_votes(votes(7, 5, 1, 7, trials=7), [], trim=0.4)) == ([7, 5, 1, 7], 7, ())


@pytest.mark.parametrize(("method", "config"), [(FedPM, FedPMConfig), (FedMask, FedMaskConfig)])
def test_theta_is_the_share_of_what_was_left(method, config):
    found = method(config_of(config, trim=0.25, reset_every=2), Network(nn.Sequential(nn.Flatten(), nn.Linear(1, 2))))
    first = found.aggregate(found.initial_state(), updates(), 1)
    assert found.theta(first).tolist() == [1, 1, 0.5, 0]
    second = found.aggregate(first, updates()[:3], 2)  # of three a quarter is nobody
    assert content(second) == ([5, 5, 3, 0], 5, ())
    assert found.theta(second).tolist() == pytest.approx([1, 1, 0.6, 0])


# --- means

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)


@given(
    st.integers(1, 12).flatmap(lambda d: st.lists(st.lists(FLOATS, min_size=d, max_size=d), min_size=1, max_size=9)), PERCENT
)
def test_a_trimmed_mean_is_that_of_the_sorted_numbers_without_the_extremes(vectors, share):
    dropped = dropped_of(len(vectors), share)
    kept = [sorted(column)[dropped : len(vectors) - dropped] for column in zip(*vectors, strict=True)]
    found = trimmed_mean([np.array(vector, np.float32) for vector in vectors], share)
    exact = [float(sum(map(Fraction, map(float, each))) / len(each)) for each in kept]
    np.testing.assert_allclose(found, exact, rtol=1e-12, atol=1e15)


def test_a_trimmed_mean_of_many_coordinates_is_that_of_each():
    vectors = np.random.default_rng(3).normal(size=(7, 150_001)).astype(np.float32)
    np.testing.assert_allclose(trimmed_mean(list(vectors), 0.3), np.sort(vectors, axis=0)[2:5].mean(0, dtype=np.float64))


def test_extremes_and_claims_of_many_examples_do_not_move_a_trimmed_mean():
    honest = [Update(None, np.array([v, -v], np.float32), num_examples=1) for v in (1, 2, 3)]
    liar = Update(None, np.array([1e30, -1e30], np.float32), num_examples=2**31 - 1)
    assert mean_values([*honest, liar], 2, trim=0.25).tolist() == [2.5, -2.5]
    assert mean_values([], 2, trim=0.25) is None
    mask = pack(np.array([True, False]))
    sparse = [Update(mask, np.array([v], np.float32)) for v in (1, 2, 9)]  # a value that is not sent counts as 0
    assert mean_values(sparse, 2, trim=0.34).tolist() == [2, 0]


# --- who takes it


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("strategy", BUILT_IN)
def test_methods_that_take_a_majority_or_a_fixed_mean_refuse_it(strategy):
    needed = {"density.target": 0.5} if config_classes()[strategy].requires_density else {}
    raw = {"strategy": strategy, "trim": 0.1, **needed}
    if strategy not in WITHOUT:
        assert configure(raw)[1].server.trim == 0.1
        return
    with pytest.raises(ConfigError, match=rf"^trim = 0\.1: expected 0\.0: strategy {strategy} does not use it$"):
        configure(raw)


@pytest.mark.parametrize("value", [-0.01, 0.491, 0.5, 1, float("nan"), True, "0.1"])
def test_half_of_the_votes_and_more_cannot_be_dropped(value):
    with pytest.raises(ConfigError, match=r"^trim = .*: expected a number from 0 to 0\.49$"):
        configure({"trim": value})
