from dataclasses import replace

import numpy as np
import pytest
from wire_cases import DIGEST, floats

from fedgates import rng
from fedgates.types import Votes, Weights
from fedgates.wire import CodingContext


def levels(state, layers):
    found, sizes = CodingContext(DIGEST, layers, state=state).levels
    assert found.dtype == np.uint16
    assert sizes.tolist() == [int((found == level).sum()) for level in range(len(sizes))]
    return found.tolist(), len(sizes)


def test_size_is_the_sum_of_the_layers():
    assert CodingContext(DIGEST, (3, 4, 1)).size == 8


def test_coins_are_those_of_the_key():
    context = CodingContext(DIGEST, (3, 4), server_round=7, seed=11, client=5)
    assert context.coins().tolist() == rng.coins(7, 11, server_round=7, client=5).tolist()


@pytest.mark.parametrize("state", [None, Votes(np.zeros(3, np.uint32), 0)])
def test_without_trials_there_is_one_level(state):
    assert levels(state, (3,)) == ([0, 0, 0], 1)


@pytest.mark.parametrize(
    ("trials", "votes", "expected", "number"),
    [
        (1, [0, 1], [0, 1], 2),
        (2, [0, 1, 2], [0, 1, 3], 4),  # 1 of 2 is not above a half; level 2 stands empty
        (3, [0, 1, 2, 3], [0, 1, 2, 3], 4),
        (10, [0, 1, 5, 6, 9, 10], [0, 1, 5, 7, 10, 11], 12),
        (40, [0, 16, 17, 18, 20, 21, 22, 23, 24, 40], [0, 16, 16, 17, 18, 20, 20, 21, 21, 37], 38),
    ],
)
def test_levels_of_votes_by_hand(trials, votes, expected, number):
    assert levels(Votes(np.array(votes, np.uint32), trials), (len(votes),)) == (expected, number)


@pytest.mark.parametrize("trials", [2**20, 2**31, 2**32 - 1])
def test_levels_of_many_votes_are_ordered_and_few(trials):
    votes = np.linspace(0, trials, 5000).astype(np.uint32)
    votes[-1] = trials
    found, number = levels(Votes(votes, trials), (5000,))
    assert found == sorted(found)
    assert (found[0], found[-1]) == (0, number - 1)
    assert number < 500


def test_levels_of_weights_by_hand():
    first = floats([8, -8, 7.99, 4, 0, -0.0, 1e-20])
    second = floats([0.5, 0.25, 0])
    assert levels(Weights(np.concatenate([first, second])), (7, 3)) == ([1, 1, 2, 2, 0, 15, 15, 1, 2, 0], 16)


def test_levels_of_a_layer_without_weights():
    assert levels(Weights(floats([0, 0, 1])), (2, 1)) == ([0, 0, 1], 16)


def test_clients_of_a_round_share_its_levels():
    votes = Votes(np.array([0, 1, 2], np.uint32), 2)
    of_round = CodingContext(DIGEST, (3,), server_round=7, state=votes, seed=11)
    first, second = of_round.of_client(3), of_round.of_client(5)
    assert (first.client, second.client, second.server_round, second.seed) == (3, 5, 7, 11)
    assert first.levels.of_gate is second.levels.of_gate is of_round.levels.of_gate
    assert second.coins().tolist() == replace(of_round, client=5).coins().tolist()
