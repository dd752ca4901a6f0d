"""Codecs of a server's votes: range-coded integers, or float32.

Body of the codec "votes", with ``s = max(0, bit_length(trials) - 12)``: the frequencies of the symbols 0 to ``trials >> s``,
u16 in 2^-15; ``s`` planes with the low bits of all votes (:mod:`fedgates.wire.bits`); the range code of ``votes >> s``. The
body is empty if trials is 0.

Body of the codec "float32": ``votes / trials`` as d float32, as in the literature. A reader rounds ``trials`` times each number
to the nearest integer.
"""

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.wire.bits import pack_integers, packed_size, spare_bits, unpack_integers, width
from fedgates.wire.header import expect_length
from fedgates.wire.range_coder import SYMBOL_SCALE, decode_symbols, encode_symbols, longest, symbol_frequencies

_SYMBOL_BITS = 12
_MOST_FLOAT_TRIALS = 1 << 23
"""Largest number of trials for which different shares are always different in float32."""


def encode(votes: NDArray[np.uint32], trials: int) -> bytes:
    """Encode votes ``[d]``, each at most `trials`, as a table, low bits and a range code."""
    if not trials:
        return b""
    low = _low_bits(trials)
    symbols = (votes >> np.uint32(low)).astype(np.int32)
    frequencies = symbol_frequencies(np.bincount(symbols, minlength=(trials >> low) + 1))
    return frequencies.astype("<u2").tobytes() + pack_integers(votes, low) + encode_symbols(symbols, frequencies)


def decode(body: memoryview, size: int, trials: int) -> NDArray[np.uint32]:
    """Decode the body of :func:`encode`.

    Raises
    ------
    WireError
        The body was not written by :func:`encode`.
    """
    if not trials:
        expect_length(body, 0)
        return np.zeros(size, dtype=np.uint32)
    low = _low_bits(trials)
    count = (trials >> low) + 1
    planes = 2 * count + packed_size(size, low)
    most = planes + longest(size, SYMBOL_SCALE.bit_length() - 1)
    if not planes <= len(body) <= most:
        raise WireError(f"a body of {len(body)} bytes, expected {planes} to {most}")
    frequencies = np.frombuffer(body[: 2 * count], dtype="<u2")
    if frequencies.sum(dtype=np.int64) != SYMBOL_SCALE:
        raise WireError(f"frequencies with the sum {frequencies.sum(dtype=np.int64)}, expected {SYMBOL_SCALE}")
    symbols = decode_symbols(body[planes:], size, frequencies)
    if (frequencies != symbol_frequencies(np.bincount(symbols, minlength=count))).any():
        raise WireError("the frequencies do not match the decoded votes")
    votes = symbols.astype(np.uint32) << np.uint32(low)
    if low:
        votes |= unpack_integers(body[2 * count : planes], size, low)
        if spare_bits(body[2 * count : planes], size, low):
            raise WireError("bits beyond the last gate are not zero")
    return _checked(votes, trials)


def encode_float32(votes: NDArray[np.uint32], trials: int) -> bytes:
    """Encode votes ``[d]`` as their shares of the trials, float32.

    Raises
    ------
    ValueError
        There are more than 2^23 trials, for which different shares may be equal in float32.
    """
    if trials > _MOST_FLOAT_TRIALS:
        raise ValueError(f"{trials} trials, expected at most {_MOST_FLOAT_TRIALS} for float32")
    return _shares(votes, trials).astype("<f4").tobytes()


def decode_float32(body: memoryview, size: int, trials: int) -> NDArray[np.uint32]:
    """Decode the body of :func:`encode_float32`.

    Raises
    ------
    WireError
        The body was not written by :func:`encode_float32`.
    """
    expect_length(body, 4 * size)
    if trials > _MOST_FLOAT_TRIALS:
        raise WireError(f"{trials} trials, expected at most {_MOST_FLOAT_TRIALS} for float32")
    shares = np.frombuffer(body, dtype="<f4").astype(np.float32)
    if not ((shares >= 0) & (shares <= 1)).all():
        raise WireError("a share outside 0 to 1")
    votes = np.rint(shares.astype(np.float64) * trials).astype(np.uint32)
    if (_shares(votes, trials).view(np.uint32) != shares.view(np.uint32)).any():
        raise WireError(f"a share is not a whole number of votes of {trials} trials")
    return votes


def _checked(votes: NDArray[np.uint32], trials: int) -> NDArray[np.uint32]:
    if len(votes) and int(votes.max()) > trials:
        raise WireError(f"a gate has {int(votes.max())} votes of {trials} trials")
    return votes


def _low_bits(trials: int) -> int:
    return max(0, width(trials) - _SYMBOL_BITS)


def _shares(votes: NDArray[np.uint32], trials: int) -> NDArray[np.float32]:
    shares: NDArray[np.float32] = (votes / max(trials, 1)).astype(np.float32)
    return shares
