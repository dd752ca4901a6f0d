import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_cases import DIGEST, ROUND

from fedgates.errors import WireError
from fedgates.wire import CodingContext, describe, pack_sums, unpack_sums
from fedgates.wire.header import HEADER_SIZE
from fedgates.wire.sums import BATCH_NORM, CLASS_FEATURES

CONTEXT = CodingContext(DIGEST, (4, 5), ROUND)
finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(finite, max_size=50), st.sampled_from([BATCH_NORM, CLASS_FEATURES]))
def test_sums_come_back_to_the_bit(sums, which):
    payload = pack_sums(np.array(sums), CONTEXT, which)
    assert payload[HEADER_SIZE:] == struct.pack(f"<{len(sums)}d", *sums)
    assert payload[24:32] == struct.pack("<II", which, 0)
    found = unpack_sums(payload, CONTEXT, which, len(sums))
    assert (found.dtype, found.tobytes()) == (np.float64, np.array(sums, np.float64).tobytes())
    found[:] = 0  # a reader may work in place on its own sums
    assert describe(payload) == "sums, float64"


@pytest.mark.parametrize(
    ("context", "which", "count", "message"),
    [
        (CONTEXT, CLASS_FEATURES, 3, "sums of batch-norm statistics, expected features by class"),
        (CONTEXT, BATCH_NORM, 2, "a body of 24 bytes, expected 16"),
        (CONTEXT, BATCH_NORM, 2**40, "a body of 24 bytes, expected 8796093022208"),
        (replace(CONTEXT, server_round=8), BATCH_NORM, 3, "round 7, expected 8"),
        (replace(CONTEXT, digest=bytes(8)), BATCH_NORM, 3, "network digest"),
        (replace(CONTEXT, layers=(4, 6)), BATCH_NORM, 3, "9 gates, expected 10"),
    ],
)
def test_other_sums_than_were_asked_for_are_refused(context, which, count, message):
    payload = pack_sums(np.array([1.0, 2.0, 3.0]), CONTEXT, BATCH_NORM)
    with pytest.raises(WireError, match=message):
        unpack_sums(payload, context, which, count)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_sums_that_are_not_finite_are_not_sent(bad):
    with pytest.raises(ValueError, match="sums of features by class: one is not finite"):
        pack_sums(np.array([1.0, bad]), CONTEXT, CLASS_FEATURES)
