"""Codec of values, as float32 or float16."""

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.wire.header import VALUES_FLOAT16, VALUES_FLOAT32, expect_length

VALUE_TYPES = {"float32": VALUES_FLOAT32, "float16": VALUES_FLOAT16}
"""Names of the value types of updates to their numbers in a header."""
_DTYPES: dict[int, np.dtype[np.float32] | np.dtype[np.float16]] = {
    VALUES_FLOAT32: np.dtype("<f4"),
    VALUES_FLOAT16: np.dtype("<f2"),
}
_LARGEST = float(np.finfo(np.float16).max)


def encode(values: NDArray[np.float32], value_type: int) -> bytes:
    """Encode values ``[n]``; float16 rounds to nearest and clips to +-65504, its largest finite value."""
    if value_type == VALUES_FLOAT16:
        values = np.clip(values, -_LARGEST, _LARGEST)
    return values.astype(_DTYPES[value_type]).tobytes()


def width(value_type: int) -> int:
    """Return the number of bytes per value."""
    return _DTYPES[value_type].itemsize


def decode(body: memoryview, count: int, value_type: int) -> NDArray[np.float32]:
    """Decode finite values ``[count]``.

    Raises
    ------
    WireError
        The body has another length, or a value is not finite.
    """
    expect_length(body, count * width(value_type))
    values: NDArray[np.float32] = np.frombuffer(body, dtype=_DTYPES[value_type]).astype(np.float32)
    if not np.isfinite(values).all():
        raise WireError("a value is not finite")
    return values
