"""Relay: the updates between two states, from which a client with the older state computes the newer one.

Body: the CRC of the base state, u32; then, for each round from the base round to the one before the payload's, a byte (1 if the
round changed the state) and the number of its updates, u32, followed by each update: client u64, number of examples u32, ones
u32, check u32, length of the body u32, and the body. All updates have the codec and the value type in the relay's header, and
the kind of the run's updates, which the header does not contain.
"""

import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

from fedgates.errors import WireError
from fedgates.types import MAX_EXAMPLES, State, Update
from fedgates.wire.context import CodingContext
from fedgates.wire.header import HEADER_SIZE, RELAY, Header, peek, seal, unseal
from fedgates.wire.states import state_crc
from fedgates.wire.updates import read_body

_BASE = struct.Struct("<I")
_ROUND = struct.Struct("<BI")
_UPDATE = struct.Struct("<QIIII")
"""Client, number of examples, number of ones, check, length of the body."""
Aggregate = Callable[[State, Iterator[Update], int], State]
"""A method's server rule: maps a state, its updates and the round to the next state."""


@dataclass(frozen=True)
class AcceptedUpdate:
    """An update that the server accepted in a round."""

    client: int
    """Name of the client that sent the update."""
    num_examples: int
    """Number of training examples that the client reported."""
    payload: bytes
    """The payload as received."""


@dataclass(frozen=True)
class VersionedState:
    """A state and the round that it opens."""

    state: State
    server_round: int


def pack_relay(
    base_round: int,
    base_check: int,
    rounds: Sequence[Sequence[AcceptedUpdate] | None],
    state: State,
    context: CodingContext,
    update_type: tuple[int, int, int],
) -> bytes:
    """Encode the updates that lead from one state to a newer one.

    Parameters
    ----------
    base_round, base_check : int
        Round that the receiver's state opened, and the :func:`~fedgates.wire.states.state_crc` of that state.
    rounds : sequence
        Accepted updates of each round from the base round on, sorted by client name; None for a round that did not change the
        state.
    state : State
        State after the updates; it opens ``context.server_round``.
    context : CodingContext
        Network and round.
    update_type : tuple
        Kind, codec and value type of the updates (:func:`~fedgates.wire.updates.payload_type`).
    """
    parts = [_BASE.pack(base_check)]
    for accepted in rounds:
        parts.append(_ROUND.pack(accepted is not None, len(accepted or ())))
        for update in accepted or ():
            header, body = peek(update.payload), update.payload[HEADER_SIZE:]
            parts += [_UPDATE.pack(update.client, update.num_examples, header.number, header.check, len(body)), body]
    return seal(RELAY, update_type[1], update_type[2], context, base_round, state_crc(state), b"".join(parts))


def apply_relay(
    data: bytes, base: VersionedState | None, context: CodingContext, update_type: tuple[int, int, int], aggregate: Aggregate
) -> tuple[State, int]:
    """Compute the newer state from the older one with the method's server rule.

    Parameters
    ----------
    data : bytes
        A complete payload.
    base : VersionedState, optional
        The state that this client has.
    context : CodingContext
        The reader's own network, and the run's seed.
    update_type
        As for :func:`pack_relay`.
    aggregate : callable
        Function that maps a state, its validated updates and the round to the next state.

    Returns
    -------
    tuple
        The new state, equal to the server's bit for bit, and the round that it opens.

    Raises
    ------
    WireError
        The relay is for another base, or is not a complete, valid relay of this network.
    """
    header, body = unseal(data, context, ((RELAY, update_type[1], update_type[2]),))
    base = expect_base(base, header, body, "updates since")
    deque(_entries(header, body), maxlen=0)  # checks all lengths before anything is decoded
    state = base.state
    for server_round, entries in groupby(_entries(header, body), itemgetter(0)):
        now = replace(context, server_round=server_round, state=state)
        updates = (_read(entry, update_type, now) for entry in entries)
        state = aggregate(state, updates, server_round)
        deque(updates, maxlen=0)  # a rule may stop reading early, but all updates must be validated
    if state_crc(state) != header.check:
        raise WireError("the updates do not lead to the server's state")
    return state, header.server_round


def expect_base(base: VersionedState | None, header: Header, body: memoryview, what: str) -> VersionedState:
    """Return the state that a client has if it is the base of a payload, by round and CRC.

    Raises
    ------
    WireError
        The client has another state or none; `what` begins the message with the content of the payload.
    """
    if base is None or base.server_round != header.number:
        known = "none" if base is None else f"that of round {base.server_round}"
        raise WireError(f"{what} the state of round {header.number}, but this client has {known}")
    if len(body) < _BASE.size or _BASE.unpack_from(body)[0] != state_crc(base.state):
        raise WireError(f"{what} another state of round {header.number} than the one that this client has")
    return base


_Entry = tuple[int, int, int, int, int, memoryview]
"""Round, client, number of examples, number of ones, check and body of an update."""


def _entries(header: Header, body: memoryview) -> Iterator[_Entry]:
    """Yield the updates of the rounds in order, one at a time because a malicious relay may claim to have millions.

    Lengths are checked against the bytes that are present.
    """
    count = header.server_round - header.number
    if not 0 <= count <= len(body):
        raise WireError(f"updates of {count} rounds in {len(body)} bytes")
    at = _BASE.size
    for server_round in range(header.number, header.server_round):
        changed, updates = _ROUND.unpack_from(_available(body, at, _ROUND.size), 0)
        at += _ROUND.size
        if changed > 1 or bool(updates) != bool(changed):
            raise WireError(f"a round with flag {changed} and {updates} updates")
        for _ in range(updates):
            client, examples, ones, crc, length = _UPDATE.unpack_from(_available(body, at, _UPDATE.size), 0)
            at += _UPDATE.size
            yield server_round, client, examples, ones, crc, _available(body, at, length)
            at += length
    if at != len(body):
        raise WireError(f"{len(body) - at} bytes after the last update")


def _available(body: memoryview, start: int, length: int) -> memoryview:
    if start + length > len(body):
        raise WireError(f"a relay of {len(body)} bytes, expected at least {start + length}")
    return body[start : start + length]


def _read(entry: _Entry, update_type: tuple[int, int, int], context: CodingContext) -> Update:
    """Decode and validate one update of a relay, and set its client and number of examples."""
    _, client, examples, ones, crc, body = entry
    if not 1 <= examples <= MAX_EXAMPLES:
        raise WireError(f"an update of {examples} examples, expected 1 to {MAX_EXAMPLES}")
    kind, codec, value_type = update_type
    header = Header(b"", 0, kind, codec, value_type, context.size, context.server_round, context.digest, ones, crc)
    return replace(read_body(header, body, context.of_client(client)), num_examples=examples, client=client)
