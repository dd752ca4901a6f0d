"""A client's update as a payload, and back, checked in full."""

import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.types import Update, UpdateKind, count_ones, pack, unpack
from fedgates.wire import entropy, packed, sampled, side_info, values
from fedgates.wire.bits import packed_size, spare_bits
from fedgates.wire.context import CodingContext
from fedgates.wire.header import (
    CODEC_NUMBERS,
    ENTROPY,
    MASK,
    MASK_AND_VALUES,
    NONE,
    PACKED,
    SAMPLED,
    SIDE_INFO,
    VALUES,
    Header,
    seal,
    unseal,
)
from fedgates.wire.values import VALUE_TYPES

_KIND_NUMBERS = {"mask": MASK, "values": VALUES, "mask and values": MASK_AND_VALUES}


class _MaskCodec(NamedTuple):
    encode: Callable[[NDArray[np.uint8], CodingContext], bytes]
    decode: Callable[[memoryview, CodingContext], NDArray[np.uint8]]


_LOSSLESS = {
    PACKED: _MaskCodec(packed.encode, packed.decode),
    ENTROPY: _MaskCodec(entropy.encode, entropy.decode),
    SIDE_INFO: _MaskCodec(side_info.encode, side_info.decode),
}


def pack_update(
    update: Update, shared: CodingContext, uplink: str = "side-info", *, value_type: str = "float32", extra_bits: float = 5.0
) -> bytes:
    """Code a client's update.

    Parameters
    ----------
    update : Update
        A mask, or values, or both. ``sampled`` sends another sample of its ``theta`` than its mask.
    shared : Shared
        What the server knows, too: of the round that the update answers.
    uplink : str
        How the mask is coded: packed, entropy, side-info or sampled.
    value_type : str
        float32 or float16.
    extra_bits : float
        Of ``sampled``: bits a block beyond its KL divergence, from 0 to below 8.

    Raises
    ------
    ValueError
        The update has neither a mask nor values, their shapes do not fit the network, or it cannot be coded so.
    """
    size, number = shared.size, VALUE_TYPES[value_type]
    if update.mask is None:
        if update.values is None:
            raise ValueError("an update needs a mask, or values, or both")
        _expect_values(update.values, size)
        return seal(VALUES, NONE, number, shared, 0, 0, values.encode(update.values, number))
    if len(update.mask) != packed_size(size, 1) or spare_bits(update.mask, size):
        raise ValueError(f"a mask of {len(update.mask)} bytes, expected {packed_size(size, 1)} for {size} gates")
    codec, mask = CODEC_NUMBERS[uplink], update.mask
    if codec == SAMPLED:
        if update.theta is None or update.values is not None:
            raise ValueError("sampled: the update has no theta, or has values, so its mask cannot be chosen anew")
        if len(update.theta) != size or not np.isfinite(update.theta).all():
            raise ValueError(f"theta has {len(update.theta)} numbers, some perhaps not finite; expected {size} finite ones")
        gates, body = sampled.encode(update.theta, shared, extra_bits)
        mask = pack(gates.view(np.bool_))
    else:
        body = _LOSSLESS[codec].encode(unpack(mask, size), shared)
    ones, check = count_ones(mask), zlib.crc32(mask.data)
    if update.values is None:
        return seal(MASK, codec, 0, shared, ones, check, body)
    _expect_values(update.values, ones)
    return seal(MASK_AND_VALUES, codec, number, shared, ones, check, body + values.encode(update.values, number))


def unpack_update(
    data: bytes, shared: CodingContext, uplink: str = "side-info", kind: UpdateKind = "mask", *, value_type: str = "float32"
) -> Update:
    """Decode a client's update.

    Parameters
    ----------
    data : bytes
        A whole payload.
    shared, uplink, value_type
        What it was coded with.
    kind : str
        What the method's updates are: "mask", "values" or "mask and values".

    Raises
    ------
    WireError
        Anything else than a whole, sound update of that network, for that round, of that sort.
    """
    header, body = unseal(data, shared, (sort_of(kind, uplink, value_type),))
    if header.server_round != shared.server_round:
        raise WireError(f"round {header.server_round}, expected {shared.server_round}")
    return read_body(header, body, shared)


def sort_of(kind: UpdateKind, uplink: str, value_type: str) -> tuple[int, int, int]:
    """Kind, codec and value type, as their numbers in a header, of a method's updates.

    Raises
    ------
    ValueError
        ``sampled`` for updates with values.
    """
    number = _KIND_NUMBERS[kind]
    if number == MASK_AND_VALUES and uplink == "sampled":
        raise ValueError("sampled: a mask that is chosen anew has no values")
    codec = NONE if number == VALUES else CODEC_NUMBERS[uplink]
    return number, codec, 0 if number == MASK else VALUE_TYPES[value_type]


def read_body(header: Header, body: memoryview, shared: CodingContext) -> Update:
    """The update behind a checked header.

    Raises
    ------
    WireError
        The body is not a sound one.
    """
    size = shared.size
    if header.kind == VALUES:
        if header.number or header.check:
            raise WireError(f"values with {header.number} ones and check {header.check:08x} in their header, expected 0")
        return Update(mask=None, values=values.decode(body, size, header.value_type))
    if header.number > size:
        raise WireError(f"a mask with {header.number} ones in {size} gates")
    tail = header.number * values.width(header.value_type) if header.value_type else 0
    if tail > len(body):
        raise WireError(f"a body of {len(body)} bytes, expected at least {tail} for the values")
    split = len(body) - tail
    decode = sampled.decode if header.codec == SAMPLED else _LOSSLESS[header.codec].decode
    mask = pack(decode(body[:split], shared).view(np.bool_))
    if count_ones(mask) != header.number:
        raise WireError(f"the mask has {count_ones(mask)} ones, its header says {header.number}")
    if zlib.crc32(mask.data) != header.check:
        raise WireError("the mask is not the one that was sent: sender and reader do not hold the same state")
    if not header.value_type:
        return Update(mask=mask)
    return Update(mask=mask, values=values.decode(body[split:], header.number, header.value_type))


def _expect_values(found: NDArray[np.float32], expected: int) -> None:
    if len(found) != expected:
        raise ValueError(f"{len(found)} values, expected {expected}: one for each of the mask's ones, or for each gate")
