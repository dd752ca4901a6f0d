"""Encoding of a client's update as a payload, and validated decoding."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
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
    MASK_AND_TAIL,
    MASK_AND_VALUES,
    NO_VALUES,
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

_KIND_NUMBERS = {"mask": MASK, "values": VALUES, "mask and values": MASK_AND_VALUES, "mask and tail": MASK_AND_TAIL}


class _MaskCodec(NamedTuple):
    encode: Callable[[NDArray[np.uint8], CodingContext], bytes]
    decode: Callable[[memoryview, CodingContext], NDArray[np.uint8]]


_LOSSLESS = {
    PACKED: _MaskCodec(packed.encode, packed.decode),
    ENTROPY: _MaskCodec(entropy.encode, entropy.decode),
    SIDE_INFO: _MaskCodec(side_info.encode, side_info.decode),
}


def pack_update(
    update: Update, context: CodingContext, uplink: str = "side-info", *, value_type: str = "float32", extra_bits: float = 5.0
) -> bytes:
    """Encode a client's update.

    Parameters
    ----------
    update : Update
        A mask, values, a mask and values, or a mask and a tail of ``context.tail`` values. The codec ``sampled`` sends a new
        sample of its ``theta`` instead of its mask.
    context : CodingContext
        Knowledge about the round that the server shares.
    uplink : str
        Codec of the mask: packed, entropy, side-info or sampled.
    value_type : str
        Type of the values or the tail: float32 or float16.
    extra_bits : float
        For ``sampled``: bits per block beyond its KL divergence, from 0 to 7.5.

    Raises
    ------
    ValueError
        The update has neither a mask nor values, their shapes do not fit the network, the codec does not support the update,
        the tail does not have ``context.tail`` values, or there are both a tail and values.
    """
    size, number = context.size, VALUE_TYPES[value_type]
    _expect_tail(update, context.tail)
    if update.mask is None:
        if update.values is None:
            raise ValueError("an update needs a mask, or values, or both")
        _expect_values(update.values, size)
        return seal(VALUES, NONE, number, context, 0, 0, values.encode(update.values, number))
    if len(update.mask) != packed_size(size, 1) or spare_bits(update.mask, size):
        raise ValueError(f"a mask of {len(update.mask)} bytes, expected {packed_size(size, 1)} for {size} gates")
    codec, mask = CODEC_NUMBERS[uplink], update.mask
    if codec == SAMPLED:
        if update.theta is None or update.values is not None:
            raise ValueError("uplink sampled draws a new mask: expected an update with theta and without values")
        if len(update.theta) != size:
            raise ValueError(f"theta has {len(update.theta)} numbers, expected {size}")
        if not np.isfinite(update.theta).all():
            raise ValueError("theta has a number that is not finite")
        gates, body = sampled.encode(update.theta, context, extra_bits)
        mask = pack(gates.view(np.bool_))
    else:
        body = _LOSSLESS[codec].encode(unpack(mask, size), context)
    ones, check = count_ones(mask), zlib.crc32(mask.data)
    if update.tail is not None:
        return seal(MASK_AND_TAIL, codec, number, context, ones, check, body + values.encode(update.tail, number))
    if update.values is None:
        return seal(MASK, codec, NO_VALUES, context, ones, check, body)
    _expect_values(update.values, ones)
    return seal(MASK_AND_VALUES, codec, number, context, ones, check, body + values.encode(update.values, number))


def unpack_update(
    data: bytes, context: CodingContext, uplink: str = "side-info", kind: UpdateKind = "mask", *, value_type: str = "float32"
) -> Update:
    """Decode a client's update.

    Parameters
    ----------
    data : bytes
        A complete payload.
    context, uplink, value_type
        As for :func:`pack_update`.
    kind : str
        Kind of the method's updates: "mask", "values", "mask and values" or "mask and tail".

    Raises
    ------
    WireError
        The payload is not a complete, valid update of this kind for the network and the round of `context`.
    ValueError
        `kind` is "mask and tail" and ``context.tail`` is 0, or `kind` is another and ``context.tail`` is not 0.
    """
    expect_tail_of_kind(kind, context.tail)
    header, body = unseal(data, context, (payload_type(kind, uplink, value_type),))
    if header.server_round != context.server_round:
        raise WireError(f"round {header.server_round}, expected {context.server_round}")
    return read_body(header, body, context)


@dataclass(frozen=True)
class UpdateReader:
    """Decoder of the updates for one state; values that are equal for all clients are computed once."""

    context: CodingContext
    """Shared knowledge about the round; its client is ignored."""
    uplink: str
    kind: UpdateKind
    value_type: str

    def read(self, payload: bytes, client: int) -> Update:
        """Decode the update of a client (:func:`unpack_update`).

        Raises
        ------
        WireError
            The payload is not a complete, valid update by this client for this state.
        """
        return unpack_update(payload, self.context.of_client(client), self.uplink, self.kind, value_type=self.value_type)

    def try_read(self, payload: bytes, client: int) -> Update | WireError:
        """Return the update of a client, or the error that :meth:`read` raises."""
        try:
            return self.read(payload, client)
        except WireError as error:
            return error


def payload_type(kind: UpdateKind, uplink: str, value_type: str) -> tuple[int, int, int]:
    """Return kind, codec and value type of a method's updates, as the numbers in a header.

    Raises
    ------
    ValueError
        The uplink is "sampled" and the updates have a mask and values.
    """
    number = _KIND_NUMBERS[kind]
    if number == MASK_AND_VALUES and uplink == "sampled":
        raise ValueError("uplink sampled draws a new mask: expected updates without values")
    codec = NONE if number == VALUES else CODEC_NUMBERS[uplink]
    return number, codec, NO_VALUES if number == MASK else VALUE_TYPES[value_type]


def expect_tail_of_kind(kind: UpdateKind, tail: int) -> None:
    """Raise a ValueError unless updates of this kind can have a tail of `tail` values."""
    if (kind == "mask and tail") != (tail > 0):
        wanted = "at least 1" if kind == "mask and tail" else '0, or the kind "mask and tail"'
        raise ValueError(f'a tail of {tail} values in updates of kind "{kind}", expected {wanted}')


def read_body(header: Header, body: memoryview, context: CodingContext) -> Update:
    """Decode the body that follows a validated header.

    Raises
    ------
    WireError
        The body is not valid.
    """
    size = context.size
    if header.kind == VALUES:
        if header.number or header.check:
            raise WireError(f"values with {header.number} ones and check {header.check:08x} in their header, expected 0")
        return Update(mask=None, values=values.decode(body, size, header.value_type))
    if header.number > size:
        raise WireError(f"a mask with {header.number} ones in {size} gates")
    count = {MASK: 0, MASK_AND_VALUES: header.number, MASK_AND_TAIL: context.tail}[header.kind]
    values_size = count * values.width(header.value_type) if count else 0
    if values_size > len(body):
        raise WireError(f"a body of {len(body)} bytes, expected at least {values_size} for the values")
    split = len(body) - values_size
    decode = sampled.decode if header.codec == SAMPLED else _LOSSLESS[header.codec].decode
    mask = pack(decode(body[:split], context).view(np.bool_))
    if count_ones(mask) != header.number:
        raise WireError(f"the mask has {count_ones(mask)} ones, its header says {header.number}")
    if zlib.crc32(mask.data) != header.check:
        raise WireError("the decoded mask does not match its CRC: sender and reader do not have the same state")
    if header.kind == MASK:
        return Update(mask=mask)
    decoded = values.decode(body[split:], count, header.value_type)
    return Update(mask=mask, tail=decoded) if header.kind == MASK_AND_TAIL else Update(mask=mask, values=decoded)


def _expect_tail(update: Update, expected: int) -> None:
    if update.tail is not None and (update.mask is None or update.values is not None):
        raise ValueError("a tail and values, expected a tail and a mask only")
    if update.tail is None and expected:
        raise ValueError(f"an update without a tail, expected one of {expected} values")
    if update.tail is not None and (not expected or len(update.tail) != expected):
        raise ValueError(f"a tail of {len(update.tail)} values, expected {expected or 'no tail'}")


def _expect_values(values: NDArray[np.float32], expected: int) -> None:
    if len(values) != expected:
        raise ValueError(
            f"{len(values)} values, expected {expected}: one for each 1 of the mask, or for each gate if there is no mask"
        )
