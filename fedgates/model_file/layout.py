"""Layout of a model file: join, split and validate its sections."""

import struct
import zlib
from pathlib import Path

from fedgates.errors import ModelFileError

MAGIC, VERSION = b"FGMD", 4
_OPENING = struct.Struct("<4sHI")
"""Magic, version, length of the facts."""
_LENGTH = struct.Struct("<I")
LONGEST_FACTS = 1 << 20
"""Largest size of the facts in bytes, both compressed and uncompressed."""
_PART = 1 << 20
"""Bytes per read; Python allocates the requested size even if the file is shorter."""
_BYTES_A_GATE = 16
"""Upper bound on the bytes per parameter: a weight, its bit in the mask, and its share of tables and statistics."""


def join(facts: bytes, statistics: bytes, payload: bytes) -> bytes:
    """Return the bytes of a file with the given sections."""
    packed = zlib.compress(facts, 9)
    opening = _OPENING.pack(MAGIC, VERSION, len(packed))
    whole = b"".join([opening, packed, _LENGTH.pack(len(statistics)), statistics, payload])
    return whole + _LENGTH.pack(zlib.crc32(whole))


def split(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the facts, the statistics and the payload of a complete file.

    Raises
    ------
    ModelFileError
        The file has another version, is damaged, or has inconsistent lengths.
    """
    _expect_opening(data)
    body, checksum = data[: -_LENGTH.size], _LENGTH.unpack(data[-_LENGTH.size :])[0]
    if len(data) < _OPENING.size + 2 * _LENGTH.size or zlib.crc32(body) != checksum:
        raise ModelFileError("damaged, or cut short: its checksum does not match")
    packed, rest = _section("facts", body, _OPENING.size, _OPENING.unpack_from(data)[2], LONGEST_FACTS)
    if rest + _LENGTH.size > len(body):
        raise ModelFileError("it ends before its statistics")
    statistics, rest = _section("statistics", body, rest + _LENGTH.size, _LENGTH.unpack_from(body, rest)[0], len(body))
    try:
        stream = zlib.decompressobj()
        facts = stream.decompress(packed, LONGEST_FACTS)
        whole = stream.eof and not stream.unused_data
    except zlib.error:
        whole = False
    if not whole:
        raise ModelFileError("its facts are not valid")
    return facts, statistics, body[rest:]


def read_bytes(path: str | Path, max_gates: int) -> bytes:
    """Read a file, but not more bytes than a model with `max_gates` parameters can have.

    Raises
    ------
    ModelFileError
        The file cannot be read, is not a model file, or is too long.
    """
    most = 2 * LONGEST_FACTS + _BYTES_A_GATE * max_gates
    try:
        with Path(path).expanduser().open("rb") as file:
            opening = file.read(_OPENING.size)
            _expect_opening(opening)
            parts, length = [opening], len(opening)
            while length <= most and (part := file.read(_PART)):
                parts.append(part)
                length += len(part)
        data = b"".join(parts)
    except OSError as error:
        raise ModelFileError(error.strerror or str(error)) from None
    except (RuntimeError, MemoryError) as error:  # ~ of an unknown user; not enough memory
        raise ModelFileError(str(error) or "it does not fit into memory") from None
    if len(data) > most:
        raise ModelFileError(f"more than {most:,} bytes, the most for {max_gates:,} parameters (max_gates, or --max-gates)")
    return data


def _expect_opening(data: bytes) -> None:
    if data[: len(MAGIC)] != MAGIC:
        raise ModelFileError(f"not a model file of fedgates (it begins with {data[: len(MAGIC)]!r}, expected {MAGIC!r})")
    if len(data) < _OPENING.size:
        raise ModelFileError("cut short")
    _, version, _ = _OPENING.unpack_from(data)
    if version > VERSION:
        raise ModelFileError(f"model file version {version}, expected {VERSION}: load it with a newer fedgates")
    if version != VERSION:
        raise ModelFileError(f"model file version {version}, expected {VERSION}")


def _section(name: str, body: bytes, start: int, length: int, most: int) -> tuple[bytes, int]:
    """Return the section that begins at `start`, and its end."""
    if length > most:
        raise ModelFileError(f"{name} of {length:,} bytes, expected at most {most:,}")
    if start + length > len(body):
        raise ModelFileError(f"{name} of {length:,} bytes, in a file of {len(body) + _LENGTH.size:,}")
    return body[start : start + length], start + length
