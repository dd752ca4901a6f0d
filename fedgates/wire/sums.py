"""Sums over a client's examples, which answer a measurement: of batch norms, or of the features of each class."""

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.wire.context import CodingContext
from fedgates.wire.header import NONE, SUMS, expect_length, seal, unseal

NORMS, FEATURES = 1, 2
"""Which sums: of the inputs of batch norms by channel, or of the last layer's inputs by class."""
_WIDTH = 8


def pack_sums(sums: NDArray[np.float64], context: CodingContext, which: int) -> bytes:
    """Encode sums ``[m]``.

    Raises
    ------
    ValueError
        One is not finite.
    """
    if not np.isfinite(sums).all():
        raise ValueError("sums that are not finite")
    return seal(SUMS, NONE, 0, context, which, 0, sums.astype("<f8").tobytes())


def unpack_sums(data: bytes, context: CodingContext, which: int, count: int) -> NDArray[np.float64]:
    """Decode ``[count]`` sums.

    Raises
    ------
    WireError
        The payload is not a complete answer to this measurement of that network, or a sum is not finite.
    """
    header, body = unseal(data, context, ((SUMS, NONE, 0),))
    if header.server_round != context.server_round:
        raise WireError(f"round {header.server_round}, expected {context.server_round}")
    if header.number != which or header.check:
        raise WireError(f"sums {header.number} with check {header.check:08x} in their header, expected {which} and 0")
    expect_length(body, _WIDTH * count)
    sums = np.frombuffer(body, dtype="<f8").astype(np.float64)
    if not np.isfinite(sums).all():
        raise WireError("a sum is not finite")
    return sums
