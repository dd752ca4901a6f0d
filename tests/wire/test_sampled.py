"""Whether the mask that is sent is a sample of what the client would have sent, up to what its docstring says."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from effort import draws
from hypothesis import given
from hypothesis import strategies as st
from wire_cases import CLIENT, DIGEST, ROUND, SEED, floats, theta_of, votes_of

from fedgates import rng
from fedgates.errors import WireError
from fedgates.types import Votes
from fedgates.wire import CodingContext
from fedgates.wire.sampled import decode, encode

DRAWS = draws(4000)


def product_of(q):
    """The probability of each mask of gates that are kept independently with `q`, by the number of its bits."""
    outcomes = np.array(list(product([0, 1], repeat=len(q))))[:, ::-1]
    return np.where(outcomes == 1, q, 1 - q).prod(1)


def sent(theta, extra_bits=4.0, shown=None):
    """How often each mask of the first gates is sent, over many rounds and clients."""
    shown = shown or len(theta)
    counts = np.zeros(2**shown)
    for draw in range(DRAWS):
        context = CodingContext(DIGEST, (len(theta),), draw // 64, seed=SEED, client=draw % 64)
        counts[int((encode(theta, context, extra_bits)[0][:shown].astype(int) << np.arange(shown)).sum())] += 1
    return counts / DRAWS


def distance(found, expected):
    """Total variation, less what an exact sampler would show on average over as many draws."""
    return 0.5 * (np.abs(found - expected) - np.sqrt(2 * expected * (1 - expected) / (np.pi * DRAWS))).sum()


# --- distributions


@pytest.mark.parametrize("q", [[0.05, 0.5, 0.1], [0.2, 0.4, 0.5, 0.7, 0.9], [0.9, 0.1, 0.1, 0.1, 0.1, 0.1]], ids=len)
def test_masks_of_one_block_are_sent_with_their_own_probabilities(q):
    assert len(encode(floats(q), CodingContext(DIGEST, (len(q),)))[1]) == 2 + 1
    assert distance(sent(floats(q)), product_of(np.array(q))) < 0.012
    flat = distance(np.full(2 ** len(q), 0.5 ** len(q)), product_of(np.array(q)))
    assert flat > 0.25  # which is more than could be said of masks at random


def test_a_sample_of_the_prior_itself_is_exact():
    q = [0.25] * 4  # 16384 of 65536: prior and posterior are the same number
    assert distance(sent(floats(q)), product_of(np.array(q))) < 0.012


def test_any_candidate_of_the_prior_is_as_likely():
    q, clients = floats([0.25] * 4), 1000
    found = [encode(q, CodingContext(DIGEST, (4,), ROUND, seed=SEED, client=client))[1][2] for client in range(clients)]
    eighths = np.bincount(np.array(found) // 32, minlength=8)
    assert np.abs(eighths - clients / 8).max() < 4 * np.sqrt(clients * 7 / 64)


def test_extra_bits_bring_the_masks_nearer_to_their_probabilities():
    q = floats([0.99, 0.01] * 4)  # 7.4 bits from the prior of one half: hard to hit with 256 candidates at once
    theta = np.concatenate([q, floats([0.5] * 8)])  # room for a second block: there is one to eight gates at most
    none, some = (distance(sent(theta, extra, 8), product_of(q.astype(float))) for extra in (0.0, 4.0))
    assert 0.2 < none < 0.5
    assert some < 0.012


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("extra_bits", "low", "high"), [(0.0, 0.12, 0.30), (4.0, 0.05, 0.12), (6.0, 0.01, 0.05), (7.5, -0.01, 0.02)]
)
def test_the_mean_of_many_masks_is_theta_but_for_a_pull_to_the_prior_that_extra_bits_take_away(extra_bits, low, high):
    q = theta_of(np.random.default_rng(2), Votes(np.zeros(1000, np.uint32), 0), 0.8).astype(float)
    total, clients = np.zeros(1000), 400
    for client in range(clients):
        total += encode(floats(q), CodingContext(DIGEST, (1000,), ROUND, seed=SEED, client=client), extra_bits)[0]
    missing, learned = q - total / clients, q - q.mean()
    pull = (missing * learned).sum() / (learned**2).sum()
    assert low < pull < high
    left = (missing - pull * learned) / np.sqrt(q * (1 - q) / clients)
    assert abs(left.mean()) < 4 / np.sqrt(1000)
    assert 0.85 < left.std() < 1.15


def test_each_levels_density_is_that_of_its_probabilities():
    random = np.random.default_rng(3)
    state = votes_of(random, 20_000, 10)
    context = CodingContext(DIGEST, (20_000,), ROUND, state, SEED, CLIENT)
    q = theta_of(random, state, 0.5)
    gates, body = encode(q, context)
    assert len(body) < 20_000 / 8 / 2
    for votes in range(11):
        at = state.votes == votes
        deviation = np.sqrt((q[at] * (1 - q[at])).sum())
        assert abs(gates[at].sum() - q[at].sum()) < 4 * deviation
    moved_up = q > (state.votes + 1) / 12  # within a level the mask follows q, not the prior
    for at in (moved_up, ~moved_up):
        assert abs(gates[at].sum() - q[at].sum()) < 4 * np.sqrt((q[at] * (1 - q[at])).sum())


@pytest.mark.parametrize("changed", [{"client": 4}, {"seed": 12}, {"server_round": 8}], ids=str)
def test_each_key_has_candidates_of_its_own(changed):
    q = floats([0.5] * 64)
    context = CodingContext(DIGEST, (64,), ROUND, seed=SEED, client=CLIENT)
    one, other = encode(q, context)[0], encode(q, replace(context, **changed))[0]
    assert 12 < (one != other).sum() < 52
    assert encode(q, context)[0].tolist() == one.tolist()


# --- the body


def test_the_candidate_by_hand():
    # 10 gates in 2 blocks: gate i in block i % 2; five numbers a candidate, in one step of four words
    context = CodingContext(DIGEST, (10,), ROUND, seed=SEED, client=CLIENT)
    body = (20000).to_bytes(2, "little") + bytes([3, 255])
    words = rng.words(4 * 512, SEED, "candidates", server_round=ROUND, client=CLIENT).tolist()
    expected = []
    for gate in range(10):
        block, row = gate % 2, gate // 2
        start = 4 * (256 * block + body[2 + block]) + row // 4
        expected.append(int((words[start] >> (16 * (row % 4))) & 0xFFFF < 20000))
    assert decode(memoryview(body), context).tolist() == expected
    assert 0 < sum(expected) < 10


def test_priors_stand_for_the_levels_that_have_gates():
    context = CodingContext(DIGEST, (4,), ROUND, Votes(np.array([0, 0, 9, 10], np.uint32), 10))
    gates, body = encode(floats([0.25, 0.25, 1, 0.5]), context)
    assert np.frombuffer(body[:6], "<u2").tolist() == [16384, 65535, 32768]
    assert len(body) == 7
    assert decode(memoryview(body), context).tolist() == gates.tolist()


@pytest.mark.parametrize("theta", [[0.0] * 9, [1.0] * 9, [0.0, 1.0] * 4 + [0.5]], ids=["none", "all", "both"])
def test_closed_and_open_gates(theta):
    context = CodingContext(DIGEST, (4, 5), ROUND, seed=SEED, client=CLIENT)
    gates, body = encode(floats(theta), context)
    assert decode(memoryview(body), context).tolist() == gates.tolist()
    assert np.abs(gates - floats(theta)).sum() <= 1  # each is held within 2^-16 of 0 and 1


def test_there_is_never_more_than_a_byte_for_eight_gates():
    context = CodingContext(DIGEST, (30,), ROUND, seed=SEED)
    gates, body = encode(floats([0, 1] * 15), context, 7.9)
    assert len(body) == 2 + 4
    assert decode(memoryview(body), context).tolist() == gates.tolist()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "a body of 0 bytes, expected 3 to 4"),
        (b"\1\0", "a body of 2 bytes, expected 3 to 4"),
        (b"\1\0" + b"\0" * 10, "a body of 12 bytes, expected 3 to 4"),
        (b"\0\0\0", "a prior of 0, expected at least 1 of 65536"),
    ],
)
def test_bodies_that_no_encoder_writes_are_refused(body, message):
    with pytest.raises(WireError, match=message):
        decode(memoryview(body), CodingContext(DIGEST, (4, 5), ROUND))


# --- what an encoder sends at most


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 400),
    st.floats(0.0, 7.5),
    st.sampled_from([0.001, 0.1, 1.0, 10.0]),
    st.sampled_from([0, 1, 20]),
)
def test_what_an_encoder_sends_is_within_the_bound_of_its_priors(seed, size, extra_bits, spread, trials):
    random = np.random.default_rng(seed)
    theta = (1 / (1 + np.exp(-spread * random.normal(size=size)))).astype(np.float32)
    context = CodingContext(DIGEST, (size,), ROUND, votes_of(random, size, trials), SEED, CLIENT)
    gates, body = encode(theta, context, extra_bits)
    assert decode(memoryview(body), context).tolist() == gates.tolist()


def test_more_blocks_than_the_priors_allow_are_refused():
    context = CodingContext(DIGEST, (8000,), ROUND, seed=SEED, client=CLIENT)
    p = 655 / 65536
    most = np.ceil(2 * 8000 * (2**-12 - p * np.log2(p) - (1 - p) * np.log2(1 - p)))
    body = np.array([655], "<u2").tobytes()
    few = np.array([6], "<u2").tobytes()
    assert most > 1000  # the eighth of the gates that is always allowed at most
    assert len(decode(memoryview(body + bytes(1000)), context)) == 8000
    q = 6 / 65536
    most = int(np.ceil(2 * 8000 * (2**-12 - q * np.log2(q) - (1 - q) * np.log2(1 - q))))
    assert len(decode(memoryview(few + bytes(most)), context)) == 8000
    with pytest.raises(WireError, match=rf"a body of {most + 3} bytes, expected at most {most + 2} with these priors"):
        decode(memoryview(few + bytes(most + 1)), context)
