"""Randomised response bit by bit, and whether the counts tell the truth all the same."""

from math import inf, log

import numpy as np
import pytest
from configs import config_of
from fedgates.strategies.fedmask import FedMask, FedMaskConfig
from fedgates.strategies.fedpm import FedPM, FedPMConfig
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fedgates.methods import MaskMethod
from fedgates.methods.randomized_response import epsilon, flipped, restored
from fedgates.nn.network import Network
from fedgates.types import Update, Votes, pack, unpack

PROBABILITIES = st.floats(0, 0.49)


def update(*mask, **changes):
    return Update(pack(np.array(mask, dtype=bool)), **changes)


def lots(*values):
    return np.array(values, dtype=np.uint32)


def floats(*values):
    return np.array(values, dtype=np.float32)


# --- what leaves a device


@pytest.mark.parametrize(("probability", "edge"), [(0.25, 2**30), (0.1, 429496730), (0.49, 2104533975), (1e-9, 4), (0.0, 0)])
def test_a_bit_is_turned_over_exactly_where_its_lot_is_below_the_probability(probability, edge):
    drawn = [0, max(edge - 1, 0), edge, edge + 1, 2**32 - 1]
    turned = [lot < edge for lot in drawn]
    for bit in (0, 1):
        found = flipped(update(*[bit] * 5), lots(*drawn), probability)
        assert unpack(found.mask, 5).tolist() == [bit ^ turn for turn in turned]


@given(st.integers(1, 70), PROBABILITIES, st.integers(0, 2**32 - 1))
def test_each_bit_has_a_lot_of_its_own_and_what_is_beyond_the_last_stays_zero(size, probability, seed):
    random = np.random.default_rng(seed)
    mask, drawn = random.random(size) < 0.5, random.integers(0, 2**32, size, dtype=np.uint32)
    sent = Update(pack(mask))
    before = sent.mask.tobytes()
    found = flipped(sent, drawn, probability)
    turned = drawn < round(probability * 2**32)
    assert (found.mask.dtype, found.mask.shape) == (np.uint8, (-(-size // 8),))
    assert np.unpackbits(found.mask, bitorder="little").tolist() == [*(mask ^ turned), *[0] * (-size % 8)]
    assert flipped(found, drawn, probability).mask.tobytes() == before == sent.mask.tobytes()


def test_a_mask_of_all_ones_that_is_not_spelled_out_is_turned_over_too():
    found = flipped(Update(mask=None), lots(0, 2**31, 0), 0.25)
    assert np.unpackbits(found.mask, bitorder="little").tolist() == [0, 1, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("probability", [0.05, 0.25, 0.49])
def test_so_often_are_bits_turned_over(probability):
    random = np.random.default_rng(3)
    mask = random.random(200_000) < 0.3
    found = flipped(Update(pack(mask)), random.integers(0, 2**32, len(mask), dtype=np.uint32), probability)
    turned = unpack(found.mask, len(mask)) != mask
    for part in (turned[mask], turned[~mask]):  # ones and zeros alike
        assert abs(part.mean() - probability) < 4 * (probability * (1 - probability) / len(part)) ** 0.5


def test_all_that_goes_with_a_mask_is_withheld_and_what_a_client_keeps_is_kept():
    memory = {"error": floats(1, 2)}
    sent = update(1, 0, theta=floats(0.9, 0.2), num_examples=77, metrics={"loss": 0.5, "accuracy": 1.0}, memory=memory)
    found = flipped(sent, lots(0, 2**31), 0.1)
    assert (found.theta, found.values, found.num_examples, found.metrics) == (None, None, 1, {})
    assert found.memory is memory
    assert (sent.num_examples, sent.metrics) == (77, {"loss": 0.5, "accuracy": 1.0})


@pytest.mark.parametrize(("probability", "expected"), [(0.1, log(9)), (0.25, log(3)), (0.2, log(4)), (0.49, log(51 / 49))])
def test_epsilon_by_hand(probability, expected):
    assert epsilon(probability) == pytest.approx(expected)


def test_without_flips_there_is_no_privacy():
    assert epsilon(0.0) == inf


@given(PROBABILITIES.filter(lambda p: p > 1e-6))
def test_epsilon_is_the_largest_ratio_of_the_likelihoods_of_a_bit_that_was_seen(probability):
    likelihood = {(true, seen): 1 - probability if true == seen else probability for true in (0, 1) for seen in (0, 1)}
    ratios = [likelihood[true, seen] / likelihood[1 - true, seen] for true, seen in likelihood]
    assert epsilon(probability) == pytest.approx(log(max(ratios)))


# --- what a server makes of it


def test_restored_by_hand():
    found = restored(floats(0, 1, 2, 3, 4), 4, 0.25)
    assert found.tolist() == [0, 0, 2, 4, 4]  # of four trials one is expected to lie; beyond 0 and 4 there is nothing
    assert found.dtype == np.float32


@given(st.integers(0, 1000), PROBABILITIES, st.data())
def test_what_would_be_seen_on_average_is_restored_and_nothing_is_beyond_the_trials(trials, probability, data):
    truth = data.draw(st.integers(0, trials))
    seen = truth * (1 - probability) + (trials - truth) * probability
    found = restored(floats(seen, 0, trials), trials, probability)
    assert found[0] == pytest.approx(truth, rel=1e-3, abs=1e-4 * max(trials, 1))
    assert found[1:].tolist() == [0, trials]


def test_without_flips_counts_are_as_they_are():
    assert restored(floats(0, 3, 7), 7, 0.0).tolist() == [0, 3, 7]


@pytest.mark.parametrize("probability", [0.05, 0.3])
def test_over_many_draws_the_mean_of_what_is_restored_is_the_truth(probability):
    random, trials, repeats = np.random.default_rng(5), 100, 4000
    truth = np.repeat([40, 50, 60], repeats)  # so far from the ends that next to nothing is held within them
    ones = np.zeros(len(truth), dtype=np.float32)
    for client in range(trials):
        sent = flipped(Update(pack(client < truth)), random.integers(0, 2**32, len(truth), dtype=np.uint32), probability)
        ones += sent.gates(len(truth))
    found = restored(ones, trials, probability).reshape(3, repeats).mean(1)
    error = (trials * probability * (1 - probability) / repeats) ** 0.5 / (1 - 2 * probability)
    assert np.abs(found - [40, 50, 60]).max() < 4 * error
    assert np.abs(ones.reshape(3, repeats).mean(1) - [40, 50, 60]).max() > 10 * error * probability  # and it was not before


@pytest.mark.parametrize(("method", "config"), [(FedPM, FedPMConfig), (FedMask, FedMaskConfig)])
def test_theta_is_of_the_restored_votes(method, config):
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(1, 2)))
    state = Votes(lots(0, 2, 3, 4), 4)
    assert method(config_of(config, flip_probability=0.25), network).theta(state).tolist() == [0, 0.5, 1, 1]
    assert method(config_of(config), network).theta(state).tolist() == [0, 0.5, 0.75, 1]
    # (ones + prior - 1) / (trials + 2 prior - 2)
    assert method(config_of(config, flip_probability=0.25, prior=3.0), network).theta(state).tolist() == [0.25, 0.5, 0.75, 0.75]
    assert state.votes.tolist() == [0, 2, 3, 4]


def test_theta_is_of_the_restored_votes_whatever_the_method():
    class Plain(FedPM):
        """A method that adds no theta of its own to the base's."""

        theta = MaskMethod.theta

    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(1, 2)))
    assert Plain(config_of(FedPMConfig, flip_probability=0.25), network).theta(Votes(lots(0, 2, 3, 4), 4)).tolist() == [
        0,
        0.5,
        1,
        1,
    ]
