"""Coding of a client's reply to a final pass: sums over its examples, float64 ``[m]``, where server and client know m.

There are two kinds of sums: for batch-norm statistics, and of features by class.
"""

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.wire.context import CodingContext
from fedgates.wire.header import NONE, SUMS, VALUES_FLOAT64, expect_length, seal, unseal

BATCH_NORM, CLASS_FEATURES = 1, 2
NAMES = {BATCH_NORM: "batch-norm statistics", CLASS_FEATURES: "features by class"}
_DTYPE = np.dtype("<f8")


def pack_sums(sums: NDArray[np.float64], context: CodingContext, which: int) -> bytes:
    """Encode a client's sums ``[m]``.

    Parameters
    ----------
    sums : ndarray
        Finite float64.
    context : CodingContext
        Network, and the round of the request.
    which : int
        :data:`BATCH_NORM` or :data:`CLASS_FEATURES`.

    Raises
    ------
    ValueError
        A sum is not finite.
    """
    if not np.isfinite(sums).all():
        raise ValueError(f"sums of {NAMES[which]}: one is not finite")
    return seal(SUMS, NONE, VALUES_FLOAT64, context, which, 0, sums.astype(_DTYPE).tobytes())


def unpack_sums(data: bytes, context: CodingContext, which: int, count: int) -> NDArray[np.float64]:
    """Decode a client's sums; the inverse of :func:`pack_sums`.

    Parameters
    ----------
    data : bytes
        A complete payload.
    context, which
        As for :func:`pack_sums`.
    count : int
        Number of sums m.

    Raises
    ------
    WireError
        The payload is not `count` finite sums of the kind `which` for this network and round.
    """
    header, body = unseal(data, context, ((SUMS, NONE, VALUES_FLOAT64),))
    if header.server_round != context.server_round:
        raise WireError(f"round {header.server_round}, expected {context.server_round}")
    if header.number != which:
        found = NAMES.get(header.number, f"number {header.number}")
        raise WireError(f"sums of {found}, expected {NAMES[which]}")
    if header.check:
        raise WireError(f"sums with check {header.check:08x} in their header, expected 0")
    expect_length(body, _DTYPE.itemsize * count)
    sums: NDArray[np.float64] = np.frombuffer(body, dtype=_DTYPE).astype(np.float64)
    if not np.isfinite(sums).all():
        raise WireError("a sum is not finite")
    return sums
