"""Range decoding in Python integers, for reading model files where only torch and NumPy are installed.

It follows FORMAT.md with one change: instead of point and lower it keeps ``offset = point - lower``. A point outside the range
stays outside, because each step subtracts the same amount from offset and range and scales both equally; this is therefore
checked only when a word is read, and at the end. The reader with constriction validates a code by encoding its symbols again;
this one applies FORMAT.md's rule for the last words.
"""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.wire.scale import HALF

_SHARE_BITS = 24
_SHARES = 1 << _SHARE_BITS
_WORD, _STATE = 1 << 32, 1 << 64


class BitReader:
    """A :class:`fedgates.wire.range_coder.BitReader` in plain Python; an invalid code raises :class:`WireError`."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._words = words = _words(data)
        self._span, self._offset, self._at = _STATE - 1, words[0] << 32 | words[1], 2

    def read(self, sizes: Sequence[int], frequencies: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Decode bits ``[sum(sizes)]`` of groups, given the frequency of a 1 in each group."""
        words, span, offset, at, start = self._words, self._span, self._offset, self._at, 0
        bits = bytearray(sum(sizes))
        for size, frequency in zip(sizes, frequencies.tolist(), strict=True):
            _, zero, _ = _edges([2 * HALF - frequency, frequency])
            one = _SHARES - zero
            for gate in range(start, start + size):  # the hot loop: about 120 ns per gate
                scale = span >> _SHARE_BITS
                below = scale * zero
                if offset < below:
                    span = below
                else:
                    offset -= below
                    span = scale * one
                    bits[gate] = 1
                if span < _WORD:
                    offset, at = _next(words, at, span, offset), at + 1
                    span <<= 32
            start += size
        self._span, self._offset, self._at = span, offset, at
        return np.frombuffer(bits, dtype=np.uint8)

    def finish(self) -> None:
        """Raise a :class:`WireError` unless the last words are those that an encoder writes."""
        _finish(self._words, self._at, self._span, self._offset)


def decode_bits(data: bytes | memoryview, sizes: Sequence[int], frequencies: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Decode bits like :func:`fedgates.wire.range_coder.decode_bits`."""
    reader = BitReader(data)
    bits = reader.read(sizes, frequencies)
    reader.finish()
    return bits


def decode_symbols(data: bytes | memoryview, size: int, frequencies: NDArray[np.uint16]) -> NDArray[np.int32]:
    """Decode symbols like :func:`fedgates.wire.range_coder.decode_symbols`; an invalid code raises :class:`WireError`."""
    words, edges = _words(data), _edges(frequencies.tolist())
    span, offset, at = _STATE - 1, words[0] << 32 | words[1], 2
    symbols, last = list[int](), len(edges) - 2
    for _ in range(size):
        scale = span >> _SHARE_BITS
        symbol = min(bisect_right(edges, offset // scale) - 1, last)
        offset -= scale * edges[symbol]
        span = scale * (edges[symbol + 1] - edges[symbol])
        symbols.append(symbol)
        if span < _WORD:
            offset, at = _next(words, at, span, offset), at + 1
            span <<= 32
    _finish(words, at, span, offset)
    return np.array(symbols, dtype=np.int32)


def _edges(frequencies: Sequence[int]) -> list[int]:
    """Return ``C_0`` to ``C_n`` of FORMAT.md: the start of each symbol's share of 2^24, and the end of the last."""
    total, room, before, edges = sum(frequencies), _SHARES - len(frequencies), 0, list[int]()
    for symbol, frequency in enumerate(frequencies):
        edges.append(before * room // total + symbol)
        before += frequency
    return [*edges, _SHARES]


def _words(data: bytes | memoryview) -> memoryview:
    """Return the words of a code with a 0 appended, because a decoder reads two words ahead and the last may be missing."""
    if len(data) % 4:
        raise WireError(f"a range code of {len(data)} bytes, expected whole words of 4")
    words = np.append(np.frombuffer(data, dtype="<u4").astype(np.uint32), np.uint32(0))
    if len(words) == 1:
        raise WireError("the range code is shorter than its symbols need")
    return words.data


def _next(words: memoryview, at: int, span: int, offset: int) -> int:
    """Append the next word to the offset."""
    if offset >= span:
        raise WireError("the range code is damaged")
    if at == len(words):
        raise WireError("the range code is shorter than its symbols need")
    return offset << 32 | words[at]


def _finish(words: memoryview, at: int, span: int, offset: int) -> None:
    """Raise a :class:`WireError` unless the words are those that an encoder writes for the decoded symbols."""
    high, low = words[at - 2], words[at - 1]
    end = ((high << 32 | low) - offset + span) % _STATE
    left = len(words) - at  # including the appended 0
    if low or offset >= _WORD or left != (1 if end >> 32 == high else 0):
        raise WireError("the range code is not the one that its symbols encode to")
