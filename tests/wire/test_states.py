import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_cases import DIGEST, ROUND, floats, votes_of

from fedgates.errors import WireError
from fedgates.types import Votes, Weights
from fedgates.wire import CodingContext, describe, pack_state, state_crc, unpack_state
from fedgates.wire.header import HEADER_SIZE, NONE, VALUES, seal

layers = st.lists(st.integers(1, 100), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) <= 300).map(tuple)
rounds = st.integers(0, 2**32 - 1)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
trials = st.one_of(st.integers(0, 40), st.sampled_from([4094, 4095, 4096, 5000, 2**20, 2**23, 2**31, 2**32 - 1]))
CONTEXT = CodingContext(DIGEST, (4, 5), ROUND)
NINE_VOTES = votes_of(np.random.default_rng(1), 9, 10)


def there_and_back(state, context=CONTEXT, downlink="votes"):
    found, server_round = unpack_state(pack_state(state, context, downlink), context, downlink)
    assert server_round == context.server_round
    return found


@given(layers, rounds, trials, st.integers(0, 2**32 - 1), st.sampled_from(["some", "none", "all", "any number"]))
@examples(300)
def test_votes_come_back_whatever_the_trials(sizes, server_round, number, seed, which):
    random = np.random.default_rng(seed)
    votes = {
        "some": votes_of(random, sum(sizes), number).votes,
        "none": np.zeros(sum(sizes), np.uint32),
        "all": np.full(sum(sizes), number, np.uint32),
        "any number": random.integers(0, number, sum(sizes), dtype=np.uint32, endpoint=True),
    }[which]
    context = CodingContext(DIGEST, sizes, server_round)
    found = there_and_back(Votes(votes, number), context)
    assert (found.votes.dtype, found.trials) == (np.uint32, number)
    assert found.votes.tolist() == votes.tolist()
    assert pack_state(found, context) == pack_state(Votes(votes, number), context)
    if number <= 2**23:
        found = there_and_back(Votes(votes, number), context, "float32")
        assert (found.votes.tolist(), found.votes.dtype, found.trials) == (votes.tolist(), np.uint32, number)


def test_every_number_of_votes_comes_back_from_its_share():
    for number in (1, 3, 7, 10, 1000, 4097):
        votes = np.arange(number + 1, dtype=np.uint32)
        found = there_and_back(Votes(votes, number), CodingContext(DIGEST, (number + 1,)), "float32")
        assert found.votes.tolist() == votes.tolist()
    top = np.arange(2**23 - 1000, 2**23 + 1, dtype=np.uint32)  # where neighbours' shares are nearest to each other
    assert there_and_back(Votes(top, 2**23), CodingContext(DIGEST, (1001,)), "float32").votes.tolist() == top.tolist()


def test_more_trials_than_float32_tells_apart_are_not_sent():
    with pytest.raises(ValueError, match="8388609 trials, expected at most 8388608 for float32"):
        pack_state(Votes(np.zeros(9, np.uint32), 2**23 + 1), CONTEXT, "float32")


def test_votes_that_use_every_symbol_come_back_though_their_table_is_coarse():
    # 4096 counts alike: whole frequencies of 7 in 2^15 cost 12.2 bits a gate, more than the 12 bits of a symbol
    votes = np.append(np.repeat(np.arange(4096, dtype=np.uint32), 7), np.uint32(0))
    np.random.default_rng(0).shuffle(votes)
    found = there_and_back(Votes(votes, 4095), CodingContext(DIGEST, (len(votes),)))
    assert found.votes.tolist() == votes.tolist()


@given(st.lists(finite, min_size=1, max_size=300), rounds)
@settings(deadline=None)
def test_weights_come_back_to_the_bit(values, server_round):
    values = floats(values)
    found = there_and_back(Weights(values), CodingContext(DIGEST, (len(values),), server_round))
    assert (found.values.dtype, found.values.tobytes()) == (np.float32, values.tobytes())


@given(layers, st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.01, 0.3, 0.9, 0.97, 0.99]))
@settings(deadline=None)
def test_sparse_weights_come_back_and_never_cost_more_than_dense_ones(sizes, seed, density):
    random = np.random.default_rng(seed)
    values = np.where(random.random(sum(sizes)) < density, random.normal(size=sum(sizes)), 0).astype(np.float32)
    values[::4] *= -1  # among them zeros with a sign, which are kept
    context = CodingContext(DIGEST, sizes, ROUND)
    payload = pack_state(Weights(values), context)
    assert unpack_state(payload, context)[0].values.tobytes() == values.tobytes()
    assert len(payload) <= HEADER_SIZE + 4 * len(values)


def test_a_zero_with_a_sign_is_a_value_and_one_without_is_none():
    values = floats([0, -0.0, 0, 1, 0, 0, 0, 0, 0])
    payload = pack_state(Weights(values), CONTEXT)
    assert describe(payload) == "mask and values, entropy, float32"
    assert struct.unpack_from("<I", payload, 24)[0] == 2  # ones of the mask
    assert np.signbit(unpack_state(payload, CONTEXT)[0].values).tolist() == [False, True] + [False] * 7


@pytest.mark.parametrize(("kept", "expected"), [(0, True), (50, True), (93, True), (97, False), (100, False)])
def test_weights_are_sparse_where_that_is_smaller(kept, expected):
    values = np.where(np.random.default_rng(0).permutation(100) < kept, 1, 0).astype(np.float32)
    context = CodingContext(DIGEST, (100,))
    assert ("mask" in describe(pack_state(Weights(values), context))) == expected


def test_checks_by_hand():
    votes = Votes(np.array([1, 2], np.uint32), 3)
    assert state_crc(votes) == zlib.crc32(struct.pack("<III", 3, 1, 2))
    assert state_crc(replace(votes, trials=4)) != state_crc(votes)
    assert state_crc(Weights(floats([1, -2]))) == zlib.crc32(struct.pack("<Iff", 0, 1, -2))


def test_lengths_by_hand():
    def length(state, size, downlink="votes"):
        return len(pack_state(state, CodingContext(DIGEST, (size,)), downlink))

    assert length(Votes(np.zeros(9, np.uint32), 0), 9) == HEADER_SIZE
    assert length(Votes(np.zeros(9, np.uint32), 3), 9) == HEADER_SIZE + 4 * 2 + 4  # a frequency for 0 to 3, a word
    assert length(Votes(np.zeros(9, np.uint32), 5000), 9) == HEADER_SIZE + 2501 * 2 + 2 + 4  # 5000 >> 1, a plane of low bits
    assert length(Votes(np.zeros(9, np.uint32), 3), 9, "float32") == HEADER_SIZE + 36
    assert length(Weights(floats([1] * 9)), 9) == HEADER_SIZE + 36


def test_what_is_read_does_not_change_with_the_buffer():
    payload = pack_state(Weights(floats(range(9))), CONTEXT)
    unpack_state(payload, CONTEXT)[0].values[:] = 0  # a reader may work in place on its own state
    assert unpack_state(payload, CONTEXT)[0].values.tolist() == list(range(9))


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5).map(tuple),
    st.sampled_from([votes_of(np.random.default_rng(1), 9, 10), Weights(floats(range(9))), Weights(floats([0] * 8 + [1]))]),
    st.sampled_from(["votes", "float32"]),
)
@settings(deadline=None)
def test_scalars_come_back_to_the_bit_and_cost_eight_bytes_each(scalars, state, downlink):
    context = replace(CONTEXT, scalars=len(scalars))
    payload = pack_state(replace(state, scalars=scalars), context, downlink)
    assert len(payload) == len(pack_state(state, CONTEXT, downlink)) + 8 * len(scalars)
    assert payload[HEADER_SIZE : HEADER_SIZE + 8 * len(scalars)] == struct.pack(f"<{len(scalars)}d", *scalars)
    assert [s.hex() for s in there_and_back(replace(state, scalars=scalars), context, downlink).scalars] == [
        s.hex() for s in scalars
    ]


def test_scalars_are_part_of_what_a_state_is():
    state = Votes(np.array([1, 2], np.uint32), 3, (0.5,))
    assert state_crc(state) == zlib.crc32(struct.pack("<IdII", 3, 0.5, 1, 2))


@pytest.mark.parametrize("scalars", [(), (1.0,), (1.0, 2.0, 3.0), (1.0, float("nan")), (1.0, float("inf"))])
def test_other_scalars_than_the_method_has_are_not_sent(scalars):
    with pytest.raises(ValueError, match="expected 2 finite ones"):
        pack_state(Weights(floats(range(9)), scalars), replace(CONTEXT, scalars=2))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "expected 1 scalars at byte 0"),
        (struct.pack("<d", float("nan")) + bytes(36), "a scalar is not finite"),
        (struct.pack("<d", float("-inf")) + bytes(36), "a scalar is not finite"),
        (struct.pack("<d", 1), "a body of 0 bytes, expected 36"),
        (struct.pack("<d", 1) + bytes(36), "the decoded state does not match its CRC"),
    ],
)
def test_unsound_scalars_are_refused(body, reason):
    context = replace(CONTEXT, scalars=1)
    with pytest.raises(WireError, match=reason):
        unpack_state(seal(VALUES, NONE, 1, context, 0, 0, body), context)


@pytest.mark.slow
@given(layers, trials, st.lists(finite, min_size=1, max_size=50), st.booleans(), st.sampled_from(["votes", "float32"]))
@settings(deadline=None)
def test_a_tail_comes_back_to_the_bit_and_costs_four_bytes_a_value(sizes, number, tail, scalars, downlink):
    number = min(number, 2**23) if downlink == "float32" else number
    state = replace(votes_of(np.random.default_rng(1), sum(sizes), number), scalars=(0.5,) * scalars)
    bare = CodingContext(DIGEST, sizes, ROUND, scalars=len(state.scalars))
    context = replace(bare, tail=len(tail))
    payload, alone = pack_state(replace(state, tail=floats(tail)), context, downlink), pack_state(state, bare, downlink)
    start = HEADER_SIZE + 8 * scalars
    assert payload[start : start + 4 * len(tail)] == struct.pack(f"<{len(tail)}f", *tail)
    assert payload[HEADER_SIZE:start] + payload[start + 4 * len(tail) :] == alone[HEADER_SIZE:]
    found, _ = unpack_state(payload, context, downlink)
    assert (found.tail.dtype, found.tail.tobytes()) == (np.float32, floats(tail).tobytes())
    assert (found.votes.tolist(), found.trials, found.scalars) == (state.votes.tolist(), number, state.scalars)
    found.tail[:] = 0  # a reader may work in place on its own state


def test_a_tail_is_part_of_what_a_state_is():
    state = Votes(np.array([1, 2], np.uint32), 3, (0.5,), tail=floats([0.25, -0.0]))
    assert state_crc(state) == zlib.crc32(struct.pack("<IdffII", 3, 0.5, 0.25, -0.0, 1, 2))
    assert state_crc(state) != state_crc(replace(state, tail=floats([0.25, 0.0])))
    assert state_crc(replace(state, tail=floats([]))) == zlib.crc32(struct.pack("<IdII", 3, 0.5, 1, 2))


@pytest.mark.parametrize(
    ("state", "tail", "message"),
    [
        (NINE_VOTES, 2, "a tail of 0 values, expected 2 finite ones"),
        (Weights(floats(range(9))), 2, "a tail of 0 values, expected 2 finite ones"),
        (replace(NINE_VOTES, tail=floats([1])), 2, "a tail of 1 values, expected 2 finite ones"),
        (replace(NINE_VOTES, tail=floats([1, 2])), 0, "a tail of 2 values, expected 0 finite ones"),
        (replace(NINE_VOTES, tail=floats([1, np.nan])), 2, "a tail of 2 values, expected 2 finite ones"),
        (replace(NINE_VOTES, tail=floats([1, -np.inf])), 2, "a tail of 2 values, expected 2 finite ones"),
    ],
)
def test_other_tails_than_the_method_has_are_not_sent(state, tail, message):
    with pytest.raises(ValueError, match=message):
        pack_state(state, replace(CONTEXT, tail=tail))


def test_a_state_with_a_tail_and_one_without_are_not_taken_for_each_other():
    tailed = replace(CONTEXT, tail=2)
    with pytest.raises(WireError, match="a payload of votes, expected votes and tail, votes, float32"):
        unpack_state(pack_state(NINE_VOTES, CONTEXT), tailed)
    with pytest.raises(WireError, match="a payload of values, float32, expected votes and tail, votes, float32"):
        unpack_state(pack_state(Weights(floats(range(9))), CONTEXT), tailed)
    with pytest.raises(WireError, match="a payload of votes and tail, votes, float32, expected votes or values"):
        unpack_state(pack_state(replace(NINE_VOTES, tail=floats([1, 2])), tailed), CONTEXT)
    with pytest.raises(WireError, match=r"a body of \d+ bytes, expected"):
        unpack_state(pack_state(replace(NINE_VOTES, tail=floats([1, 2])), tailed), replace(CONTEXT, tail=20))
