"""How payloads are damaged on purpose: with a checksum that fits, so that only what a body says can give it away."""

import struct
import tracemalloc
import zlib

from wire_cases import Case, expect_valid

from fedgates.errors import WireError
from fedgates.wire.header import HEADER_SIZE

FIELDS = {"magic": (0, 4), "version": (4, 1), "kind": (5, 1), "codec": (6, 1), "value_type": (7, 1), "size": (8, 4)}
FIELDS |= {"server_round": (12, 4), "digest": (16, 8), "number": (24, 4), "check": (28, 4)}
"""Where each field of a header begins, and its length."""
_CRC = 32


def resealed(payload: bytes) -> bytes:
    """The same payload with the checksum that it ought to have."""
    if len(payload) < HEADER_SIZE:
        return payload
    crc = zlib.crc32(payload[HEADER_SIZE:], zlib.crc32(payload[:_CRC]))
    return payload[:_CRC] + struct.pack("<I", crc) + payload[HEADER_SIZE:]


def with_field(payload: bytes, name: str, value: int | bytes) -> bytes:
    """The payload with another value in its header, resealed."""
    start, length = FIELDS[name]
    raw = value if isinstance(value, bytes) else value.to_bytes(length, "little")
    return resealed(payload[:start] + raw + payload[start + length :])


def with_body(payload: bytes, body: bytes, **fields: int) -> bytes:
    """The payload with another body and other fields, resealed."""
    changed = payload[:HEADER_SIZE] + body
    for name, value in fields.items():
        changed = with_field(changed, name, value)
    return resealed(changed)


def refused(case: Case, payload: bytes) -> str:
    """Why it is refused, in one line; empty where it is let through, and then it is valid."""
    try:
        found = case.read(payload)
    except WireError as error:
        reason = str(error)
    else:
        reason = ""
        expect_valid(case, found)
    assert reason.splitlines() == [reason][: bool(reason)]
    return reason


def peak_memory(case: Case, payload: bytes) -> int:
    """The most bytes that reading a payload holds at once, as far as Python's allocator sees them."""
    refused(case, payload)  # once before, for what Python itself keeps
    tracemalloc.start()
    try:
        refused(case, payload)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
