"""Encoding of a server's state as a payload (a snapshot), and validated decoding."""

import zlib

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.types import State, Votes, Weights
from fedgates.wire import entropy, values, votes
from fedgates.wire.context import CodingContext
from fedgates.wire.header import (
    COUNTS,
    ENTROPY,
    FLOAT32,
    MASK_AND_VALUES,
    NO_VALUES,
    NONE,
    VALUES,
    VALUES_FLOAT32,
    VOTES,
    VOTES_AND_TAIL,
    seal,
    unseal,
)

_SPARSE = 31 / 32
"""Share of nonzero weights above which dense coding is always smaller."""
_SCALAR, _VALUE = 8, 4
"""Bytes of a float64 and of a float32."""


def state_crc(state: State) -> int:
    """Return the CRC-32 of a state, over trials as u32 (0 for weights), scalars, tail and array, all little-endian."""
    trials = state.trials if isinstance(state, Votes) else 0
    array = state.votes.astype("<u4", copy=False) if isinstance(state, Votes) else state.values.astype("<f4", copy=False)
    return zlib.crc32(array.data, zlib.crc32(scalars_and_tail(state), zlib.crc32(trials.to_bytes(4, "little"))))


def pack_state(state: State, context: CodingContext, downlink: str = "votes") -> bytes:
    """Encode a server's state for the clients of round ``context.server_round``.

    Scalars come first, then the tail. `downlink` is the codec of votes: "float32", or any other value for range-coded votes.
    Weights are float32, either all of them or, if that is smaller, a mask and the nonzero weights.

    Raises
    ------
    ValueError
        The number of scalars is not ``context.scalars``, the number of values of the tail is not ``context.tail``, or a scalar
        or a value of the tail is not finite.
    """
    first, tail = scalars_and_tail(state), _tail(state)
    if len(state.scalars) != context.scalars or not np.isfinite(state.scalars).all():
        raise ValueError(f"a state with the scalars {state.scalars}, expected {context.scalars} finite ones")
    if len(tail) != context.tail or not np.isfinite(tail).all():
        raise ValueError(f"a state with a tail of {len(tail)} values, expected {context.tail} finite ones")
    if isinstance(state, Votes):
        kind, value_type = (VOTES_AND_TAIL, VALUES_FLOAT32) if context.tail else (VOTES, NO_VALUES)
        codec, encode = (FLOAT32, votes.encode_float32) if downlink == "float32" else (COUNTS, votes.encode)
        body = first + encode(state.votes, state.trials)
        return seal(kind, codec, value_type, context, state.trials, state_crc(state), body)
    own = state_crc(state)
    dense = seal(VALUES, NONE, VALUES_FLOAT32, context, 0, own, first + values.encode(state.values, VALUES_FLOAT32))
    kept = state.values.view(np.uint32) != 0
    ones = int(np.count_nonzero(kept))
    if ones > _SPARSE * state.size:
        return dense
    body = first + entropy.encode(kept.view(np.uint8), context) + values.encode(state.values[kept], VALUES_FLOAT32)
    sparse = seal(MASK_AND_VALUES, ENTROPY, VALUES_FLOAT32, context, ones, own, body)
    return min(dense, sparse, key=len)


def unpack_state(data: bytes, context: CodingContext, downlink: str = "votes") -> tuple[State, int]:
    """Decode a state; return it and the round that it opens.

    Parameters
    ----------
    data : bytes
        A complete payload.
    context : CodingContext
        Digest and layers of the reader's own network, and the number of scalars and of tail values in the method's states.
    downlink : str
        Codec of votes.

    Raises
    ------
    WireError
        The payload is not a complete, valid state of that network.
    """
    codec = FLOAT32 if downlink == "float32" else COUNTS
    weights = ((VALUES, NONE, VALUES_FLOAT32), (MASK_AND_VALUES, ENTROPY, VALUES_FLOAT32))
    expected = ((VOTES_AND_TAIL, codec, VALUES_FLOAT32),) if context.tail else ((VOTES, codec, NO_VALUES), *weights)
    header, body = unseal(data, context, expected)
    scalars, tail, start = read_scalars_and_tail(body, 0, context)
    size, body = context.size, body[start:]
    state: State
    if header.kind in {VOTES, VOTES_AND_TAIL}:
        decode = votes.decode_float32 if codec == FLOAT32 else votes.decode
        state = Votes(decode(body, size, header.number), header.number, scalars, tail=tail)
    elif header.kind == VALUES:
        if header.number:
            raise WireError(f"values with the number {header.number} in their header, expected 0")
        state = Weights(values.decode(body, size, VALUES_FLOAT32), scalars)
    else:
        if header.number > size or 4 * header.number > len(body):
            raise WireError(f"{header.number} values of {size} weights in a body of {len(body)} bytes")
        split = len(body) - 4 * header.number
        kept = entropy.decode(body[:split], context)
        ones = int(np.count_nonzero(kept))
        if ones != header.number:
            raise WireError(f"the mask has {ones} ones, its header says {header.number}")
        dense = np.zeros(size, dtype=np.float32)
        nonzero = values.decode(body[split:], header.number, VALUES_FLOAT32)
        if (nonzero.view(np.uint32) == 0).any():
            raise WireError("one of the nonzero weights is zero")
        dense[kept.view(np.bool_)] = nonzero
        state = Weights(dense, scalars)
    if state_crc(state) != header.check:
        raise WireError("the decoded state does not match its CRC")
    return state, header.server_round


def read_scalars_and_tail(
    body: memoryview, start: int, context: CodingContext
) -> tuple[tuple[float, ...], NDArray[np.float32], int]:
    """Read the scalars and the tail at offset `start` of a body; return them and the offset of their end.

    Raises
    ------
    WireError
        The body is too short, or a number is not finite.
    """
    split = start + _SCALAR * context.scalars
    end = split + _VALUE * context.tail
    if len(body) < end:
        after = f" and a tail of {context.tail} values" if context.tail else ""
        raise WireError(f"a body of {len(body)} bytes, expected {context.scalars} scalars{after} at byte {start}")
    scalars = tuple(np.frombuffer(body[start:split], dtype="<f8").tolist())
    if not np.isfinite(scalars).all():
        raise WireError("a scalar is not finite")
    return scalars, values.decode(body[split:end], context.tail, VALUES_FLOAT32), end


def _tail(state: State) -> NDArray[np.float32]:
    return state.tail if isinstance(state, Votes) else np.empty(0, np.float32)


def scalars_and_tail(state: State) -> bytes:
    """Return the scalars and the tail of a state as bytes, which begin the body of a snapshot."""
    return np.array(state.scalars, dtype="<f8").tobytes() + _tail(state).astype("<f4", copy=False).tobytes()
