"""The 36 bytes that open every payload, and what they are checked for; FORMAT.md has the table."""

import struct
import zlib
from typing import NamedTuple

from fedgates.errors import WireError
from fedgates.wire.context import CodingContext

MAGIC = b"FGTS"
VERSION = 2
MASK, VOTES, VALUES, MASK_AND_VALUES, RELAY = 1, 2, 3, 4, 5
KINDS = {MASK: "mask", VOTES: "votes", VALUES: "values", MASK_AND_VALUES: "mask and values", RELAY: "relay"}
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
_HEADER = struct.Struct("<4sBBBBII8sII")
_CRC = struct.Struct("<I")
HEADER_SIZE = _HEADER.size + _CRC.size


class Header(NamedTuple):
    """The fields in front of a body."""

    magic: bytes
    version: int
    kind: int
    codec: int
    value_type: int
    """What each value is: 0 where there are none, 1 float32, 2 float16."""
    size: int
    """The number of gates d."""
    server_round: int
    """Of an update: the round it answers; of a state or a relay: the round that the state opens."""
    digest: bytes
    number: int
    """Ones of a mask (of an update, or of sparse weights), trials of votes, the base round of a relay; else zero."""
    check: int
    """CRC-32 of a mask, or of the state that a snapshot holds or a relay leads to; zero for an update of values alone.

    An update and a state of weights look alike but for this: which one a reader expects follows from the direction.
    """


def seal(kind: int, codec: int, value_type: int, shared: CodingContext, number: int, check: int, body: bytes) -> bytes:
    """A payload: header, checksum, body."""
    head = _HEADER.pack(MAGIC, VERSION, kind, codec, value_type, shared.size, shared.server_round, shared.digest, number, check)
    return head + _CRC.pack(zlib.crc32(body, zlib.crc32(head))) + body


def peek(data: bytes) -> Header:
    """The header of a payload, of which nothing is checked but that it is ours.

    Raises
    ------
    WireError
        Too short, another magic, or another version.
    """
    if len(data) < HEADER_SIZE:
        raise WireError(f"{len(data)} bytes, expected a header of {HEADER_SIZE}")
    header = Header(*_HEADER.unpack_from(data))
    if header.magic != MAGIC:
        raise WireError(f"magic {header.magic!r}, expected {MAGIC!r}")
    if header.version != VERSION:
        raise WireError(f"format version {header.version}, expected {VERSION}")
    return header


def unseal(data: bytes, shared: CodingContext, expected: tuple[tuple[int, int, int], ...]) -> tuple[Header, memoryview]:
    """Header and body of a whole, undamaged payload of this network and one of the `expected` (kind, codec, value type).

    Raises
    ------
    WireError
        Whatever it is instead.
    """
    header = peek(data)
    found = (header.kind, header.codec, header.value_type)
    if found not in expected:
        raise WireError(f"a payload of {_named(*found)}, expected {' or '.join(_named(*sort) for sort in expected)}")
    if header.size != shared.size:
        raise WireError(f"{header.size} gates, expected {shared.size}")
    if header.digest != shared.digest:
        raise WireError(f"network digest {header.digest.hex()}, expected {shared.digest.hex()}")
    body = memoryview(data)[HEADER_SIZE:]
    (crc,) = _CRC.unpack_from(data, _HEADER.size)
    if zlib.crc32(body, zlib.crc32(data[: _HEADER.size])) != crc:
        raise WireError("checksum does not match: the payload is damaged")
    return header, body


def describe(data: bytes) -> str:
    """What a payload says it is, in a few words, for a ledger: its kind, its codec, the type of its values."""
    header = peek(data)
    return _named(header.kind, header.codec, header.value_type)


def expect_length(body: memoryview, expected: int) -> None:
    """Raise :class:`WireError` where a body has not `expected` bytes."""
    if len(body) != expected:
        raise WireError(f"a body of {len(body)} bytes, expected {expected}")


def _named(kind: int, codec: int, value_type: int) -> str:
    words = [KINDS.get(kind, f"kind {kind}")]
    if codec != NONE:
        words.append(CODECS.get(codec, f"codec {codec}"))
    if value_type:
        words.append({1: "float32", 2: "float16"}.get(value_type, f"value type {value_type}"))
    return ", ".join(dict.fromkeys(words))
