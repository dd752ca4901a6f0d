"""What decoding takes in memory: below what a run is refused for (`max-decode-mb`), whatever is decoded."""

import struct
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from loopback_runs import resealed
from wire_cases import (
    CLIENT,
    COUPLING,
    DIGEST,
    LOSSLESS,
    ROUND,
    SEED,
    Case,
    delta_case,
    relay_case,
    update_of,
    votes_of,
    weights_of,
)

from fedgates.errors import WireError
from fedgates.types import Votes
from fedgates.wire import CodingContext, VersionedState, pack_delta, pack_state, pack_update
from fedgates.wire.codec import DECODE_BYTES_A_GATE
from fedgates.wire.flips import NO_FLIPS
from fedgates.wire.header import HEADER_SIZE

LAYERS = (150_000, 500, 40_000, 1, 9_499)
ROWS = (150, 1, 400, 1, 7)
SIZE = 200_000
SLACK = 64 * 1024
"""Of what does not grow with a network: tables, and Python's own."""


def shared_of(random, trials):
    return CodingContext(DIGEST, LAYERS, ROUND, votes_of(random, SIZE, trials), SEED, CLIENT)


def update_case(kind, codec, trials, value_type="float32"):
    random = np.random.default_rng(2)
    context = shared_of(random, trials)
    payload = pack_update(update_of(random, kind, context), context, codec, value_type=value_type)
    return Case("", "update", kind, codec, value_type, context, payload)


def state_case(state, codec="votes"):
    bare = CodingContext(DIGEST, LAYERS, ROUND)
    return Case("", "state", "mask", codec, "float32", bare, pack_state(state, bare, codec))


def peak_of(case):
    """Bytes held at most while a payload is read, beside the payload itself."""
    case.read(case.payload)
    case = replace(case, context=replace(case.context))  # that one keeps the levels of its state
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    case.read(case.payload)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak - before


def expect_little(case):
    peak = peak_of(case)
    assert SIZE < peak < DECODE_BYTES_A_GATE * SIZE + len(case.payload) + SLACK
    return peak


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize("codec", [*LOSSLESS, "sampled"])
@pytest.mark.parametrize("trials", [10, 0, 5000, 100_000])
def test_masks(codec, trials):
    expect_little(update_case("mask", codec, trials))


@pytest.mark.parametrize("value_type", ["float32", "float16"])
@pytest.mark.parametrize("codec", LOSSLESS)
def test_masks_with_values(codec, value_type):
    expect_little(update_case("mask and values", codec, 100_000, value_type))


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("codec", ["side-info", "packed", "sampled"])
@pytest.mark.parametrize("value_type", ["float32", "float16"])
def test_a_tail_as_long_as_the_mask_takes_less_than_a_gate_a_value(codec, value_type):
    random = np.random.default_rng(2)
    alone, tailed = shared_of(random, 10), replace(shared_of(random, 10), tail=SIZE)
    peaks = []
    for kind, context in [("mask", alone), ("mask and tail", tailed)]:
        payload = pack_update(update_of(random, kind, context), context, codec, value_type=value_type)
        peaks.append(peak_of(Case("", "update", kind, codec, value_type, context, payload)))
    assert peaks[1] - peaks[0] < 6 * SIZE


def test_a_tail_of_a_state_takes_less_than_a_gate_a_value():
    state = replace(votes_of(np.random.default_rng(2), SIZE, 10), tail=np.ones(SIZE, np.float32))
    bare = CodingContext(DIGEST, LAYERS, ROUND, tail=SIZE)
    case = Case("", "state", "mask and tail", "votes", "float32", bare, pack_state(state, bare))
    assert peak_of(case) - peak_of(state_case(replace(state, tail=np.empty(0, np.float32)))) < 12 * SIZE


@pytest.mark.parametrize("value_type", ["float32", "float16"])
def test_values(value_type):
    expect_little(update_case("values", "side-info", 10, value_type))


@pytest.mark.parametrize("trials", [0, 10, 5000, 2_000_000])
@pytest.mark.parametrize("codec", ["votes", "float32"])
def test_votes(codec, trials):
    expect_little(state_case(votes_of(np.random.default_rng(2), SIZE, trials), codec))


@pytest.mark.parametrize("density", [1.0, 0.9, 0.1])
def test_weights(density):
    expect_little(state_case(weights_of(np.random.default_rng(2), SIZE, density)))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("kind", "codec"), [("mask", "side-info"), ("mask", "sampled"), ("mask", "packed"), ("values", "packed")]
)
def test_a_relay_takes_no_more_for_more_updates(kind, codec):
    random = np.random.default_rng(2)
    context = shared_of(random, 10)
    few, many = (relay_case(random, context, kind, codec, [[5], list(range(count))])[0] for count in (1, 8))
    peaks = [expect_little(case) for case in (few, many)]
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.slow
def test_a_delta_in_which_every_gate_changes():
    random = np.random.default_rng(2)
    base, bare = votes_of(random, SIZE, 1000), CodingContext(DIGEST, LAYERS, ROUND, seed=SEED, rows=ROWS)
    votes = np.clip(base.votes.astype(np.int64) + random.integers(-200, 200, SIZE), 0, 1000).astype(np.uint32)
    known = VersionedState(base, ROUND - 1)
    payload = pack_delta(known, [(ROUND - 1, [])], Votes(votes, 1000), bare, NO_FLIPS, COUPLING)
    expect_little(Case("", "delta", "mask", "votes", "float32", bare, payload, known))


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("trials", [0, 10, 100_000])
def test_a_delta_takes_no_more_for_more_clients(trials):
    random = np.random.default_rng(2)
    context = CodingContext(DIGEST, LAYERS, ROUND, None, SEED, CLIENT)
    few, many = (
        delta_case(random, context, [[5], list(range(count))], trials=trials, rows=ROWS, shift=0.3)[0] for count in (1, 8)
    )
    peaks = [expect_little(case) for case in (few, many)]
    assert peaks[1] < 1.3 * peaks[0]


def test_a_relay_with_a_long_tail_takes_no_more_for_more_updates():
    random = np.random.default_rng(2)
    peaks = []
    for count in (1, 8):
        clients = [[5], list(range(count))]
        case, _ = relay_case(random, shared_of(random, 10), "mask and tail", "packed", clients, tail=3 * SIZE)
        peaks.append(peak_of(case))
        assert peaks[-1] < DECODE_BYTES_A_GATE * 4 * SIZE + SLACK  # each value counts as a gate
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.slow
def test_a_relay_of_a_million_empty_updates_is_refused_without_building_them():
    """24 bytes an update on the wire; as objects of Python they would be 20 times as many."""
    case, _ = relay_case(np.random.default_rng(1), CodingContext(DIGEST, (30, 50), ROUND, seed=SEED), "mask", "packed", [[5]])
    count = 200_000
    body = case.payload[HEADER_SIZE : HEADER_SIZE + 4] + struct.pack("<BI", 1, count) + bytes(24 * count)
    hostile = resealed(case.payload[:HEADER_SIZE] + body)
    tracemalloc.start()
    with pytest.raises(WireError):
        case.read(hostile)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
