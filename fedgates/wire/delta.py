"""Delta: the change of votes since an older state that the client knows, coded by coins or by classes of gates.

**By coins**, for masks that are sampled with coins. The receiver regenerates the coins of all clients that were counted since
the older state, and computes the expected votes: those that the method's rule would give if these clients had not trained. The
payload codes the differences between the new votes and the expected votes. A coin far from a client's probability almost
determines the bit, so a gate with only far coins rarely has a difference. Near coins tell how many differences to expect, and
whether above or below (:mod:`fedgates.wire.flips`). The payload depends on the masks only through their sum.

**By classes**, for other masks, and if more clients were counted than the receiver may regenerate coins for. The expected votes
keep the old shares, and gates with the same share have the same distribution of differences.

Body: CRC of the base state u32, trials u32, prior u16, flags u8 (1: with activities, 2: by classes); by coins, the rates of
flips (32 frequency bytes of :mod:`fedgates.wire.scale`); scalars float64; tail float32; by coins, the counted clients of each
round (:mod:`fedgates.wire.counted_rounds`); then a range code of integers (:mod:`fedgates.wire.integers`): with flag 1, the
activities of rows and columns (:mod:`fedgates.wire.activities`); then the differences of the votes.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fedgates.errors import WireError
from fedgates.types import State, Votes
from fedgates.wire.activities import fitted_activities, of_gates, read_activities, write_activities
from fedgates.wire.by_classes import ByClasses
from fedgates.wire.by_coins import ByCoins, Expect
from fedgates.wire.context import CodingContext
from fedgates.wire.counted_rounds import MOST_CLIENTS, CountedRound, read_rounds, write_rounds
from fedgates.wire.flips import Flips, fixed_point
from fedgates.wire.header import COUNTS, DELTA, NO_VALUES, VALUES_FLOAT32, seal, unseal
from fedgates.wire.integers import LARGEST, read_integers, write_integers
from fedgates.wire.range_coder import BitWriter, bit_reader, read_table
from fedgates.wire.relay import VersionedState, expect_base
from fedgates.wire.scale import frequency_bytes
from fedgates.wire.side_info import BINS
from fedgates.wire.states import read_scalars_and_tail, scalars_and_tail, state_crc

_PREFIX = struct.Struct("<IIHB")
_ACTIVITIES, _BY_CLASSES = 1, 2
"""Flags."""


class Coupling(NamedTuple):
    """Prior knowledge of a client about votes."""

    initial: Votes | None
    """State before the first round; None if the last bits of the state, or of its theta, depend on the machine."""
    probability: float
    """Probability of a 1 in a mask of the first round, before training."""
    expect: Expect | None
    """Computes expected votes from the clients' coins; None if masks are not sampled with coins."""


def pack_delta(
    base: VersionedState,
    rounds: Sequence[CountedRound] | None,
    target: State,
    context: CodingContext,
    flips: Flips,
    coupling: Coupling,
) -> bytes | None:
    """Encode the change from one state of votes to a newer one; return None if the change of a gate is too large.

    Parameters
    ----------
    base : VersionedState
        The state that the receiver knows.
    rounds : sequence, optional
        To code by coins: the rounds from that of the base to the one before ``context.server_round``, in order, each with the
        clients whose coins affect the new votes. None to code by classes.
    target : Votes
        The new state.
    context : CodingContext
        Network and round.
    flips : Flips
        Flips in masks of these rounds.
    coupling : Coupling
        Prior knowledge of the receiver about votes.

    Raises
    ------
    TypeError
        A state is not of votes.
    ValueError
        `rounds` is given, but masks are not sampled with coins.
    """
    if not isinstance(base.state, Votes) or not isinstance(target, Votes):
        raise TypeError("a delta needs states of votes")
    flags, prior, table, names = _BY_CLASSES, 0, b"", b""
    model: ByClasses | ByCoins
    if rounds is None:
        model = ByClasses(base.state, target.trials, context)
    elif coupling.expect is None:
        raise ValueError("the masks of this run do not depend on coins")
    else:
        flags, prior = 0, 0 if base.state.trials else fixed_point(coupling.probability)
        rates = frequency_bytes(flips.flipped, flips.gates)
        table, names = rates.tobytes(), write_rounds(rounds)
        model = ByCoins(base.state, target.trials, rounds, coupling.expect, context, rates, prior)
    change = target.votes.astype(np.int64) - model.expected
    if len(change) and int(np.abs(change).max()) > LARGEST:
        return None
    activities = fitted_activities(np.abs(change), model.usual(change), context)
    codes = []
    for chosen in (None, activities) if len(activities) else (None,):
        writer = BitWriter()
        if chosen is not None:
            write_activities(writer, chosen, context)
        write_integers(writer, change, model.contexts(None if chosen is None else of_gates(chosen, context)))
        codes.append(writer.finish())
    code = min(codes, key=len)
    flags |= 0 if code is codes[0] else _ACTIVITIES
    prefix = _PREFIX.pack(state_crc(base.state), target.trials, prior, flags)
    value_type = VALUES_FLOAT32 if context.tail else NO_VALUES
    body = prefix + table + scalars_and_tail(target) + names + code
    return seal(DELTA, COUNTS, value_type, context, base.server_round, state_crc(target), body)


def apply_delta(
    data: bytes, base: VersionedState | None, context: CodingContext, expect: Expect | None, most_clients: int = MOST_CLIENTS
) -> tuple[State, int]:
    """Decode a delta; return the newer state, equal to the server's bit for bit, and the round that it opens.

    Parameters
    ----------
    data : bytes
        A complete payload.
    base : VersionedState, optional
        The state that this client has.
    context : CodingContext
        The reader's own network, and the run's seed.
    expect : callable, optional
        The method's rule for clients that did not train; None if masks are not sampled with coins.
    most_clients : int
        Largest number of counted clients to accept, whose coins are regenerated.

    Raises
    ------
    WireError
        The delta is for another base, or is not a complete, valid delta of this network.
    """
    value_type = VALUES_FLOAT32 if context.tail else NO_VALUES
    header, body = unseal(data, context, ((DELTA, COUNTS, value_type),))
    base = expect_base(base, header, body, "a change of")
    if not isinstance(base.state, Votes):
        raise WireError("a change of votes, but this client has weights")
    _expect_length(body, _PREFIX.size)
    _, trials, prior, flags = _PREFIX.unpack_from(body)
    if flags > _ACTIVITIES | _BY_CLASSES:
        raise WireError(f"flags {flags}, expected 0 to 3")
    if prior and (base.state.trials or flags & _BY_CLASSES):
        raise WireError(f"a prior of {prior}, expected 0")
    if header.number > header.server_round:
        raise WireError(f"a change over {header.server_round - header.number} rounds")
    model: ByClasses | ByCoins
    if flags & _BY_CLASSES:
        scalars, tail, start = read_scalars_and_tail(body, _PREFIX.size, context)
        model = ByClasses(base.state, trials, context)
    elif expect is None:
        raise WireError("a delta by coins, but the masks of this run do not depend on coins")
    else:
        start = _PREFIX.size + BINS
        _expect_length(body, start)
        rates = read_table(body[_PREFIX.size : start])
        scalars, tail, start = read_scalars_and_tail(body, start, context)
        rounds, start = read_rounds(body, start, (header.number, header.server_round), most_clients)
        model = ByCoins(base.state, trials, rounds, expect, context, rates, prior)
    reader = bit_reader(body[start:])
    activities = of_gates(read_activities(reader, context), context) if flags & _ACTIVITIES else None
    expected, contexts = model.expected, model.contexts(activities)
    del model, activities  # large: many bytes per gate
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


def _expect_length(body: memoryview, least: int) -> None:
    if len(body) < least:
        raise WireError(f"a body of {len(body)} bytes, expected at least {least}")
