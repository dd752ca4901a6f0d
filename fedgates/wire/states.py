"""A server's state as a payload (a snapshot), and back, checked in full."""

import zlib

import numpy as np

from fedgates.errors import WireError
from fedgates.types import State, Votes, Weights
from fedgates.wire import entropy, values, votes
from fedgates.wire.context import CodingContext
from fedgates.wire.header import COUNTS, ENTROPY, FLOAT32, MASK_AND_VALUES, NONE, VALUES, VOTES, seal, unseal

_SPARSE = 31 / 32
"""Share of weights that are not zero, above which a mask cannot pay."""
_FLOAT32 = values.VALUE_TYPES["float32"]
_SCALAR = 8
"""Bytes of a float64."""


def check(state: State) -> int:
    """CRC-32 of a state: of its trials as u32 (weights: 0), its scalars and its array, little endian."""
    trials = state.trials if isinstance(state, Votes) else 0
    array = state.votes.astype("<u4", copy=False) if isinstance(state, Votes) else state.values.astype("<f4", copy=False)
    return zlib.crc32(array.data, zlib.crc32(_scalars(state), zlib.crc32(trials.to_bytes(4, "little"))))


def pack_state(state: State, shared: CodingContext, downlink: str = "votes") -> bytes:
    """Code a server's state for the clients of round ``shared.server_round``.

    Votes are coded as `downlink` says, "votes" or "float32". Weights are float32, with a mask of those that are not zero where
    that is smaller. Scalars come first.

    Raises
    ------
    ValueError
        The state has not as many scalars as its method says, or one is not finite.
    """
    first = _scalars(state)
    if len(state.scalars) != shared.scalars or not np.isfinite(state.scalars).all():
        raise ValueError(f"a state with the scalars {state.scalars}, expected {shared.scalars} finite ones")
    if isinstance(state, Votes):
        codec, encode = (FLOAT32, votes.encode_float32) if downlink == "float32" else (COUNTS, votes.encode)
        return seal(VOTES, codec, 0, shared, state.trials, check(state), first + encode(state.votes, state.trials))
    own = check(state)
    dense = seal(VALUES, NONE, _FLOAT32, shared, 0, own, first + values.encode(state.values, _FLOAT32))
    kept = state.values.view(np.uint32) != 0
    ones = int(np.count_nonzero(kept))
    if ones > _SPARSE * state.size:
        return dense
    body = first + entropy.encode(kept.view(np.uint8), shared) + values.encode(state.values[kept], _FLOAT32)
    sparse = seal(MASK_AND_VALUES, ENTROPY, _FLOAT32, shared, ones, own, body)
    return min(dense, sparse, key=len)


def unpack_state(data: bytes, shared: CodingContext, downlink: str = "votes") -> tuple[State, int]:
    """Decode a state and the round it opens.

    Parameters
    ----------
    data : bytes
        A whole payload.
    shared : Shared
        Digest and layers of this end's own network, and how many scalars the method's states have.
    downlink : str
        How votes are coded.

    Raises
    ------
    WireError
        Anything else than a whole, sound state of that network.
    """
    codec = FLOAT32 if downlink == "float32" else COUNTS
    expected = ((VOTES, codec, 0), (VALUES, NONE, _FLOAT32), (MASK_AND_VALUES, ENTROPY, _FLOAT32))
    header, body = unseal(data, shared, expected)
    size, split = shared.size, _SCALAR * shared.scalars
    if len(body) < split:
        raise WireError(f"a body of {len(body)} bytes, expected {shared.scalars} scalars first")
    scalars, body = tuple(np.frombuffer(body[:split], dtype="<f8").tolist()), body[split:]
    if not np.isfinite(scalars).all():
        raise WireError("a scalar is not finite")
    state: State
    if header.kind == VOTES:
        decode = votes.decode_float32 if codec == FLOAT32 else votes.decode
        state = Votes(decode(body, size, header.number), header.number, scalars)
    elif header.kind == VALUES:
        if header.number:
            raise WireError(f"values with the number {header.number} in their header, expected 0")
        state = Weights(values.decode(body, size, _FLOAT32), scalars)
    else:
        if header.number > size or 4 * header.number > len(body):
            raise WireError(f"{header.number} values of {size} weights in a body of {len(body)} bytes")
        split = len(body) - 4 * header.number
        kept = entropy.decode(body[:split], shared)
        ones = int(np.count_nonzero(kept))
        if ones != header.number:
            raise WireError(f"the mask has {ones} ones, its header says {header.number}")
        dense = np.zeros(size, dtype=np.float32)
        found = values.decode(body[split:], header.number, _FLOAT32)
        if (found.view(np.uint32) == 0).any():
            raise WireError("a weight of zero among those that are not")
        dense[kept.view(np.bool_)] = found
        state = Weights(dense, scalars)
    if check(state) != header.check:
        raise WireError("the state is not the one that was sent")
    return state, header.server_round


def _scalars(state: State) -> bytes:
    return np.array(state.scalars, dtype="<f8").tobytes()
