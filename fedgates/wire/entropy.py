"""Mask codec "entropy": range coding with one probability per layer, which achieves ``H2(density)`` bits per gate.

Body: the frequency of a 1 in each layer, a byte on the scale of :mod:`fedgates.wire.scale`; then the range code of the gates in
order.
"""

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.wire.context import CodingContext
from fedgates.wire.range_coder import decode_bits, encode_bits, longest, read_table
from fedgates.wire.scale import FREQUENCIES, frequency_bytes


def encode(gates: NDArray[np.uint8], context: CodingContext) -> bytes:
    """Encode gates ``[d]`` of 0 and 1 as a table and a range code."""
    table = _table(gates, context)
    return table.tobytes() + encode_bits(gates, context.layers, FREQUENCIES[table])


def decode(body: memoryview, context: CodingContext) -> NDArray[np.uint8]:
    """Decode the body of :func:`encode`.

    Raises
    ------
    WireError
        The body was not written by :func:`encode`.
    """
    start = len(context.layers)
    if not start <= len(body) <= start + longest(context.size):
        raise WireError(f"a body of {len(body)} bytes, expected {start} to {start + longest(context.size)}")
    table = read_table(body[:start])
    gates = decode_bits(body[start:], context.layers, FREQUENCIES[table])
    if (table != _table(gates, context)).any():
        raise WireError("the frequencies do not match the decoded gates")
    return gates


def _table(gates: NDArray[np.uint8], context: CodingContext) -> NDArray[np.uint8]:
    parts = np.split(gates, np.cumsum(context.layers)[:-1])
    return frequency_bytes(np.array([np.count_nonzero(part) for part in parts]), np.array(context.layers))
