import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgates.types import Update, Votes, Weights, count_ones, pack, unpack

masks = st.lists(st.booleans(), max_size=70).map(lambda m: np.array(m, dtype=bool))


def test_packing_by_exact_numbers():
    mask = np.array([1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1], dtype=bool)
    packed = pack(mask)
    assert packed.dtype == np.uint8
    assert packed.tolist() == [0b1000_0001, 0b110]
    assert unpack(packed, 11).tolist() == [1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1]
    assert count_ones(packed) == 4


@given(masks)
@settings(deadline=None)
def test_unpack_undoes_pack(mask):
    packed = pack(mask)
    assert len(packed) == -(-len(mask) // 8)
    assert unpack(packed, len(mask)).tolist() == mask.tolist()
    assert count_ones(packed) == mask.sum()
    assert unpack(packed, 8 * len(packed))[len(mask) :].sum() == 0


def test_ones_are_counted_beyond_a_byte_sized_sum():
    count = count_ones(np.full(1000, 255, dtype=np.uint8))
    assert count == 8000
    assert type(count) is int


def test_sizes_and_defaults():
    assert Votes(np.zeros(5, np.uint32), 3).size == 5
    assert Weights(np.zeros(6, np.float32)).size == 6
    update = Update(mask=None)
    assert (update.values, update.num_examples, dict(update.metrics)) == (None, 1, {})


def test_an_update_as_dense_vectors():
    mask = pack(np.array([1, 0, 0, 1, 0], dtype=bool))
    values = np.array([0.5, -2], dtype=np.float32)
    assert Update(mask).gates(5).tolist() == [1, 0, 0, 1, 0]
    assert Update(None, values).gates(2).tolist() == [1, 1]
    assert Update(mask, values).dense(5).tolist() == [0.5, 0, 0, -2, 0]
    assert Update(None, values).dense(2).tolist() == [0.5, -2]
    assert Update(mask).dense(5).tolist() == [1, 0, 0, 1, 0]
