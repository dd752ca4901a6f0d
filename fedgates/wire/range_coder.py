"""Range coding by constriction with integer probabilities, so that every machine writes the same words.

Probabilities are multiples of 2^-16 (bits) or 2^-15 (symbols), so constriction's arithmetic on them is exact. For n symbols
with integer frequencies f that sum to 2^b, symbol s has the share ``[C_s, C_{s+1})`` of 2^24, with
``C_s = floor(F_s * (2^24 - n) / 2^b) + s`` and ``F_s = f_0 + ... + f_{s-1}``. No share is empty, so every symbol can be coded.

A reader encodes the decoded symbols again and rejects a code with different bytes (FORMAT.md states an equal rule without an
encoder). Without constriction, decoding is ten times slower (:mod:`fedgates.wire.plain_range_decoder`), and encoding is not
possible.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.wire import plain_range_decoder
from fedgates.wire.bits import packed_size
from fedgates.wire.scale import FREQUENCIES

try:
    import constriction
except ImportError:  # loading a model file needs only torch and NumPy
    constriction = None

BIT_SCALE, SYMBOL_SCALE = 1 << 16, 1 << 15


def longest(size: int, bits: int = 1) -> int:
    """Return an upper bound for the bytes of a range code of `size` symbols with at most `bits` bits each."""
    packed = packed_size(size, bits)
    return packed + packed // 256 + 64


def read_table(data: memoryview) -> NDArray[np.uint8]:
    """Read a table of frequency bytes (:data:`fedgates.wire.scale.FREQUENCIES`); any other byte raises :class:`WireError`."""
    table = np.frombuffer(data, dtype=np.uint8)
    if len(table) and int(table.max()) >= len(FREQUENCIES):
        raise WireError(f"a frequency's byte is {int(table.max())}, expected at most {len(FREQUENCIES) - 1}")
    return table


class BitWriter:
    """Encoder of groups of bits as one range code."""

    def __init__(self) -> None:
        self._encoder = _encoder()

    def write(self, bits: NDArray[np.uint8], sizes: Sequence[int], frequencies: NDArray[np.int64]) -> None:
        """Encode bits ``[sum(sizes)]`` of groups, given the frequency of a 1 in each group."""
        start = 0
        for size, frequency in zip(sizes, frequencies.tolist(), strict=True):
            self._encoder.encode(bits[start : start + size].astype(np.int32), _bernoulli(frequency))
            start += size

    def finish(self) -> bytes:
        """Return the code, which consists of words of four bytes."""
        return _bytes(self._encoder)


class BitReader(Protocol):
    """Decoder of the range code of a :class:`BitWriter`."""

    def read(self, sizes: Sequence[int], frequencies: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Decode bits ``[sum(sizes)]``; raise a :class:`WireError` if the code is damaged."""

    def finish(self) -> None:
        """Raise a :class:`WireError` unless encoding the decoded bits gives this code."""


def bit_reader(data: bytes | memoryview) -> BitReader:
    """Return a reader for a range code of bits; data that are not whole words raise :class:`WireError`."""
    return plain_range_decoder.BitReader(data) if constriction is None else _BitReader(data)


class _BitReader:
    """Decoder that uses constriction, and encodes the decoded bits again to validate the code."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data, self._decoder, self._again = data, _decoder(data), _encoder()

    def read(self, sizes: Sequence[int], frequencies: NDArray[np.int64]) -> NDArray[np.uint8]:
        bits, start = np.empty(sum(sizes), dtype=np.uint8), 0
        try:
            for size, frequency in zip(sizes, frequencies.tolist(), strict=True):
                model = _bernoulli(frequency)
                symbols = self._decoder.decode(model, size)
                self._again.encode(symbols, model)
                bits[start : start + size] = symbols
                start += size
        except (AssertionError, ValueError) as error:
            raise WireError("the range code is damaged") from error
        return bits

    def finish(self) -> None:
        if _bytes(self._again) != bytes(self._data):
            raise WireError("the range code is not the one that its gates encode to")


def encode_bits(bits: NDArray[np.uint8], sizes: Sequence[int], frequencies: NDArray[np.int64]) -> bytes:
    """Encode bits ``[sum(sizes)]`` of groups, given the frequency of a 1 in each group, as words of four bytes."""
    writer = BitWriter()
    writer.write(bits, sizes, frequencies)
    return writer.finish()


def decode_bits(data: bytes | memoryview, sizes: Sequence[int], frequencies: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Decode the output of :func:`encode_bits`; any other data raise :class:`WireError`."""
    reader = bit_reader(data)
    bits = reader.read(sizes, frequencies)
    reader.finish()
    return bits


def symbol_frequencies(counts: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Scale counts ``[n]`` to frequencies ``[n]`` that sum to 2^15, at least 1 where a count is above 0."""
    present = counts > 0
    shares = present + counts * (SYMBOL_SCALE - np.count_nonzero(present)) // max(int(counts.sum()), 1)
    shares[np.argmax(shares)] += SYMBOL_SCALE - shares.sum()
    return shares.astype(np.uint16)


def encode_symbols(symbols: NDArray[np.int32], frequencies: NDArray[np.uint16]) -> bytes:
    """Encode symbols ``[d]`` from 0 to n - 1, for n of at least 2, as words of four bytes."""
    encoder = _encoder()
    encoder.encode(symbols, _categorical(frequencies))
    return _bytes(encoder)


def decode_symbols(data: bytes | memoryview, size: int, frequencies: NDArray[np.uint16]) -> NDArray[np.int32]:
    """Decode the output of :func:`encode_symbols`; any other data raise :class:`WireError`."""
    if constriction is None:
        return plain_range_decoder.decode_symbols(data, size, frequencies)
    decoder = _decoder(data)
    try:
        symbols: NDArray[np.int32] = decoder.decode(_categorical(frequencies), size)
    except (AssertionError, ValueError) as error:
        raise WireError("the range code is damaged") from error
    if encode_symbols(symbols, frequencies) != bytes(data):
        raise WireError("the range code is not the one that its symbols encode to")
    return symbols


def _bernoulli(frequency: int) -> Any:  # noqa: ANN401  # constriction has no types
    return constriction.stream.model.Bernoulli(frequency / BIT_SCALE, perfect=False)


def _categorical(frequencies: NDArray[np.uint16]) -> Any:  # noqa: ANN401
    return constriction.stream.model.Categorical(frequencies / SYMBOL_SCALE, perfect=False)


def _encoder() -> Any:  # noqa: ANN401
    if constriction is None:
        raise ModuleNotFoundError("encoding needs the package constriction, which is not installed; decoding does not")
    return constriction.stream.queue.RangeEncoder()


def _bytes(encoder: Any) -> bytes:  # noqa: ANN401
    words: NDArray[np.uint32] = encoder.get_compressed()
    return words.astype("<u4").tobytes()


def _decoder(data: bytes | memoryview) -> Any:  # noqa: ANN401
    if len(data) % 4:
        raise WireError(f"a range code of {len(data)} bytes, expected whole words of 4")
    return constriction.stream.queue.RangeDecoder(np.frombuffer(data, dtype="<u4").astype(np.uint32))
