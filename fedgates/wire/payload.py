"""The payload: a header of 32 bytes, then a body whose length the header fixes.

======  =====  ===========================================================================================
offset  bytes  field (integers are unsigned, little endian)
======  =====  ===========================================================================================
0       4      magic, ``b"FGTS"``
4       1      version, 1
5       1      kind: 1 mask, 2 votes, 3 dense float32 values, 4 mask and the float32 values at its ones
6       2      zero
8       4      d, the number of gates
12      4      round: the server's round that this belongs to
16      8      digest of the network both ends hold (layout, weight scale, frozen weights)
24      4      trials (votes), or the number of ones (mask, mask with values), or zero
28      4      CRC-32 of bytes 0 to 27 and the body
======  =====  ===========================================================================================

Bodies: *mask* is ``ceil(d/8)`` bytes, bit i being bit ``i % 8`` of byte ``i // 8``. *Votes* are ``bit_length(trials)``
planes of ``ceil(d/8)`` bytes, lowest bit first; each count is at most trials. *Values* are d float32. *Mask and values* is a
mask, then one float32 for each of its ones, in order. Spare bits are zero and floats are finite.

A reader knows d, digest and round beforehand, so it knows the body's length from the kind and one small integer, and checks
everything here before it allocates anything of that length. Any fault is a :class:`WireError`.
"""

import struct
import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedgates.state import State, Update, UpdateKind, Votes, Weights, count_ones
from fedgates.wire.bits import pack_integers, packed_size, unpack_integers, width

MAGIC = b"FGTS"
VERSION = 1
MASK, VOTES, VALUES, MASK_AND_VALUES = 1, 2, 3, 4
_KINDS = {MASK: "mask", VOTES: "votes", VALUES: "values", MASK_AND_VALUES: "mask and values"}
_KIND_NUMBERS = {name: number for number, name in _KINDS.items()}
_HEADER = struct.Struct("<4sBBHII8sI")
_CRC = struct.Struct("<I")
HEADER_SIZE = _HEADER.size + _CRC.size


class WireError(ValueError):
    """A payload that is not what this reader expects; the message says what is wrong with it."""


class _Header(NamedTuple):
    magic: bytes
    version: int
    kind: int
    zero: int
    size: int
    server_round: int
    digest: bytes
    number: int
    """Trials, or the number of ones."""


def pack_state(state: State, server_round: int, digest: bytes) -> bytes:
    """Code a server's state for the clients of a round."""
    if isinstance(state, Votes):
        body = pack_integers(state.votes, width(state.trials))
        return _seal(VOTES, state.size, server_round, digest, state.trials, body)
    return _seal(VALUES, state.size, server_round, digest, 0, state.values.astype("<f4").tobytes())


def pack_update(update: Update, size: int, server_round: int, digest: bytes) -> bytes:
    """Code a client's update of `size` gates; the inverse of :func:`unpack_update`.

    Raises
    ------
    ValueError
        The update has neither a mask nor values, or their shapes do not fit `size`.
    """
    if update.mask is not None and (len(update.mask) != packed_size(size, 1) or _spare_bits(update.mask, size)):
        raise ValueError(f"a mask of {len(update.mask)} bytes, expected {packed_size(size, 1)} for {size} gates")
    ones = size if update.mask is None else count_ones(update.mask)
    if update.values is None:
        if update.mask is None:
            raise ValueError("an update needs a mask, or values, or both")
        return _seal(MASK, size, server_round, digest, ones, update.mask.tobytes())
    if len(update.values) != ones:
        raise ValueError(f"{len(update.values)} values, expected one for each of {ones} ones of the mask")
    values = update.values.astype("<f4").tobytes()
    if update.mask is None:
        return _seal(VALUES, size, server_round, digest, 0, values)
    return _seal(MASK_AND_VALUES, size, server_round, digest, ones, update.mask.tobytes() + values)


def unpack_state(data: bytes, size: int, digest: bytes) -> tuple[State, int]:
    """Decode a state and the round it opens.

    Parameters
    ----------
    data : bytes
        A whole payload.
    size, digest
        What this end's own network has.

    Raises
    ------
    WireError
        Anything else than a whole, sound state of that network.
    """
    header, body = _open(data, size, digest, (VOTES, VALUES))
    if header.kind == VALUES:
        return Weights(_floats(body)), header.server_round
    bits = width(header.number)
    votes = unpack_integers(body, size, bits)
    if _spare_planes(body, size, bits):
        raise WireError("bits beyond the last gate are not zero")
    if size and int(votes.max()) > header.number:
        raise WireError(f"a gate has {int(votes.max())} votes of {header.number} trials")
    return Votes(votes, header.number), header.server_round


def unpack_update(data: bytes, size: int, digest: bytes, server_round: int, kind: UpdateKind = "mask") -> Update:
    """Decode a client's update, checked in full.

    Parameters
    ----------
    data : bytes
        A whole payload.
    size, digest, server_round
        What this end's own network and round are.
    kind : str
        What the method's updates are: "mask", "values" or "mask and values".

    Raises
    ------
    WireError
        Anything else than a whole, sound update of that network, for that round, of that sort.
    """
    header, body = _open(data, size, digest, (_KIND_NUMBERS[kind],))
    if header.server_round != server_round:
        raise WireError(f"round {header.server_round}, expected {server_round}")
    if header.kind == VALUES:
        return Update(mask=None, values=_floats(body))
    mask_bytes = packed_size(size, 1)
    mask = np.frombuffer(body[:mask_bytes], dtype=np.uint8)
    if _spare_bits(mask, size):
        raise WireError("bits beyond the last gate are not zero")
    if count_ones(mask) != header.number:
        raise WireError(f"the mask has {count_ones(mask)} ones, its header says {header.number}")
    return Update(mask=mask, values=_floats(body[mask_bytes:]) if header.kind == MASK_AND_VALUES else None)


def _seal(kind: int, size: int, server_round: int, digest: bytes, count: int, body: bytes) -> bytes:
    head = _HEADER.pack(MAGIC, VERSION, kind, 0, size, server_round, digest, count)
    return head + _CRC.pack(zlib.crc32(body, zlib.crc32(head))) + body


def _open(data: bytes, size: int, digest: bytes, kinds: tuple[int, ...]) -> tuple[_Header, memoryview]:
    if len(data) < HEADER_SIZE:
        raise WireError(f"{len(data)} bytes, expected a header of {HEADER_SIZE}")
    header = _Header(*_HEADER.unpack_from(data))
    if header.magic != MAGIC:
        raise WireError(f"magic {header.magic!r}, expected {MAGIC!r}")
    if header.version != VERSION or header.zero:
        raise WireError(f"format version {header.version}.{header.zero}, expected {VERSION}.0")
    if header.kind not in kinds:
        expected = " or ".join(_KINDS[kind] for kind in kinds)
        raise WireError(f"a payload of kind {_KINDS.get(header.kind, header.kind)}, expected {expected}")
    if header.size != size:
        raise WireError(f"{header.size} gates, expected {size}")
    if header.digest != digest:
        raise WireError(f"network digest {header.digest.hex()}, expected {digest.hex()}")
    body = memoryview(data)[HEADER_SIZE:]
    _expect_length(body, _body_size(header))
    (crc,) = _CRC.unpack_from(data, _HEADER.size)
    if zlib.crc32(body, zlib.crc32(data[: _HEADER.size])) != crc:
        raise WireError("checksum does not match: the payload is damaged")
    return header, body


def _body_size(header: _Header) -> int:
    if header.kind == VOTES:
        return packed_size(header.size, width(header.number))
    if header.kind == VALUES:
        if header.number:
            raise WireError(f"values with the number {header.number} in their header, expected 0")
        return 4 * header.size
    if header.number > header.size:
        raise WireError(f"a mask with {header.number} ones in {header.size} gates")
    return packed_size(header.size, 1) + (4 * header.number if header.kind == MASK_AND_VALUES else 0)


def _expect_length(body: memoryview, expected: int) -> None:
    if len(body) != expected:
        raise WireError(f"a body of {len(body)} bytes, expected {expected}")


def _floats(body: memoryview) -> NDArray[np.float32]:
    values = np.frombuffer(body, dtype="<f4").astype(np.float32)
    if not np.isfinite(values).all():
        raise WireError("a value is not finite")
    return values


def _spare_bits(mask: NDArray[np.uint8], size: int) -> bool:
    return bool(size % 8 and mask[-1] >> (size % 8))


def _spare_planes(body: memoryview, size: int, bits: int) -> bool:
    stride = packed_size(size, 1)
    return any(size % 8 and body[(b + 1) * stride - 1] >> (size % 8) for b in range(bits))
