"""The header of 36 bytes at the start of every payload, and its validation; FORMAT.md has the table."""

import struct
import zlib
from typing import NamedTuple

from fedgates.errors import WireError
from fedgates.wire.context import CodingContext

MAGIC = b"FGTS"
VERSION = 2
MASK, VOTES, VALUES, MASK_AND_VALUES, RELAY, MASK_AND_TAIL, VOTES_AND_TAIL, SUMS, DELTA = range(1, 10)
KINDS = {
    MASK: "mask",
    VOTES: "votes",
    VALUES: "values",
    MASK_AND_VALUES: "mask and values",
    RELAY: "relay",
    MASK_AND_TAIL: "mask and tail",
    VOTES_AND_TAIL: "votes and tail",
    SUMS: "sums",
    DELTA: "delta",
}
NONE, PACKED, ENTROPY, SIDE_INFO, SAMPLED, COUNTS, FLOAT32 = range(7)
CODECS = {
    NONE: "none",
    PACKED: "packed",
    ENTROPY: "entropy",
    SIDE_INFO: "side-info",
    SAMPLED: "sampled",
    COUNTS: "votes",
    FLOAT32: "float32",
}
CODEC_NUMBERS = {name: number for number, name in CODECS.items()}
NO_VALUES, VALUES_FLOAT32, VALUES_FLOAT16, VALUES_FLOAT64 = range(4)
VALUE_TYPES = {NO_VALUES: "no values", VALUES_FLOAT32: "float32", VALUES_FLOAT16: "float16", VALUES_FLOAT64: "float64"}
_HEADER = struct.Struct("<4sBBBBII8sII")
_CRC = struct.Struct("<I")
HEADER_SIZE = _HEADER.size + _CRC.size


class Header(NamedTuple):
    """Fields of a payload's header."""

    magic: bytes
    version: int
    kind: int
    codec: int
    value_type: int
    """Type of the values, a key of :data:`VALUE_TYPES`."""
    size: int
    """Number of gates d."""
    server_round: int
    """For an update or sums, the round of the request; for a state, a relay or a delta, the round that the state opens."""
    digest: bytes
    number: int
    """Number of ones of a mask (of an update or sparse weights), trials of votes, base round of a relay or delta, kind of sums;
    otherwise 0."""
    check: int
    """CRC-32 of a mask, or of the state of a snapshot, relay or delta; 0 for an update of values only, and for sums.

    No other field distinguishes an update from a state of weights; a reader knows from the direction which of them to expect.
    """


def seal(kind: int, codec: int, value_type: int, context: CodingContext, number: int, check: int, body: bytes) -> bytes:
    """Build a payload from header, checksum and body."""
    head = _HEADER.pack(
        MAGIC, VERSION, kind, codec, value_type, context.size, context.server_round, context.digest, number, check
    )
    return head + _CRC.pack(zlib.crc32(body, zlib.crc32(head))) + body


def peek(data: bytes) -> Header:
    """Read the header of a payload; only its length, magic and version are checked.

    Raises
    ------
    WireError
        The payload is too short, or has another magic or version.
    """
    if len(data) < HEADER_SIZE:
        raise WireError(f"{len(data)} bytes, expected a header of {HEADER_SIZE}")
    header = Header(*_HEADER.unpack_from(data))
    if header.magic != MAGIC:
        raise WireError(f"magic {header.magic!r}, expected {MAGIC!r}")
    if header.version != VERSION:
        raise WireError(f"format version {header.version}, expected {VERSION}")
    return header


def unseal(data: bytes, context: CodingContext, expected: tuple[tuple[int, int, int], ...]) -> tuple[Header, memoryview]:
    """Check a payload and return its header and body; `expected` are the accepted (kind, codec, value type).

    Raises
    ------
    WireError
        The payload is of another type or network, or its checksum does not match.
    """
    header = peek(data)
    found = (header.kind, header.codec, header.value_type)
    if found not in expected:
        raise WireError(f"a payload of {_named(*found)}, expected {' or '.join(_named(*each) for each in expected)}")
    if header.size != context.size:
        raise WireError(f"{header.size} gates, expected {context.size}")
    if header.digest != context.digest:
        raise WireError(f"network digest {header.digest.hex()}, expected {context.digest.hex()}")
    body = memoryview(data)[HEADER_SIZE:]
    (crc,) = _CRC.unpack_from(data, _HEADER.size)
    if zlib.crc32(body, zlib.crc32(data[: _HEADER.size])) != crc:
        raise WireError("checksum does not match: the payload is damaged")
    return header, body


def describe(data: bytes) -> str:
    """Describe a payload by its kind, codec and value type, such as "mask, side-info", for logs.

    Raises
    ------
    WireError
        The payload is too short, or has another magic or version.
    """
    header = peek(data)
    return _named(header.kind, header.codec, header.value_type)


def expect_length(body: memoryview, expected: int) -> None:
    """Raise a :class:`WireError` unless a body has `expected` bytes."""
    if len(body) != expected:
        raise WireError(f"a body of {len(body)} bytes, expected {expected}")


def _named(kind: int, codec: int, value_type: int) -> str:
    words = [KINDS.get(kind, f"kind {kind}")]
    if codec != NONE:
        words.append(CODECS.get(codec, f"codec {codec}"))
    if value_type != NO_VALUES:
        words.append(VALUE_TYPES.get(value_type, f"value type {value_type}"))
    return ", ".join(dict.fromkeys(words))
