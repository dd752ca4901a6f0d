"""The decoder that needs no constriction: what it reads and what it refuses is what constriction does."""

import numpy as np
import pytest
from damage import refused, resealed
from effort import cpu_seconds, examples
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_cases import cases, content

from fedgates.errors import WireError
from fedgates.wire import plain_range_decoder, range_coder
from fedgates.wire.header import HEADER_SIZE
from fedgates.wire.range_coder import BIT_SCALE, encode_bits, encode_symbols, symbol_frequencies
from fedgates.wire.scale import FREQUENCIES

CASES = cases()
seeds = st.integers(0, 2**32 - 1)


def groups(seed, sizes):
    """Frequencies, and bits that are more or less drawn by them."""
    random = np.random.default_rng(seed)
    frequencies = random.choice(FREQUENCIES, len(sizes))
    drawn = [random.random(n) < random.choice([f / BIT_SCALE, 0.5]) for n, f in zip(sizes, frequencies, strict=True)]
    return np.concatenate(drawn).astype(np.uint8), frequencies


def outcome(decode, data, *model):
    """What is read, or None where it is refused."""
    try:
        return decode(data, *model).tolist()
    except WireError:
        return None


def expect_same(name, data, *model):
    """What both decoders of this name make of the data."""
    ours, plain = (outcome(getattr(module, name), data, *model) for module in (range_coder, plain_range_decoder))
    assert ours == plain
    return plain


# --- what is sound


@pytest.mark.parametrize("frequency", FREQUENCIES.tolist())
def test_bits_of_every_frequency(frequency):
    for density in (0.02, 0.5, 0.98, frequency / BIT_SCALE):
        bits = (np.random.default_rng(frequency).random(400) < density).astype(np.uint8)
        data = encode_bits(bits, [400], np.array([frequency]))
        found = plain_range_decoder.decode_bits(data, [400], np.array([frequency]))
        assert found.dtype == np.uint8
        assert found.tolist() == bits.tolist()
        found[0] = 1  # it can be written to, as constriction's can


@given(seeds, st.lists(st.integers(0, 200), min_size=1, max_size=8).filter(any))
@settings(deadline=None)
def test_groups_of_bits(seed, sizes):
    bits, frequencies = groups(seed, sizes)
    data = encode_bits(bits, sizes, frequencies)
    assert plain_range_decoder.decode_bits(data, sizes, frequencies).tolist() == bits.tolist()


@given(seeds, st.integers(1, 300), st.sampled_from([2, 3, 11, 300, 4096]), st.sampled_from([0.01, 0.3, 50]))
@settings(deadline=None)
def test_symbols(seed, size, number, evenness):
    random = np.random.default_rng(seed)
    symbols = random.choice(number, size, p=random.dirichlet(np.full(number, evenness))).astype(np.int32)
    frequencies = symbol_frequencies(np.bincount(symbols, minlength=number))
    found = plain_range_decoder.decode_symbols(encode_symbols(symbols, frequencies), size, frequencies)
    assert found.dtype == np.int32
    assert found.tolist() == symbols.tolist()


@pytest.mark.parametrize("name", CASES)
def test_every_sort_of_payload(monkeypatch, name):
    case = CASES[name]
    expected = content(case.read(case.payload))
    monkeypatch.setattr(range_coder, "constriction", None)
    assert content(case.read(case.payload)) == expected


# --- what is not


@given(st.binary(max_size=24), seeds, st.lists(st.integers(0, 40), min_size=1, max_size=4).filter(any))
@examples(400)
def test_noise_is_refused_by_both_or_read_alike(data, seed, sizes):
    _, frequencies = groups(seed, sizes)
    expect_same("decode_bits", data, sizes, frequencies)


@given(seeds, st.lists(st.integers(1, 200), min_size=1, max_size=4), st.data())
@examples(400)
def test_a_changed_code_is_refused_by_both_or_read_alike(seed, sizes, data):
    bits, frequencies = groups(seed, sizes)
    code = encode_bits(bits, sizes, frequencies)
    assert expect_same("decode_bits", code, sizes, frequencies) == bits.tolist()
    at = data.draw(st.integers(0, len(code) - 1))
    changed = code[:at] + data.draw(st.binary(max_size=8)) + code[at + data.draw(st.integers(0, 8)) :]
    expect_same("decode_bits", changed, sizes, frequencies)
    for tail in (bytes(4), bytes(8), b"\1\0\0\0"):
        assert expect_same("decode_bits", code + tail, sizes, frequencies) is None
    assert expect_same("decode_bits", code[:-4], sizes, frequencies) != bits.tolist()


@given(seeds, st.integers(1, 100), st.data())
@examples(300)
def test_a_changed_code_of_symbols_is_refused_by_both_or_read_alike(seed, size, data):
    symbols = np.random.default_rng(seed).binomial(10, 0.3, size).astype(np.int32)
    frequencies = symbol_frequencies(np.bincount(symbols, minlength=11))
    code = encode_symbols(symbols, frequencies)
    at = data.draw(st.integers(0, len(code) - 1))
    changed = code[:at] + data.draw(st.binary(max_size=8)) + code[at + data.draw(st.integers(0, 8)) :]
    expect_same("decode_symbols", changed, size, frequencies)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.base is None and "sampled" not in name])
def test_every_bit_flipped_in_a_body_has_the_same_verdict(monkeypatch, name):
    case = CASES[name]
    changed = []
    for bit in range(8 * HEADER_SIZE, 8 * len(case.payload), 1 if len(case.payload) < 300 else 13):
        payload = bytearray(case.payload)
        payload[bit // 8] ^= 1 << bit % 8
        changed.append(resealed(bytes(payload)))
    expected = [bool(refused(case, payload)) for payload in changed]
    monkeypatch.setattr(range_coder, "constriction", None)
    assert [bool(refused(case, payload)) for payload in changed] == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0", "a range code of 1 bytes, expected whole words of 4"),
        (b"", "the range code is shorter than its symbols need"),
        (bytes(4), None),
        (bytes(8), "the range code is not the one that its symbols encode to"),
        (b"\xff" * 8, "the range code is (damaged|not the one)"),
        (b"\0\0\0\0\1\0\0\0", "the range code is not the one that its symbols encode to"),
    ],
)
def test_words_that_no_encoder_writes(data, message):
    if message is None:
        assert not plain_range_decoder.decode_bits(data, [8], np.array([16384])).any()
    else:
        with pytest.raises(WireError, match=message):
            plain_range_decoder.decode_bits(data, [8], np.array([16384]))


@pytest.mark.parametrize("frequency", [0, 1, 32768, 65535, 65536])
def test_a_point_outside_its_range_ends_soon_however_much_there_is_to_read(frequency):
    words, gates = b"\xff" * 4 * 100_000, 300_000

    def decode():
        with pytest.raises(WireError, match="the range code is"):
            plain_range_decoder.decode_bits(words, [gates], np.array([frequency]))

    assert cpu_seconds(decode) < 1


def test_a_code_that_ends_early_ends_the_reading():
    bits = np.random.default_rng(1).integers(0, 2, 5000).astype(np.uint8)
    data = encode_bits(bits, [5000], np.array([32768]))
    with pytest.raises(WireError, match="the range code is shorter than its symbols need"):
        plain_range_decoder.decode_bits(data[: len(data) // 8 * 4], [5000], np.array([32768]))


# --- and what it cannot do


def test_coding_says_what_it_takes(monkeypatch):
    monkeypatch.setattr(range_coder, "constriction", None)
    line = "encoding needs the package constriction, which is not installed; decoding does not"
    with pytest.raises(ModuleNotFoundError, match=line):
        encode_bits(np.zeros(8, np.uint8), [8], np.array([1]))
    with pytest.raises(ModuleNotFoundError, match=line):
        encode_symbols(np.zeros(8, np.int32), np.array([32768, 0], np.uint16))
