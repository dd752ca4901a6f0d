"""Packing of unsigned integers of b bits as b planes of packed bits, lowest plane first."""

import numpy as np
from numpy.typing import NDArray


def width(largest: int) -> int:
    """Return the number of bits for integers from 0 to `largest`; 0 if `largest` is 0."""
    return largest.bit_length()


def packed_size(count: int, bits: int) -> int:
    """Return the number of bytes that :func:`pack_integers` writes for `count` integers of `bits` bits."""
    return bits * (-(-count // 8))


def pack_integers(values: NDArray[np.uint32], bits: int) -> bytes:
    """Pack integers ``[n]``, each below ``2**bits``, into ``bits`` planes of ``ceil(n/8)`` bytes."""
    return b"".join(
        np.packbits(((values >> np.uint32(b)) & np.uint32(1)).astype(np.uint8), bitorder="little").tobytes()
        for b in range(bits)
    )


def spare_bits(data: bytes | memoryview | NDArray[np.uint8], count: int, bits: int = 1) -> bool:
    """Return whether any of the `bits` planes in packed `data` has a 1 after the last integer."""
    stride = packed_size(count, 1)
    return any(count % 8 and data[(b + 1) * stride - 1] >> (count % 8) for b in range(bits))


def unpack_integers(data: bytes | memoryview, count: int, bits: int) -> NDArray[np.uint32]:
    """Unpack integers ``[count]`` from :func:`packed_size` bytes; the inverse of :func:`pack_integers`."""
    values = np.zeros(count, dtype=np.uint32)
    stride = packed_size(count, 1)
    planes = np.frombuffer(data, dtype=np.uint8)
    for b in range(bits):
        plane = np.unpackbits(planes[b * stride : (b + 1) * stride], count=count, bitorder="little")
        values |= plane.astype(np.uint32) << np.uint32(b)
    return values
