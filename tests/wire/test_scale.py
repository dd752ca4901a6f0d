import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgates.wire.scale import FREQUENCIES, frequency_bytes, least, step, steps


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), (1, 1), (15, 15), (16, 16), (17, 16), (18, 17), (31, 23), (32, 24), (35, 24), (36, 25), (2**32 - 1, 239)],
)
def test_steps_by_hand(value, expected):
    assert step(value) == expected
    assert steps(np.array([value], np.uint32)).tolist() == [expected]


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1))
def test_a_step_begins_at_its_least_and_holds_an_eighth_of_a_doubling(value):
    found = step(value)
    assert least(found) <= value < least(found + 1)
    assert step(least(found)) == found
    assert least(found + 1) - least(found) <= max(1, value // 8)
    assert steps(np.array([value], np.uint32)).tolist() == [found]


def test_frequencies_of_a_byte():
    found = FREQUENCIES.tolist()
    assert len(found) == 209
    assert found[:18] == [*range(17), 18]
    assert (found[103], found[104], found[105], found[-1]) == (30720, 32768, 34816, 65536)
    assert found == sorted(set(found))
    assert [65536 - f for f in found[::-1]] == found


@pytest.mark.parametrize(
    ("ones", "size", "expected"),
    [
        (0, 9, 0),
        (9, 9, 65536),
        (1, 2, 32768),
        (1, 65536, 1),
        (1, 10**6, 0),  # .066 of 2^-16
        (10**6 - 1, 10**6, 65536),
        (3, 10, 20480),  # 19661 lies nearer to 20480 than to 18432
        (31743, 65536, 30720),
        (31744, 65536, 32768),  # halfway is rounded up
    ],
)
def test_nearest_frequencies_by_hand(ones, size, expected):
    (byte,) = frequency_bytes(np.array([ones]), np.array([size]))
    assert FREQUENCIES[byte] == expected


@given(st.integers(1, 10**9).flatmap(lambda size: st.tuples(st.integers(0, size), st.just(size))))
def test_frequencies_are_the_nearest(pair):
    ones, size = pair
    (byte,) = frequency_bytes(np.array([ones]), np.array([size]))
    share = ones / size * 65536
    assert abs(FREQUENCIES[byte] - share) <= np.abs(FREQUENCIES - share).min() + 1


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=20))
def test_frequencies_of_many_groups_are_those_of_each(sizes):
    ones, sizes = np.array(sizes) // 3, np.array(sizes)
    each = [frequency_bytes(ones[i : i + 1], sizes[i : i + 1])[0] for i in range(len(sizes))]
    assert frequency_bytes(ones, sizes).tolist() == each
