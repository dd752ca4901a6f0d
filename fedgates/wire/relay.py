"""The updates between two states: what a client that knows the older one needs to rebuild the newer.

Body: the check of the base state, u32. Then for each round from the base round to the one before the payload's: a byte, 1 if
the round changed the state, and the number of its updates, u32; then each update: client u64, number of examples u32, ones
u32, check u32, length u32, and as many bytes of body. All updates are of the codec and value type in the relay's own header;
from these follows their kind: values alone without a codec, a mask alone without a value type, else both.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from fedgates.errors import WireError
from fedgates.types import MAX_EXAMPLES, State, Update
from fedgates.wire.context import CodingContext
from fedgates.wire.header import HEADER_SIZE, RELAY, Header, peek, seal, unseal
from fedgates.wire.states import check
from fedgates.wire.updates import read_body

_BASE = struct.Struct("<I")
_ROUND = struct.Struct("<BI")
_UPDATE = struct.Struct("<QIIII")
"""Client, examples, ones, check, length of the body."""
Aggregate = Callable[[State, Iterator[Update], int], State]
"""A method's server rule."""


@dataclass(frozen=True)
class AcceptedUpdate:
    """An update that a round counted: its client, how many examples it stands for, and the payload that came."""

    client: int
    num_examples: int
    payload: bytes


@dataclass(frozen=True)
class VersionedState:
    """A state, and the round that it opened."""

    state: State
    server_round: int


def pack_relay(
    base_round: int,
    base_check: int,
    rounds: Sequence[Sequence[AcceptedUpdate] | None],
    state: State,
    shared: CodingContext,
    sort: tuple[int, int, int],
) -> bytes:
    """Code the way from one state to a newer one.

    Parameters
    ----------
    base_round, base_check : int
        The round that opened with the state which the receiver holds, and that state's :func:`~fedgates.wire.states.check`.
    rounds : sequence
        For each round from the base's on, the updates that it counted, in the order of their clients' names; None where it
        changed nothing.
    state : State
        What they lead to; it opens ``shared.server_round``.
    shared : Shared
        The network, and the round.
    sort : tuple
        Kind, codec and value type of the updates (:func:`~fedgates.wire.updates.sort_of`).
    """
    parts = [_BASE.pack(base_check)]
    for counted in rounds:
        parts.append(_ROUND.pack(counted is not None, len(counted or ())))
        for update in counted or ():
            header, body = peek(update.payload), update.payload[HEADER_SIZE:]
            parts += [_UPDATE.pack(update.client, update.num_examples, header.number, header.check, len(body)), body]
    return seal(RELAY, sort[1], sort[2], shared, base_round, check(state), b"".join(parts))


def apply_relay(
    data: bytes, base: VersionedState | None, shared: CodingContext, sort: tuple[int, int, int], aggregate: Aggregate
) -> tuple[State, int]:
    """Rebuild the newer state from the older one, with the method's own server rule.

    Parameters
    ----------
    data : bytes
        A whole payload.
    base : Known, optional
        What this client holds.
    shared : Shared
        This end's own network, and the run's seed.
    sort
        As in :func:`pack_relay`.
    aggregate : callable
        From a state, its checked updates, and the round, to the next state.

    Returns
    -------
    tuple
        The state, bit for bit the server's, and the round it opens.

    Raises
    ------
    WireError
        The base is another one, or anything is not as it should be.
    """
    header, body = unseal(data, shared, ((RELAY, sort[1], sort[2]),))
    if base is None or base.server_round != header.number:
        known = "none" if base is None else f"that of round {base.server_round}"
        raise WireError(f"updates since the state of round {header.number}, but this client knows {known}")
    if len(body) < _BASE.size or _BASE.unpack_from(body)[0] != check(base.state):
        raise WireError(f"updates since another state of round {header.number} than the one that this client knows")
    rounds = _parse(header, body)
    state = base.state
    for server_round, entries in enumerate(rounds, header.number):
        if entries is not None:
            now = replace(shared, server_round=server_round, state=state)
            updates = (_read(entry, sort, now) for entry in entries)
            state = aggregate(state, updates, server_round)
            for _ in updates:  # a rule may stop reading early; the rest is checked all the same
                pass
    if check(state) != header.check:
        raise WireError("the updates do not lead to the state that the server has")
    return state, header.server_round


_Entry = tuple[tuple[int, int, int, int], memoryview]
"""Client, examples, ones, check; and the body."""


def _parse(header: Header, body: memoryview) -> list[list[_Entry] | None]:
    """The updates of each round, their lengths checked against what is there."""
    count = header.server_round - header.number
    if not 0 <= count <= len(body):
        raise WireError(f"updates of {count} rounds in {len(body)} bytes")
    at, rounds = _BASE.size, list[list[_Entry] | None]()
    for _ in range(count):
        changed, updates = _ROUND.unpack_from(_available(body, at, _ROUND.size), 0)
        at += _ROUND.size
        if changed > 1 or bool(updates) != bool(changed):
            raise WireError(f"a round with flag {changed} and {updates} updates")
        entries: list[_Entry] = []
        for _ in range(updates):
            *facts, length = _UPDATE.unpack_from(_available(body, at, _UPDATE.size), 0)
            at += _UPDATE.size
            client, examples, ones, found = facts
            entries.append(((client, examples, ones, found), _available(body, at, length)))
            at += length
        rounds.append(entries if changed else None)
    if at != len(body):
        raise WireError(f"{len(body) - at} bytes after the last update")
    return rounds


def _available(body: memoryview, start: int, length: int) -> memoryview:
    if start + length > len(body):
        raise WireError(f"a relay of {len(body)} bytes, expected at least {start + length}")
    return body[start : start + length]


def _read(entry: _Entry, sort: tuple[int, int, int], shared: CodingContext) -> Update:
    (client, examples, ones, found), body = entry
    if not 1 <= examples <= MAX_EXAMPLES:
        raise WireError(f"an update of {examples} examples, expected 1 to {MAX_EXAMPLES}")
    kind, codec, value_type = sort
    header = Header(b"", 0, kind, codec, value_type, shared.size, shared.server_round, shared.digest, ones, found)
    return replace(read_body(header, body, replace(shared, client=client)), num_examples=examples)
