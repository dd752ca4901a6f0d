"""Masks as they are: one bit a gate."""

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.types import pack, unpack
from fedgates.wire.bits import packed_size, spare_bits
from fedgates.wire.context import CodingContext
from fedgates.wire.header import expect_length


def encode(gates: NDArray[np.uint8], shared: CodingContext) -> bytes:  # noqa: ARG001  # all mask codecs take it
    """Gates ``[d]`` of 0 and 1 to ``ceil(d/8)`` bytes; gate i is bit ``i % 8``, lowest first, of byte ``i // 8``."""
    return pack(gates.astype(np.bool_)).tobytes()


def decode(body: memoryview, shared: CodingContext) -> NDArray[np.uint8]:
    """The inverse of :func:`encode`."""
    expect_length(body, packed_size(shared.size, 1))
    if spare_bits(body, shared.size):
        raise WireError("bits beyond the last gate are not zero")
    return unpack(np.frombuffer(body, dtype=np.uint8), shared.size)
