import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_range_decoder import IntegerRangeDecoder, edges

from fedgates.errors import WireError
from fedgates.wire.range_coder import (
    BIT_SCALE,
    SYMBOL_SCALE,
    decode_bits,
    decode_symbols,
    encode_bits,
    encode_symbols,
    longest,
    symbol_frequencies,
)
from fedgates.wire.scale import FREQUENCIES

seeds = st.integers(0, 2**32 - 1)


def random_bits(size, density, seed):
    return (np.random.default_rng(seed).random(size) < density).astype(np.uint8)


def edges_of_bits(frequency):
    return edges([BIT_SCALE - frequency, frequency], BIT_SCALE)


# --- the same numbers as whole-number arithmetic


@pytest.mark.parametrize(
    ("frequencies", "scale", "expected"),
    [
        ([32768, 32768], BIT_SCALE, [0, 2**23, 2**24]),  # floor((2^24 - 2) / 2) + 1
        ([65536, 0], BIT_SCALE, [0, 2**24 - 1, 2**24]),  # a 1 that never was keeps one part of 2^24
        ([0, 65536], BIT_SCALE, [0, 1, 2**24]),
        ([1, 0, 32767], SYMBOL_SCALE, [0, 512, 513, 2**24]),
    ],
)
def test_edges_by_hand(frequencies, scale, expected):
    assert edges(frequencies, scale) == expected


@pytest.mark.parametrize("frequency", FREQUENCIES.tolist())
def test_every_frequency_of_a_bit_is_decoded_by_whole_numbers(frequency):
    for density in (0.02, 0.5, 0.98, frequency / BIT_SCALE):
        bits = random_bits(400, density, frequency)
        data = encode_bits(bits, [400], np.array([frequency]))
        assert IntegerRangeDecoder(data).symbols(400, edges_of_bits(frequency)) == bits.tolist()


@given(seeds, st.lists(st.integers(1, 60), min_size=1, max_size=6))
@settings(deadline=None)
def test_groups_of_bits_are_decoded_by_whole_numbers(seed, sizes):
    frequencies = np.random.default_rng(seed).choice(FREQUENCIES, len(sizes))
    bits = np.concatenate([random_bits(n, f / BIT_SCALE, seed + f) for n, f in zip(sizes, frequencies, strict=True)])
    data = encode_bits(bits, sizes, frequencies)
    decoder, found = IntegerRangeDecoder(data), []
    for size, frequency in zip(sizes, frequencies.tolist(), strict=True):
        found += decoder.symbols(size, edges_of_bits(frequency))
    assert found == bits.tolist() == decode_bits(data, sizes, frequencies).tolist()


@given(seeds, st.integers(1, 300), st.integers(2, 300), st.sampled_from([0.01, 0.3, 1, 50]))
@settings(deadline=None)
def test_random_tables_of_symbols_are_decoded_by_whole_numbers(seed, size, number, evenness):
    random = np.random.default_rng(seed)
    symbols = random.choice(number, size, p=random.dirichlet(np.full(number, evenness))).astype(np.int32)
    frequencies = symbol_frequencies(np.bincount(symbols, minlength=number))
    data = encode_symbols(symbols, frequencies)
    assert IntegerRangeDecoder(data).symbols(size, edges(frequencies.tolist(), SYMBOL_SCALE)) == symbols.tolist()
    assert decode_symbols(data, size, frequencies).tolist() == symbols.tolist()


def test_all_4096_symbols_are_decoded_by_whole_numbers():
    symbols = np.random.default_rng(4).permutation(4096).astype(np.int32)
    frequencies = symbol_frequencies(np.bincount(symbols, minlength=4096))
    data = encode_symbols(symbols, frequencies)
    assert IntegerRangeDecoder(data).symbols(4096, edges(frequencies.tolist(), SYMBOL_SCALE)) == symbols.tolist()


def test_words_are_fixed_for_ever():
    bits = np.array([1, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1] * 4, dtype=np.uint8)
    assert encode_bits(bits, [64], np.array([20480])).hex() == "61f47de2fb4231f3"
    symbols = np.array([0, 3, 1, 1, 2, 0, 0, 0, 3, 0] * 3, dtype=np.int32)
    assert encode_symbols(symbols, symbol_frequencies(np.bincount(symbols))).hex() == "a90c7f762d16290e"


# --- tables


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([1, 1], [16384, 16384]),
        ([5, 0], [32768, 0]),
        ([0, 1, 0], [0, 32768, 0]),
        ([1, 2, 1], [8192, 16384, 8192]),
        ([1, 0, 10**9], [1, 0, 32767]),  # what occurs has at least 1
        ([1, 1, 1], [10924, 10922, 10922]),  # 1 + 32765 // 3 = 10922, and the 2 that are left go to the most common
    ],
)
def test_frequencies_of_symbols_by_hand(counts, expected):
    assert symbol_frequencies(np.array(counts)).tolist() == expected


@given(st.lists(st.integers(0, 2**31), min_size=2, max_size=4096).filter(any))
@examples(50)
def test_frequencies_of_symbols_are_whole_and_leave_none_out(counts):
    found = symbol_frequencies(np.array(counts))
    assert found.dtype == np.uint16
    assert found.sum(dtype=int) == SYMBOL_SCALE
    assert ((found > 0) == (np.array(counts) > 0)).all()


# --- lengths and damage


@pytest.mark.parametrize(("size", "bits", "expected"), [(0, 1, 64), (1, 1, 65), (8, 12, 76), (4096, 1, 512 + 2 + 64)])
def test_longest(size, bits, expected):
    assert longest(size, bits) == expected


@pytest.mark.parametrize("frequency", [0, 1, 16, 30720, 32768, 34816, 65535, 65536])
def test_a_group_coded_with_its_own_frequency_is_never_longer_than_longest(frequency):
    for size in (1, 2, 31, 1000, 50_000):
        ones = round(size * frequency / BIT_SCALE)
        bits = np.random.default_rng(size).permutation(np.arange(size) < ones).astype(np.uint8)
        assert len(encode_bits(bits, [size], np.array([frequency]))) <= longest(size)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0", "a range code of 1 bytes, expected whole words of 4"),
        (b"", "the range code is not the one that its gates encode to"),  # eight zeros are one word of zero
        (b"\0" * 8, "the range code is not the one that its gates encode to"),
        (b"\xff" * 8, "the range code is (damaged|not the one)"),
    ],
)
def test_words_that_no_encoder_writes_are_refused(data, message):
    with pytest.raises(WireError, match=message):
        decode_bits(data, [8], np.array([16384]))


@given(st.binary(max_size=24).filter(lambda data: len(data) % 4 == 0), st.integers(1, 40), seeds)
@examples(300)
def test_what_is_decoded_from_noise_is_what_was_encoded(data, size, seed):
    frequency = np.random.default_rng(seed).choice(FREQUENCIES, 1)
    try:
        bits = decode_bits(data, [size], frequency)
    except WireError:
        return
    assert encode_bits(bits, [size], frequency) == data
