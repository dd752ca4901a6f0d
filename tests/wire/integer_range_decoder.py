"""Range decoding in whole numbers, as :mod:`fedgates.wire.range_coder` states it, for the tests to hold constriction against.

Nothing is imported that computes: a decoder of the whole format can be built on this, and is then independent of ours.
"""

from bisect import bisect_right
from collections.abc import Sequence

PRECISION = 24
WORD, STATE = 1 << 32, 1 << 64


def edges(frequencies: Sequence[int], scale: int) -> list[int]:
    """Where each symbol's share of 2^24 begins, ``[n + 1]``: ``C_s = floor(F_s * (2^24 - n) / scale) + s``, then 2^24.

    A bit with the frequency f of a 1 has the frequencies ``[scale - f, f]``.
    """
    if sum(frequencies) != scale:
        raise ValueError(f"frequencies with the sum {sum(frequencies)}, expected {scale}")
    room = (1 << PRECISION) - len(frequencies)
    before = [sum(frequencies[:symbol]) for symbol in range(len(frequencies))]
    return [total * room // scale + symbol for symbol, total in enumerate(before)] + [1 << PRECISION]


class IntegerRangeDecoder:
    """Symbols from a range code: 64 bits of state, words of 32 bits, the most significant first; missing words are 0."""

    def __init__(self, data: bytes) -> None:
        if len(data) % 4:
            raise ValueError(f"{len(data)} bytes, expected whole words of 4")
        self._words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        self._next = 0
        self._lower, self._range, self._point = 0, STATE - 1, 0
        for _ in range(2):
            self._point = self._point * WORD + self._word()

    def symbol(self, shares: Sequence[int]) -> int:
        """The next symbol, given the :func:`edges` of all."""
        scale = self._range >> PRECISION
        quantile = (self._point - self._lower) % STATE // scale
        if quantile >= 1 << PRECISION:
            raise ValueError("the point lies outside of the range")
        found = bisect_right(shares, quantile) - 1
        self._lower = (self._lower + scale * shares[found]) % STATE
        self._range = scale * (shares[found + 1] - shares[found])
        if self._range < WORD:
            self._lower, self._range = self._lower * WORD % STATE, self._range * WORD
            self._point = (self._point * WORD + self._word()) % STATE
        return found

    def symbols(self, count: int, shares: Sequence[int]) -> list[int]:
        """The next `count` symbols."""
        return [self.symbol(shares) for _ in range(count)]

    def _word(self) -> int:
        self._next += 1
        return self._words[self._next - 1] if self._next <= len(self._words) else 0
