"""Mask codec "packed": one bit per gate."""

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.types import pack, unpack
from fedgates.wire.bits import packed_size, spare_bits
from fedgates.wire.context import CodingContext
from fedgates.wire.header import expect_length


def encode(gates: NDArray[np.uint8], context: CodingContext) -> bytes:  # noqa: ARG001  # mask codecs have one signature
    """Encode gates ``[d]`` of 0 and 1 as ``ceil(d/8)`` bytes; gate i is bit ``i % 8``, lowest first, of byte ``i // 8``."""
    return pack(gates.astype(np.bool_)).tobytes()


def decode(body: memoryview, context: CodingContext) -> NDArray[np.uint8]:
    """Decode the body of :func:`encode`.

    Raises
    ------
    WireError
        The body has another length, or a bit beyond the last gate is set.
    """
    expect_length(body, packed_size(context.size, 1))
    if spare_bits(body, context.size):
        raise WireError("bits beyond the last gate are not zero")
    return unpack(np.frombuffer(body, dtype=np.uint8), context.size)
