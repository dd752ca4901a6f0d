"""Masks range-coded with one probability a layer: the literature's ``H2(density)``, made real.

Body: the frequency of a 1 of each layer, a byte on the scale of :mod:`fedgates.wire.scale`; then the range code of the gates in
order.
"""

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.wire.context import CodingContext
from fedgates.wire.range_coder import decode_bits, encode_bits, longest, read_table
from fedgates.wire.scale import FREQUENCIES, frequency_bytes


def encode(gates: NDArray[np.uint8], shared: CodingContext) -> bytes:
    """Gates ``[d]`` of 0 and 1 to a table and a range code."""
    table = _table(gates, shared)
    return table.tobytes() + encode_bits(gates, shared.layers, FREQUENCIES[table])


def decode(body: memoryview, shared: CodingContext) -> NDArray[np.uint8]:
    """The inverse of :func:`encode`."""
    start = len(shared.layers)
    if not start <= len(body) <= start + longest(shared.size):
        raise WireError(f"a body of {len(body)} bytes, expected {start} to {start + longest(shared.size)}")
    table = read_table(body[:start])
    gates = decode_bits(body[start:], shared.layers, FREQUENCIES[table])
    if (table != _table(gates, shared)).any():
        raise WireError("the frequencies are not those of the gates")
    return gates


def _table(gates: NDArray[np.uint8], shared: CodingContext) -> NDArray[np.uint8]:
    parts = np.split(gates, np.cumsum(shared.layers)[:-1])
    return frequency_bytes(np.array([np.count_nonzero(part) for part in parts]), np.array(shared.layers))
