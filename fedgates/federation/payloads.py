"""What a client does with the payload of a request: check its size, and decode the state."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fedgates.errors import WireError
from fedgates.methods.base import Method
from fedgates.wire import VersionedState
from fedgates.wire.deltas import INITIAL
from fedgates.wire.header import DELTA, RELAY, peek

_MEGABYTE = 1_000_000
Decode = Callable[[bytes, bytes | None], tuple[VersionedState, bytes]]
"""Function of a payload and the client's snapshot that returns the state and the new snapshot."""


def decode_state(method: Method[Any, Any], payload: bytes, kept: bytes | None) -> tuple[VersionedState, bytes]:
    """Decode a payload, given the client's snapshot of an earlier state; return the state and the new snapshot.

    Parameters
    ----------
    method : Method
        The method.
    payload : bytes
        A snapshot, a delta or a relay.
    kept : bytes, optional
        The snapshot that the client keeps.

    Raises
    ------
    WireError
        The payload is damaged, or is a change to a state that the client does not have.
    """
    codec, header = method.codec, peek(payload)
    if not ((codec.relays and header.kind == RELAY) or (codec.coupling and header.kind == DELTA)):
        return codec.unpack_state(payload), payload
    base = None
    with suppress(WireError):  # a snapshot that is damaged or of another version is ignored
        base = codec.unpack_state(kept) if kept else None
    if header.kind == DELTA:
        if header.number == INITIAL and (base is None or base.server_round != INITIAL):
            base = VersionedState(method.initial_state(), INITIAL)
        state = codec.apply_delta(payload, base)
    else:
        state = codec.apply_relay(payload, base, method.next_state)
    return state, codec.pack_state(state.state, state.server_round)


def expect_size(payload_bytes: int, max_megabytes: float) -> None:
    """Check the size of a payload before it is read.

    Raises
    ------
    WireError
        The payload is larger than `max_megabytes`.
    """
    if payload_bytes > max_megabytes * _MEGABYTE:
        raise WireError(
            f"a payload of {payload_bytes:,} bytes, expected at most limits.max-payload-mb = {max_megabytes:g} megabytes"
        )
