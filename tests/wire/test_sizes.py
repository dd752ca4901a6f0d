"""What coders cost, held against the entropy of their own model, which is counted here on its own."""

from dataclasses import replace

import numpy as np
import pytest
from wire_cases import CLIENT, DIGEST, ROUND, SEED, sampled_by_coins, theta_of, votes_of

from fedgates.types import Update, Votes, Weights, pack
from fedgates.wire import CodingContext, entropy, pack_state, pack_update, sampled, side_info
from fedgates.wire.header import HEADER_SIZE

LAYERS = (120_000, 60_000, 19_000, 1_000)
SIZE = 200_000
CONTEXT = CodingContext(DIGEST, LAYERS, ROUND, None, SEED, CLIENT)
DENSITIES = [0.5, 0.3, 0.1, 0.03, 0.01, 0.001]


def empirical(bits, *classes):
    """The entropy of bits given their classes, in bytes, by counting."""
    _, of = np.unique(np.stack([*classes, np.zeros(len(bits), int)]), axis=1, return_inverse=True)
    sizes, ones = np.bincount(of), np.bincount(of, weights=bits)
    p = ones / sizes
    terms = [part[share > 0] * np.log2(share[share > 0]) for part, share in ((ones, p), (sizes - ones, 1 - p))]
    return -sum(term.sum() for term in terms) / 8


def expect_near(found, ideal):
    assert ideal - 4 <= found <= 1.01 * ideal + 64


def random_bits(density, seed=1):
    return (np.random.default_rng(seed).random(SIZE) < density).astype(np.uint8)


@pytest.mark.parametrize("density", DENSITIES)
def test_packed_is_a_bit_a_gate(density):
    assert len(pack_update(Update(mask=pack(random_bits(density))), CONTEXT, "packed")) == HEADER_SIZE + SIZE // 8


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("density", DENSITIES)
def test_entropy_costs_that_of_each_layers_density(density):
    bits = random_bits(density)
    bits[:120_000] &= random_bits(0.5, 2)[:120_000]  # the first layer has half the density
    expect_near(len(entropy.encode(bits, CONTEXT)), empirical(bits, np.repeat(np.arange(4), LAYERS)))


@pytest.mark.parametrize("density", DENSITIES)
def test_side_info_of_a_mask_without_any_costs_its_entropy(density):
    bits = random_bits(density)
    expect_near(len(side_info.encode(bits, CONTEXT)), empirical(bits))


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(("trials", "share"), [(1, 0.93), (10, 0.75), (100, 0.75)])
def test_side_info_without_coins_costs_the_entropy_given_the_votes(trials, share):
    random = np.random.default_rng(trials)
    state = votes_of(random, SIZE, trials)
    context = replace(CONTEXT, state=state)
    bits = (random.random(SIZE) < theta_of(random, state)).astype(np.uint8)
    found, level = len(side_info.encode(bits, context)), context.levels.of_gate
    expect_near(found, empirical(bits, level))
    if trials <= 10:  # each count has a level of its own
        expect_near(found, empirical(bits, state.votes))
    assert found < share * len(entropy.encode(bits, context))


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(("shift", "share"), [(0.0, 0.03), (0.03, 0.04), (0.1, 0.08), (0.3, 0.20)])
def test_side_info_with_coins_costs_a_small_part_of_the_entropy_of_the_probabilities(shift, share):
    random = np.random.default_rng(5)
    state = votes_of(random, SIZE, 10)
    context = replace(CONTEXT, state=state)
    theta = theta_of(random, state, shift).astype(np.float64)
    bits = sampled_by_coins(theta, context).astype(np.uint8)
    of_theta = -(theta * np.log2(theta) + (1 - theta) * np.log2(1 - theta)).sum() / 8
    found = len(side_info.encode(bits, context))
    assert found < share * of_theta
    assert empirical(bits, state.votes) > 0.95 * of_theta  # which no model of the votes alone comes below


def test_side_info_with_coins_costs_the_entropy_given_their_distance():
    random = np.random.default_rng(6)
    context = replace(CONTEXT, state=Votes(np.zeros(SIZE, np.uint32), 0))
    theta = theta_of(random, context.state, 0.2)
    bits = sampled_by_coins(theta, context).astype(np.uint8)
    coins = context.coins() >> 20
    x = 64 * np.abs(2 * coins.astype(int) + 1 - 4096) // np.minimum(2 * coins + 1, 8191 - 2 * coins)  # one level, at one half
    edges = [2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384]
    expect_near(len(side_info.encode(bits, context)), empirical(bits, np.searchsorted(edges, x, side="right"), coins > 2047))


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("density", DENSITIES)
def test_sparse_weights_cost_their_mask_and_four_bytes_a_value(density):
    bits = random_bits(density)
    payload = pack_state(Weights(bits.astype(np.float32)), CONTEXT)
    expect_near(len(payload) - HEADER_SIZE - 4 * bits.sum(dtype=int), empirical(bits, np.repeat(np.arange(4), LAYERS)))


@pytest.mark.parametrize("trials", [1, 10, 200, 5000])
def test_votes_cost_the_entropy_of_their_counts_and_a_table(trials):
    random = np.random.default_rng(trials)
    state = votes_of(random, SIZE, trials)
    low = max(0, trials.bit_length() - 12)
    share = np.bincount(state.votes >> low) / SIZE
    ideal = -(share[share > 0] * np.log2(share[share > 0])).sum() * SIZE / 8 + low * SIZE / 8
    table = 2 * ((trials >> low) + 1)
    expect_near(len(pack_state(state, CONTEXT)) - HEADER_SIZE - table, ideal)


@pytest.mark.parametrize("extra_bits", [0.0, 4.0, 6.0])
def test_sampled_costs_a_byte_for_so_much_of_the_divergence(extra_bits):
    context = replace(CONTEXT, layers=(20_000,), state=Votes(np.zeros(20_000, np.uint32), 0))
    q = theta_of(np.random.default_rng(7), context.state, 0.3).astype(np.float64)
    p = round(q.mean() * 65536) / 65536
    divergence = (q * np.log2(q / p) + (1 - q) * np.log2((1 - q) / (1 - p))).sum()
    _, body = sampled.encode(q.astype(np.float32), context, extra_bits)
    assert len(body) == 2 + np.ceil(divergence / (8 - extra_bits))
