"""Integers as range-coded decisions."""

import numpy as np
import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st

from fedgates.errors import WireError
from fedgates.wire import plain_range_decoder
from fedgates.wire.integers import LARGEST, Contexts, read_integers, write_integers
from fedgates.wire.range_coder import BitWriter, bit_reader


def contexts_of(random, size):
    above, below = (random.integers(0, 16, size).astype(np.uint8) for _ in range(2))
    return Contexts(random.integers(0, 700, size).astype(np.uint16), above, below)


def written(values, contexts):
    writer = BitWriter()
    write_integers(writer, values, contexts)
    return writer.finish()


def read(data, contexts, open_reader=bit_reader):
    reader = open_reader(data)
    found = read_integers(reader, contexts)
    reader.finish()
    return found


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.sampled_from([0.0, 0.3, 5, 80]))
@examples(200)
def test_what_is_written_is_read_by_both_readers(seed, size, spread):
    random = np.random.default_rng(seed)
    values = np.clip(np.rint(random.normal(0, spread, size)), -LARGEST, LARGEST).astype(np.int64)
    contexts = contexts_of(random, size)
    data = written(values, contexts)
    for open_reader in (bit_reader, plain_range_decoder.BitReader):
        assert read(data, contexts, open_reader).tolist() == values.tolist()


def test_the_cost_is_close_to_the_entropy_given_the_contexts():
    random = np.random.default_rng(1)
    size = 200_000
    level = random.integers(0, 8, size)
    rate = 2.0 ** (level - 7)
    values = random.poisson(rate) * np.where(random.random(size) < 0.7, 1, -1)
    same = level.astype(np.uint8)
    data = written(values, Contexts(level.astype(np.uint16), same, same))
    entropy = 0.0
    for each in range(8):
        shares = np.unique(values[level == each], return_counts=True)[1] / (level == each).sum()
        entropy -= (level == each).sum() * (shares * np.log2(shares)).sum()
    assert entropy < 8 * len(data) < 1.01 * entropy + 2000


@pytest.mark.parametrize("value", [LARGEST, -LARGEST])
def test_the_largest_distance(value):
    contexts = contexts_of(np.random.default_rng(0), 1)
    assert read(written(np.array([value]), contexts), contexts).tolist() == [value]
    with pytest.raises(WireError, match="an integer beyond 255"):
        written(np.array([value + np.sign(value)]), contexts)


def test_frequencies_of_other_integers_are_refused():
    contexts = contexts_of(np.random.default_rng(0), 64)
    # fair bits of a table, and no decision that follows them
    writer = BitWriter()
    groups = len(np.unique(contexts.zero))
    writer.write(np.zeros(8 * groups, np.uint8), [8 * groups], np.array([1 << 15]))
    writer.write(np.ones(64, np.uint8), [64], np.array([0]))
    with pytest.raises(WireError):
        read(writer.finish(), contexts)


def test_a_byte_that_is_no_frequency_is_refused():
    contexts = Contexts(np.zeros(1, np.uint16), np.zeros(1, np.uint8), np.zeros(1, np.uint8))
    writer = BitWriter()
    writer.write(np.ones(8, np.uint8), [8], np.array([1 << 15]))
    with pytest.raises(WireError, match="a frequency's byte is 255, expected at most 208"):
        read(writer.finish(), contexts)
