"""Delta: new votes, given the votes that a client knows and the coins of the clients whose masks were counted since then.

The receiver regenerates the coins, and from them the votes that the method's rule would give if these clients had not trained:
the expected votes. What is coded is the difference of the votes to these. A coin far from a client's probability leaves no
doubt about its bit, so a gate with far coins alone has hardly ever a difference; the near coins say on which side, and how
many differences to expect. Nobody's mask is in it: masks enter as their sum alone.

Body: CRC of the base state u32, trials u32, prior u16, flags u8, rates of flips (32 frequency bytes of
:mod:`fedgates.wire.scale`), scalars float64, tail float32; then for each round from the base's to the one before the payload's
a number ``2 n + used`` of n counted clients (0: the round changed nothing) and the differences of their names in order, all in
groups of seven bits (LEB128); then a range code of integers (:mod:`fedgates.wire.integers`): with flag 1 the activities of rows
and columns, and then the differences of the votes.

A coin's bin is that of :mod:`fedgates.wire.side_info` around the gate's share of votes, in 255ths if there are more than 255
trials, or around `prior` where the base has none; bins 16 to 31 are coins above it. The rate of a bin is the probability that
such a coin's bit is not the one of an untrained mask. A gate's risk is the sum of the rates of its coins in used rounds, above
and below apart. Its level is ``bit length of the risk in 2^-16, plus the activities of its row and column, minus 9``, 0 to 15.
Activities, from -6 to 4, say how many times 2 a unit's gates change more often than their coins tell: gradients are larger for
some units than for others.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedgates import rng
from fedgates.errors import WireError
from fedgates.types import State, Votes, unpack
from fedgates.wire.context import CodingContext
from fedgates.wire.header import COUNTS, DELTA, NO_VALUES, VALUES_FLOAT32, seal, unseal
from fedgates.wire.integers import LARGEST, Contexts, read_integers, write_integers
from fedgates.wire.range_coder import BitWriter, bit_reader, read_table
from fedgates.wire.relay import VersionedState, expect_base
from fedgates.wire.scale import FREQUENCIES, frequency_bytes
from fedgates.wire.side_info import BINS, COIN_BITS, bins_around
from fedgates.wire.states import read_scalars_and_tail, scalars_and_tail, state_crc

_PREFIX = struct.Struct("<IIHB")
MOST_CLIENTS = (1 << 16) - 1
"""Largest number of counted clients, so that risks stay below 2^32."""
_CLASSES = 255
"""Largest number of trials of which every number of votes is a class of its own."""
_LEAST_PROBABILITY = 66
"""Probabilities of classes are at least this and at most its complement, in 2^-16: .001."""
_CHUNK = 1 << 16
_LEVELS, _NEGLIGIBLE = 16, 9
"""Levels of risk; the lowest is that of risks below 2^9, in 2^-16."""
_LOWEST, _HIGHEST = -6, 4
"""Range of activities."""
_CAUTION = 2.0
"""Changes of a unit, as expected, that are added to what was counted when its activity is fitted."""

CountedRound = tuple[int, Sequence[int]]
"""A round, and the names of the clients whose updates were counted in it, ascending; empty if it changed nothing."""
Expect = Callable[[Any, Sequence[CountedRound]], State]
"""From a state of votes and the rounds that changed it to the state if none of the counted clients had trained."""


class Coupling(NamedTuple):
    """How the votes of a method follow from its clients' coins."""

    initial: Votes | None
    """The state before the first round; None if it, or theta at it, depends on the machine in its last bits."""
    probability: float
    """Probability of a 1 in a mask of the first round, before training."""
    expect: Expect


class Flips(NamedTuple):
    """Flips of masks against untrained ones: counts of gates by the bin of their coin, ``[32]``."""

    gates: NDArray[np.int64]
    flipped: NDArray[np.int64]

    def __add__(self, other: "Flips") -> "Flips":  # type: ignore[override]
        return Flips(self.gates + other.gates, self.flipped + other.flipped)


NO_FLIPS = Flips(np.zeros(BINS, dtype=np.int64), np.zeros(BINS, dtype=np.int64))


def count_flips(mask: NDArray[np.uint8], context: CodingContext, probability: float) -> Flips:
    """Return the flips of a client's packed mask; ``context`` is that of its update, `probability` that of a coupling."""
    bins = coin_bins(context, probability)
    flipped = unpack(mask, context.size).view(np.bool_) != (bins < BINS // 2)
    every = np.bincount(bins, minlength=BINS)
    return Flips(every, np.bincount(bins[flipped], minlength=BINS))


def coin_bins(context: CodingContext, probability: float) -> NDArray[np.uint8]:
    """Return the bin of each of a client's coins, ``[d]``; ``context`` is that of its update."""
    return _Bins(context.state, _fixed_point(probability)).of(context.coins())


def pack_delta(
    base: VersionedState,
    rounds: Sequence[CountedRound],
    used_from: int,
    target: State,
    context: CodingContext,
    flips: Flips,
    coupling: Coupling,
) -> bytes | None:
    """Encode the change from one state of votes to a newer one; None if a gate's change is beyond what can be coded.

    Parameters
    ----------
    base : VersionedState
        The state that the receiver knows.
    rounds : sequence
        The rounds from the base's to the one before ``context.server_round``, in order.
    used_from : int
        First round whose coins say something about the new votes.
    target : Votes
        The new state.
    context : CodingContext
        Network and round.
    flips : Flips
        Of masks of the used rounds.
    coupling : Coupling
        How votes follow from coins.
    """
    if not isinstance(base.state, Votes) or not isinstance(target, Votes):
        raise TypeError("a delta is of votes")
    prior = 0 if base.state.trials else _fixed_point(coupling.probability)
    expected = _expected(base, rounds, target.trials, coupling.expect)
    change = target.votes.astype(np.int64) - expected.astype(np.int64)
    if len(change) and int(np.abs(change).max()) > LARGEST:
        return None
    table = frequency_bytes(flips.flipped, flips.gates)
    used = [(number, clients) for number, clients in rounds if number >= used_from]
    risks = _risks(base.state, used, context, table, prior)
    activities = _fitted_activities(np.abs(change), risks, context)
    edges = _edges(expected, target.trials)
    codes = []
    for chosen in (None, activities) if len(activities) else (None,):
        writer = BitWriter()
        if chosen is not None:
            write_integers(writer, chosen, _of_units(context))
        write_integers(writer, change, _contexts(risks, edges, context, chosen))
        codes.append(writer.finish())
    code = min(codes, key=len)
    prefix = _PREFIX.pack(state_crc(base.state), target.trials, prior, code is not codes[0])
    head = prefix + table.tobytes() + scalars_and_tail(target) + b"".join(_written(rounds, used_from))
    value_type = VALUES_FLOAT32 if context.tail else NO_VALUES
    return seal(DELTA, COUNTS, value_type, context, base.server_round, state_crc(target), head + code)


def apply_delta(
    data: bytes, base: VersionedState | None, context: CodingContext, expect: Expect, most_clients: int = MOST_CLIENTS
) -> tuple[State, int]:
    """Decode a delta to the newer state, equal to the server's bit for bit; return it and the round that it opens.

    Parameters
    ----------
    data : bytes
        A complete payload.
    base : VersionedState, optional
        The state that this client has.
    context : CodingContext
        The reader's own network, and the run's seed.
    expect : callable
        The method's rule for clients that did not train.
    most_clients : int
        Largest number of counted clients to accept: the coins of each are regenerated.

    Raises
    ------
    WireError
        The delta is from another base, or is not a complete, valid delta of this network.
    """
    value_type = VALUES_FLOAT32 if context.tail else NO_VALUES
    header, body = unseal(data, context, ((DELTA, COUNTS, value_type),))
    base = expect_base(base, header, body, "a change of")
    if not isinstance(base.state, Votes):
        raise WireError("a change of votes, but this client has weights")
    start = _PREFIX.size + BINS
    if len(body) < start:
        raise WireError(f"a body of {len(body)} bytes, expected at least {start}")
    _, trials, prior, flags = _PREFIX.unpack_from(body)
    if flags > 1:
        raise WireError(f"flags {flags}, expected 0 or 1")
    if prior and base.state.trials:
        raise WireError(f"a prior of {prior} beside trials, expected 0")
    table = read_table(body[_PREFIX.size : start])
    scalars, tail, start = read_scalars_and_tail(body, start, context)
    rounds, used, start = _read_rounds(body, start, (header.number, header.server_round), most_clients)
    reader = bit_reader(body[start:])
    activities = None
    if flags:
        activities = read_integers(reader, _of_units(context))
        if len(activities) and (int(activities.min()) < _LOWEST or int(activities.max()) > _HIGHEST):
            raise WireError(f"an activity that is not in {_LOWEST} to {_HIGHEST}")
    expected = _expected(base, rounds, trials, expect)
    risks = _risks(base.state, used, context, table, prior)
    contexts = _contexts(risks, _edges(expected, trials), context, activities)
    del risks  # eight bytes a gate
    change = read_integers(reader, contexts)
    reader.finish()
    del contexts
    votes = expected.astype(np.int64) + change
    if len(votes) and (int(votes.min()) < 0 or int(votes.max()) > trials):
        raise WireError(f"a gate has {int(votes.min())} or {int(votes.max())} votes of {trials} trials")
    state = Votes(votes.astype(np.uint32), trials, scalars, tail=tail)
    if state_crc(state) != header.check:
        raise WireError("the changes do not lead to the server's state")
    return state, header.server_round


def _expected(base: VersionedState, rounds: Sequence[CountedRound], trials: int, expect: Expect) -> NDArray[np.uint32]:
    """Return the votes ``[d]`` after rounds in which nobody trained, at most `trials`."""
    state = expect(base.state, [each for each in rounds if each[1]])
    if not isinstance(state, Votes):
        raise TypeError("a delta is of votes")
    return np.minimum(state.votes, np.uint32(trials))


# --- coins: which gates may have changed


def _fixed_point(probability: float) -> int:
    return min(round(probability * 2**16), 2**16 - 1)


class _Bins:
    """The bins of coins around the probabilities that a state stands for."""

    def __init__(self, state: State | None, prior: int) -> None:
        self._first: NDArray[np.uint32] | np.uint32 = np.uint32(0)
        """Place of each gate's class in the table, ``[d]``, or of the only one."""
        if not isinstance(state, Votes) or not state.trials:
            self._table = _table_of((prior,))
            return
        trials, classes = state.trials, min(state.trials, _CLASSES)
        every = state.votes
        if trials > classes:
            every = ((classes * every.astype(np.uint64) + trials // 2) // trials).astype(np.uint32)
        self._table = _table_of(tuple(((v << 16) + classes // 2) // classes for v in range(classes + 1)))
        self._first = every << np.uint32(COIN_BITS)

    def of(self, coins: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """Return the bin of each gate's coin, ``[d]``."""
        return self._table[self._first | coins >> np.uint32(32 - COIN_BITS)]


@lru_cache(8)
def _table_of(probabilities: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the bin of each value of a coin's leading bits, around each probability in 2^-16: ``[n * 4096]``."""
    clipped = np.clip(probabilities, _LEAST_PROBABILITY, (1 << 16) - _LEAST_PROBABILITY)
    return np.concatenate([bins_around(f) for f in clipped.tolist()])


def _risks(
    state: Votes, rounds: Sequence[CountedRound], context: CodingContext, table: NDArray[np.uint8], prior: int
) -> NDArray[np.uint64]:
    """Return the expected flips of each gate ``[d]`` in 2^-16: to 1 in the upper 32 bits, to 0 in the lower."""
    rates = FREQUENCIES[table].astype(np.uint64)
    rates[BINS // 2 :] <<= np.uint64(32)  # coins above the probability: an untrained mask has a 0
    total, bins = np.zeros(context.size, dtype=np.uint64), _Bins(state, prior)
    for number, clients in rounds:
        for client in clients:
            coins = rng.coins(context.size, context.seed, server_round=number, client=client)
            of_gates = bins.of(coins)
            del coins
            for start in range(0, context.size, _CHUNK):
                total[start : start + _CHUNK] += rates[of_gates[start : start + _CHUNK]]
    return total


def _contexts(
    risks: NDArray[np.uint64], edges: NDArray[np.uint16], context: CodingContext, activities: NDArray[np.integer] | None
) -> Contexts:
    """Return the contexts of the changes of votes."""
    shift = None if activities is None else _of_gates(activities, context)
    above = _levels((risks >> np.uint64(32)).astype(np.uint32), shift)
    below = _levels(risks.astype(np.uint32), shift)
    zero = edges * np.uint16(_LEVELS**2)
    zero += above * np.uint16(_LEVELS)
    zero += below
    return Contexts(zero, above, below)


def _levels(risk: NDArray[np.uint32], shift: NDArray[np.int8] | None) -> NDArray[np.uint8]:
    few = np.minimum(risk, (1 << 24) - 1).astype(np.float32)  # exact, so that its exponent is the bit length
    level = np.frexp(few)[1].astype(np.int8)
    level -= np.int8(_NEGLIGIBLE)
    if shift is not None:
        level += shift
    np.clip(level, 0, _LEVELS - 1, out=level)
    level[risk == 0] = 0
    return level.view(np.uint8)


def _edges(expected: NDArray[np.uint32], trials: int) -> NDArray[np.uint16]:
    """Return 1 where votes cannot fall, 2 where they cannot rise, and 0 elsewhere."""
    edges = (expected >= trials).astype(np.uint16)
    edges *= np.uint16(2)
    edges[expected == 0] = 1
    return edges


# --- activities of rows and columns


def _grids(context: CodingContext) -> Iterator[tuple[slice, int, int]]:
    """Yield the gates, rows and columns of each layer with more than one of both."""
    start = 0
    for size, rows in zip(context.layers, context.rows, strict=True):
        if 1 < rows < size:
            yield slice(start, start + size), rows, size // rows
        start += size


def _of_gates(activities: NDArray[np.integer], context: CodingContext) -> NDArray[np.int8]:
    """Return the activity of each gate ``[d]``: the sum of its row's and its column's."""
    found, start = np.zeros(context.size, dtype=np.int8), 0
    for gates, rows, columns in _grids(context):
        of_rows, of_columns = activities[start : start + rows], activities[start + rows : start + rows + columns]
        found[gates] = (of_rows[:, None] + of_columns[None, :]).reshape(-1)
        start += rows + columns
    return found


def _fitted_activities(change: NDArray[np.int64], risks: NDArray[np.uint64], context: CodingContext) -> NDArray[np.int8]:
    """Return the activities under which the changes are likeliest, about; only the encoder does this, so it may use floats."""
    parts = [np.zeros(0, dtype=np.int8)]
    for gates, rows, columns in _grids(context):
        changed = np.minimum(change[gates], 2).reshape(rows, columns).astype(np.float64)
        both = (risks[gates] >> np.uint64(32)) + (risks[gates] & np.uint64(0xFFFFFFFF))
        expected = both.reshape(rows, columns) / 2.0**16
        of_columns = np.ones(columns)
        for _ in range(2):
            of_rows = (changed.sum(1) + _CAUTION) / (expected @ of_columns + _CAUTION)
            of_columns = (changed.sum(0) + _CAUTION) / (of_rows @ expected + _CAUTION)
        parts += [np.clip(np.rint(np.log2(each)), _LOWEST, _HIGHEST).astype(np.int8) for each in (of_rows, of_columns)]
    return np.concatenate(parts)


def _of_units(context: CodingContext) -> Contexts:
    """Return the contexts of activities: rows and columns of each layer apart."""
    sizes = [size for _, rows, columns in _grids(context) for size in (rows, columns)]
    zeros = np.zeros(sum(sizes), dtype=np.uint8)
    return Contexts(np.repeat(np.arange(len(sizes), dtype=np.uint16), sizes), zeros, zeros)


# --- rounds and their clients


def _written(rounds: Sequence[CountedRound], used_from: int) -> Iterator[bytes]:
    for number, clients in rounds:
        yield _varint(2 * len(clients) + (number >= used_from if clients else 0))
        before = -1
        for client in clients:
            yield _varint(client - before - 1)
            before = client


def _read_rounds(
    body: memoryview, start: int, between: tuple[int, int], most_clients: int
) -> tuple[list[CountedRound], list[CountedRound], int]:
    """Return the rounds, those whose coins are used, and where the range code begins."""
    first, end = between
    if not 0 <= end - first <= len(body):
        raise WireError(f"a change over {end - first} rounds in {len(body)} bytes")
    rounds, used, total = list[CountedRound](), list[CountedRound](), 0
    for number in range(first, end):
        head, start = _read_varint(body, start)
        total += head // 2
        if head == 1:
            raise WireError("a round that is used and has no clients")
        if total > most_clients:
            raise WireError(f"more than {most_clients} counted clients (limits.max-relay-updates)")
        clients, before = list[int](), -1
        for _ in range(head // 2):
            gap, start = _read_varint(body, start)
            before += gap + 1
            clients.append(before)
        if before >= 1 << 64:
            raise WireError("a client's name is beyond 2^64")
        rounds.append((number, clients))
        if head % 2:
            used.append((number, clients))
    return rounds, used, start


def _varint(value: int) -> bytes:
    """Return an integer in groups of seven bits, lowest first; all bytes but the last have the eighth bit."""
    groups = []
    while value >= 128:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


def _read_varint(body: memoryview, start: int) -> tuple[int, int]:
    value = 0
    for i in range(10):
        if start + i >= len(body):
            raise WireError("a body that ends in its list of clients")
        byte = body[start + i]
        value |= (byte & 127) << 7 * i
        if byte < 128:
            if i and not byte:
                raise WireError("a number with a superfluous byte")
            return value, start + i + 1
    raise WireError("a number of more than 10 bytes")
