import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgates.wire.bits import pack_integers, packed_size, unpack_integers, width


@pytest.mark.parametrize(
    ("largest", "bits"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (10, 4), (255, 8), (256, 9), (2**32 - 1, 32)]
)
def test_width(largest, bits):
    assert width(largest) == bits


@pytest.mark.parametrize(
    ("count", "bits", "size"), [(0, 5, 0), (1, 0, 0), (1, 1, 1), (8, 1, 1), (9, 1, 2), (9, 4, 8), (16, 32, 64)]
)
def test_packed_size(count, bits, size):
    assert packed_size(count, bits) == size


def test_planes_by_exact_numbers():
    values = np.array([0, 1, 2, 3, 0, 0, 0, 1, 2], dtype=np.uint32)
    packed = bytes([0b1000_1010, 0, 0b0000_1100, 1])  # the lowest plane first, gate i in bit i % 8 of byte i // 8
    assert pack_integers(values, 2) == packed
    assert unpack_integers(packed, 9, 2).tolist() == values.tolist()


def test_no_bits_are_no_bytes():
    assert pack_integers(np.zeros(5, np.uint32), 0) == b""
    assert unpack_integers(b"", 5, 0).tolist() == [0] * 5


@given(st.data(), st.integers(0, 32), st.integers(0, 40))
@settings(deadline=None)
def test_unpack_undoes_pack(data, bits, count):
    values = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=count, max_size=count))
    packed = pack_integers(np.array(values, dtype=np.uint32), bits)
    assert len(packed) == packed_size(count, bits)
    found = unpack_integers(memoryview(packed), count, bits)
    assert found.dtype == np.uint32
    assert found.tolist() == values
