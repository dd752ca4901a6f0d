"""Deltas: the change of votes given the coins of counted clients."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from damage import resealed
from effort import examples
from hypothesis import given
from hypothesis import strategies as st
from wire_cases import COUPLING, DIGEST, ROUND, SEED, delta_case, sampled_by_coins, untrained, votes_of

from fedgates.errors import WireError
from fedgates.types import Votes, Weights, pack
from fedgates.wire import CodingContext, VersionedState, apply_delta, pack_delta, pack_state
from fedgates.wire.flips import NO_FLIPS, count_flips
from fedgates.wire.header import HEADER_SIZE

LAYERS, ROWS = (64 * 40, 64, 640), (64, 1, 10)
SIZE = sum(LAYERS)
CONTEXT = CodingContext(DIGEST, LAYERS, ROUND, seed=SEED, rows=ROWS)


def body_of(payload):
    return payload[HEADER_SIZE:]


def with_body(payload, at, data):
    start = HEADER_SIZE + at
    return resealed(payload[:start] + data + payload[start + len(data) :])


def case_of(clients=((1, 2, 3),), seed=0, **options):
    return delta_case(np.random.default_rng(seed), CONTEXT, list(map(list, clients)), rows=ROWS, **options)


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=4), max_size=3),
    st.sampled_from([0, 1, 7, 300, 70_000]),
    st.sampled_from([0.0, 0.3, 4.0]),
    st.booleans(),
)
@examples(80)
def test_the_new_state_is_the_servers_bit_for_bit(seed, clients, trials, shift, by_classes):
    case, state = case_of(clients, seed, trials=trials, shift=shift, by_classes=by_classes)
    found, opens = case.read(case.payload)
    assert (found.votes.tobytes(), found.trials, opens) == (state.votes.tobytes(), state.trials, ROUND)


def test_scalars_and_tail_are_those_of_the_new_state():
    case, state = case_of(scalars=(0.5, -3.0), tail=7)
    found, _ = case.read(case.payload)
    assert (found.scalars, found.tail.tobytes()) == ((0.5, -3.0), state.tail.tobytes())


def test_it_is_a_fraction_of_a_snapshot_where_training_moves_little():
    case, state = case_of([range(10)], trials=10, shift=0.1)
    snapshot = pack_state(state, replace(case.context, server_round=ROUND))
    assert len(case.payload) < len(snapshot) / 3


def test_nothing_but_names_travels_where_nobody_trained():
    random = np.random.default_rng(0)
    base = votes_of(random, SIZE, 4)
    state = untrained(base, [(ROUND - 1, list(range(10)))])
    known = VersionedState(base, ROUND - 1)
    payload = pack_delta(known, [(ROUND - 1, list(range(10)))], state, CONTEXT, NO_FLIPS, COUPLING)
    assert len(payload) < HEADER_SIZE + 43 + 11 + 50


def entropy_given(old, new):
    """Bits of the new votes given the old ones, with the frequencies that they have."""
    total = 0.0
    for votes in np.unique(old):
        counts = np.unique(new[old == votes], return_counts=True)[1]
        total -= (counts * np.log2(counts / counts.sum())).sum()
    return total


def test_by_classes_it_is_about_the_entropy_given_the_old_votes():
    random = np.random.default_rng(5)
    context = CodingContext(DIGEST, (200_000,), ROUND, seed=SEED, rows=(1,))
    base = votes_of(random, 200_000, 10)
    moved = random.binomial(10, np.clip(base.votes / 10 + 0.05 * random.normal(size=200_000), 0, 1)).astype(np.uint32)
    known = VersionedState(base, ROUND - 3)
    payload = pack_delta(known, None, Votes(moved, 10), context, NO_FLIPS, COUPLING._replace(expect=None))
    assert len(payload) < 1.05 * entropy_given(base.votes, moved) / 8 + 200
    assert apply_delta(payload, known, context, None)[0].votes.tolist() == moved.tolist()
    assert len(payload) < len(pack_state(Votes(moved, 10), context))


def test_by_classes_shares_carry_over_to_other_trials():
    random = np.random.default_rng(5)
    base = votes_of(random, SIZE, 1000)
    known, state = VersionedState(base, 3), Votes((base.votes * 3 + 500) // 1000, 3)
    payload = pack_delta(known, None, state, CONTEXT, NO_FLIPS, COUPLING)
    assert len(payload) < HEADER_SIZE + 11 + 200  # nothing but tables
    assert apply_delta(payload, known, CONTEXT, None)[0].votes.tolist() == state.votes.tolist()


def test_a_delta_by_coins_is_refused_where_masks_do_not_depend_on_them():
    with pytest.raises(WireError, match="a delta by coins, but the masks of this run do not depend on coins"):
        apply_delta(CASE.payload, CASE.base, CASE.context, None)
    with pytest.raises(ValueError, match="do not depend on coins"):
        pack_delta(CASE.base, [], CASE.base.state, CONTEXT, NO_FLIPS, COUPLING._replace(expect=None))


def test_units_that_change_more_often_than_their_coins_say_are_cheaper_with_activities():
    """A change in few rows and columns alone: as of gradients that are zero elsewhere."""
    random = np.random.default_rng(3)
    base = votes_of(random, SIZE, 4)
    expected = untrained(base, [(ROUND - 1, [1, 2, 3])])
    at = np.arange(64 * 40).reshape(64, 40)
    moved = np.zeros(SIZE, bool)
    moved[at[:24][:, 5:20].reshape(-1)] = random.random(360) < 0.6
    up = np.where(expected.votes < expected.trials, 1, -1)
    states = [
        Votes((expected.votes + up * flips).astype(np.uint32), expected.trials) for flips in (moved, random.permutation(moved))
    ]
    flips = NO_FLIPS._replace(gates=np.full(32, 1000), flipped=np.full(32, 15))
    known, rounds = VersionedState(base, ROUND - 1), [(ROUND - 1, [1, 2, 3])]
    together, scattered = (pack_delta(known, rounds, state, CONTEXT, flips, COUPLING) for state in states)
    assert body_of(together)[10] == 1
    assert len(together) < len(scattered)
    for payload, state in zip((together, scattered), states, strict=True):
        assert apply_delta(payload, known, CONTEXT, untrained)[0].votes.tolist() == state.votes.tolist()


def test_flips_are_counted_by_the_side_of_the_coin():
    random = np.random.default_rng(0)
    state = votes_of(random, SIZE, 10)
    context = replace(CONTEXT, state=state, client=3)
    honest = pack(sampled_by_coins(np.clip(state.votes / 10, 0.0011, 0.9989), context))
    none = count_flips(honest, context, 0.5)
    assert none.gates.sum() == SIZE
    assert none.flipped.sum() <= SIZE // 500  # bins know a coin's first 12 bits
    every = count_flips(honest ^ 0xFF, context, 0.5)
    assert (every.flipped + none.flipped).tolist() == every.gates.tolist() == none.gates.tolist()
    logits = np.log(1 / np.clip(state.votes / 10, 0.0011, 0.9989) - 1) + random.normal(size=SIZE)
    moved = count_flips(pack(sampled_by_coins(1 / (1 + np.exp(logits)), context)), context, 0.5)
    for side in (slice(0, 16), slice(16, 32)):
        near, far = (moved.flipped[side][part].sum() / moved.gates[side][part].sum() for part in (slice(0, 4), slice(8, 16)))
        assert near > 2 * far


def test_a_change_beyond_what_integers_are_coded_is_none():
    base = Votes(np.zeros(SIZE, np.uint32), 1000)
    state = Votes(np.full(SIZE, 300, np.uint32), 1000)
    for rounds in ([], None):
        assert pack_delta(VersionedState(base, 6), rounds, state, CONTEXT, NO_FLIPS, COUPLING) is None


# --- what is refused


CASE, _ = case_of(((1, 2), (3,)), seed=1)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (None, "a change of the state of round 5, but this client has none"),
        (VersionedState(CASE.base.state, 4), "a change of the state of round 5, but this client has that of round 4"),
        (VersionedState(votes_of(np.random.default_rng(9), SIZE, 4), 5), "a change of another state of round 5 than"),
        (VersionedState(Weights(np.zeros(SIZE, np.float32)), 5), "a change of another state of round 5 than"),
    ],
)
def test_another_base_is_refused(base, message):
    with pytest.raises(WireError, match=message):
        apply_delta(CASE.payload, base, CASE.context, untrained)


NAMES = 43
"""Where the rounds begin in the body of CASE."""


@pytest.mark.parametrize(
    ("at", "data", "message"),
    [
        (8, b"\1\0", "a prior of 1, expected 0"),
        (10, b"\4", "flags 4, expected 0 to 3"),
        (11, b"\xd1", "a frequency's byte is 209"),
        (4, struct.pack("<I", 0), "votes of 0 trials|damaged|not the one|do not match|beyond"),
        (NAMES, b"\xff\xff\xff\x7f", "more than 65535 counted clients"),
        (NAMES, b"\x80\x00", "a number with a superfluous byte"),
        (NAMES, b"\xff" * 11, "a number of more than 10 bytes"),
        (NAMES + 1, b"\xff" * 9 + b"\x7f", "a client's name is beyond"),
    ],
)
def test_unsound_bodies_are_refused(at, data, message):
    with pytest.raises(WireError, match=message):
        CASE.read(with_body(CASE.payload, at, data))


def test_a_short_body_by_classes_is_refused():
    case, _ = case_of(by_classes=True)
    with pytest.raises(WireError, match="a body of 10 bytes, expected at least 11"):
        case.read(resealed(case.payload[: HEADER_SIZE + 10]))


def test_a_body_by_classes_has_no_prior():
    case, _ = case_of(trials=0, by_classes=True)
    with pytest.raises(WireError, match="a prior of 1, expected 0"):
        case.read(with_body(case.payload, 8, b"\1\0"))


def test_a_body_that_ends_in_its_clients_is_refused():
    with pytest.raises(WireError, match="ends within its list of clients"):
        CASE.read(resealed(CASE.payload[: HEADER_SIZE + NAMES + 1]))
    with pytest.raises(WireError, match="a body of 42 bytes, expected at least 43"):
        CASE.read(resealed(CASE.payload[: HEADER_SIZE + 42]))


def test_the_coins_of_other_clients_do_not_lead_to_the_state():
    with pytest.raises(WireError):
        CASE.read(with_body(CASE.payload, NAMES + 1, b"\2"))
