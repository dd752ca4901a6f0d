"""FORMAT.md, by way of a decoder that was written from it alone, against our own coders."""

import ast
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference_decoder as reference
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_cases import (
    CLIENT,
    DIGEST,
    LAYERS,
    ROUND,
    SEED,
    Case,
    aggregate,
    cases,
    content,
    theta_of,
    untrained,
    votes_of,
    weights_of,
)

from fedgates import rng
from fedgates.errors import WireError
from fedgates.flower.records import STYPE
from fedgates.types import Update, Votes, Weights, pack
from fedgates.wire import CodingContext, VersionedState, header, pack_state, pack_update, payload_type, side_info, state_crc
from fedgates.wire.range_coder import SYMBOL_SCALE, decode_bits, encode_bits, encode_symbols
from fedgates.wire.scale import FREQUENCIES, frequency_bytes, step

FORMAT = (Path(header.__file__).parent / "FORMAT.md").read_text(encoding="utf-8")
CASES = cases()
CODECS = {name: number for number, name in header.CODECS.items()}
TRIALS = [0, 1, 2, 3, 7, 30, 33, 1000, 4095, 4096, 4097, 2**23, 2**32 - 1]
seeds = st.integers(0, 2**32 - 1)
networks = st.lists(st.integers(1, 70), min_size=1, max_size=10).map(tuple)


# --- ours, as the reference has it, and back


def to_reference(state):
    if isinstance(state, Votes):
        return reference.Votes(state.votes.tolist(), state.trials, state.scalars, tuple(state.tail.view(np.uint32).tolist()))
    return state and reference.Weights(state.values.view(np.uint32).tolist(), state.scalars)


def to_ours(found):
    if isinstance(found, reference.Votes):
        return Votes(np.array(found.votes, np.uint32), found.trials, found.scalars, tail=floats_of(found.tail))
    if isinstance(found, reference.Weights):
        return Weights(floats_of(found.values), found.scalars)
    mask = None if found.mask is None else pack(np.array(found.mask, np.bool_))
    return Update(mask, floats_of(found.values), floats_of(found.tail), num_examples=found.examples)


def floats_of(bits):
    return None if bits is None else np.array(bits, np.uint32).view(np.float32)


def rule(state, updates, server_round):
    return to_reference(aggregate(to_ours(state), map(to_ours, updates), server_round))


def untrained_rule(state, rounds):
    return to_reference(untrained(to_ours(state), rounds))


def read_by_reference(case, payload):
    context, own = case.context, to_reference(case.context.state)
    here = reference.CodingContext(
        context.digest,
        context.layers,
        context.server_round,
        own,
        context.seed,
        context.client,
        context.scalars,
        context.tail,
        context.rows,
    )
    if case.sort == "sums":
        return np.array(reference.decode_sums(payload, here, case.which, case.count))
    if case.sort == "state":
        state, server_round = reference.decode_state(payload, here, CODECS["float32" if case.codec == "float32" else "votes"])
        return to_ours(state), server_round
    base = case.base and (to_reference(case.base.state), case.base.server_round)
    if case.sort == "delta":
        state, server_round = reference.decode_delta(payload, base, here, untrained_rule)
        return to_ours(state), server_round
    sort = payload_type(case.kind, case.codec, case.value_type)
    if case.sort == "update":
        return to_ours(reference.decode_update(payload, here, sort))
    state, server_round = reference.decode_relay(payload, base, here, sort, rule)
    return to_ours(state), server_round


def outcome(read, payload, refusal):
    """What is read, or None where it is refused."""
    try:
        return content(read(payload))
    except refusal:
        return None


def expect_same(case, payload):
    assert outcome(lambda data: read_by_reference(case, data), payload, ValueError) == outcome(case.read, payload, WireError)


def resealed(payload):
    checksum = zlib.crc32(payload[:32] + payload[36:])
    return payload[:32] + checksum.to_bytes(4, "little") + payload[36:]


def with_check(payload, number):
    return payload[:28] + number.to_bytes(4, "little") + payload[32:]


def changed_at(payload, at, bits):
    return payload[:at] + bytes([payload[at] ^ bits]) + payload[at + 1 :]


# --- payloads


@pytest.mark.parametrize("name", CASES)
def test_every_sort_of_payload_is_read_alike(name):
    case = CASES[name]
    assert content(read_by_reference(case, case.payload)) == content(case.read(case.payload))


@pytest.mark.slow
@given(networks, seeds)
@settings(deadline=None, max_examples=20)
def test_every_sort_of_payload_is_read_alike_over_random_networks(layers, seed):
    for case in cases(layers, seed).values():
        assert content(read_by_reference(case, case.payload)) == content(case.read(case.payload)), case.name


@given(networks, seeds, st.sampled_from(TRIALS))
@examples(60)
def test_votes_of_any_trials_and_masks_given_them_are_read_alike(layers, seed, trials):
    random = np.random.default_rng(seed)
    context = CodingContext(DIGEST, layers, ROUND, votes_of(random, sum(layers), trials), SEED, CLIENT)
    for downlink in ("votes", "float32") if trials <= 2**23 else ("votes",):
        case = Case("", "state", "", downlink, "", replace(context, state=None), pack_state(context.state, context, downlink))
        found, _ = read_by_reference(case, case.payload)
        assert (found.votes.tolist(), found.trials) == (context.state.votes.tolist(), trials)
    expect_masks_alike(random, context)


@given(networks, seeds, st.floats(0, 1), st.booleans())
@examples(40)
def test_weights_and_masks_given_them_are_read_alike(layers, seed, density, tiny):
    random = np.random.default_rng(seed)
    state = weights_of(random, sum(layers), density)
    state.values[random.random(sum(layers)) < 0.1] = -0.0
    if tiny:  # exponents from that of 1 down to those of subnormal numbers
        state.values[:] = state.values * 2.0 ** -random.integers(0, 149, sum(layers))
    context = CodingContext(DIGEST, layers, ROUND, state, SEED, CLIENT)
    case = Case("", "state", "", "votes", "", replace(context, state=None), pack_state(state, context))
    assert read_by_reference(case, case.payload)[0].values.tobytes() == state.values.tobytes()
    expect_masks_alike(random, context)


def expect_masks_alike(random, context):
    theta = theta_of(random, context.state, 0.7)
    for numbers in (context.coins() / 2.0**32, random.random(context.size)):  # the wire's coins, or a client's own
        update = Update(mask=pack(numbers < theta), theta=theta)
        for codec in ("entropy", "side-info", "sampled"):
            case = Case("", "update", "mask", codec, "float32", context, pack_update(update, context, codec))
            found = read_by_reference(case, case.payload).mask
            assert found.tolist() == case.read(case.payload).mask.tolist()
            assert codec == "sampled" or found.tolist() == update.mask.tolist()


# --- payloads that are not sound


@given(st.sampled_from(sorted(CASES)), st.data())
@examples(400)
def test_changed_bytes_are_refused_or_read_alike(name, data):
    case = CASES[name]
    at = data.draw(st.integers(0, len(case.payload) - 1))
    changed = bytearray(case.payload)
    changed[at] = data.draw(st.integers(0, 255))
    expect_same(case, bytes(changed))
    expect_same(case, resealed(bytes(changed)))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [-4, -1, 1, 4, 8])
def test_other_lengths_are_refused_or_read_alike(name, size):
    case = CASES[name]
    expect_same(case, resealed(case.payload[:size] if size < 0 else case.payload + bytes(size)))
    expect_same(case, case.payload[: 36 + size])


def with_other_frequencies(case):
    """A votes payload whose range code is sound, of a table that is not its votes' own."""
    votes, trials = case.read(case.payload)[0].votes, case.read(case.payload)[0].trials
    frequencies = np.full(trials + 1, SYMBOL_SCALE // (trials + 1), np.uint16)
    frequencies[0] += SYMBOL_SCALE - frequencies.sum(dtype=int)
    return case.payload[:36] + frequencies.astype("<u2").tobytes() + encode_symbols(votes.astype(np.int32), frequencies)


def with_a_prior_of_zero(case):
    """A sampled mask whose number and check fit it."""
    body = b"\0\0" + case.payload[38:]
    level, prior = case.context.levels.of_gate, int.from_bytes(case.payload[36:38], "little")
    mask = np.where(level == level.min(), 0, case.read(case.payload).gates(case.context.size)).astype(bool)
    assert prior
    return case.payload[:24] + struct.pack("<II", int(mask.sum()), zlib.crc32(pack(mask))) + bytes(4) + body


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("votes of 10", with_other_frequencies),
        ("votes of 5000", lambda case: changed_at(case.payload, 36 + 2 * (5000 // 2 + 1) + 16, 0x80)),  # beyond the last gate
        ("mask, sampled", with_a_prior_of_zero),
        (
            "relay of values, side-info",
            lambda case: changed_at(with_check(case.payload, state_crc(case.base.state)), 36 + 4, 1),
        ),
    ],
)
def test_what_a_single_check_finds_is_refused_by_both(name, change):
    case = CASES[name]
    payload = resealed(change(case))
    assert outcome(lambda data: read_by_reference(case, data), payload, ValueError) is None
    assert outcome(case.read, payload, WireError) is None


def test_another_base_round_network_or_sort_is_refused_by_both():
    for case in CASES.values():
        context = case.context
        known = case.base and VersionedState(case.base.state, case.base.server_round + 1)
        others = [
            replace(case, context=replace(context, digest=bytes(8))),
            replace(case, context=replace(context, layers=(130, 1), rows=(1, 1))),
        ]
        others += [replace(case, context=replace(context, server_round=1))] if case.sort in {"update", "sums"} else []
        others += [replace(case, base=known)] if case.base else []
        for other in others:
            expect_same(other, case.payload)
            assert outcome(other.read, case.payload, WireError) is None


@given(seeds, st.lists(st.integers(0, 208), min_size=1, max_size=4), st.integers(0, 5), st.booleans())
@examples(300)
def test_a_range_code_is_sound_if_and_only_if_it_ends_as_an_encoder_ends_it(seed, table, length, near):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 30, len(table)).tolist()
    frequencies = FREQUENCIES[table]
    data = random.bytes(4 * length)
    if near:  # the last word of a sound code, and whatever is near it
        code = encode_bits((random.random(sum(sizes)) < 0.5).astype(np.uint8), sizes, frequencies)
        last = (int.from_bytes(code[-4:], "little") + int(random.integers(-2, 3))) % 2**32
        data = code[:-4] + last.to_bytes(4, "little") + bytes(4 * int(random.integers(0, 2)))
    decoder, found = reference.RangeCode(data), []
    try:
        for size, f in zip(sizes, frequencies.tolist(), strict=True):
            found += decoder.symbols(size, reference.edges([2**16 - f, f], 2**16))
        decoder.finish()
    except ValueError:
        with pytest.raises(WireError):
            decode_bits(data, sizes, frequencies)
    else:
        assert decode_bits(data, sizes, frequencies).tolist() == found


# --- what FORMAT.md says, number by number


def test_the_reference_knows_nothing_of_ours():
    tree = ast.parse(Path(reference.__file__).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    allowed = {"hashlib", "math", "struct", "zlib", "collections", "collections.abc", "dataclasses", "fractions", "functools"}
    assert names == allowed | {"typing", "integer_range_decoder"}


def test_numbers_of_the_header_are_those_of_the_code():
    assert FORMAT.startswith(f"# The wire format, version {header.VERSION}\n")
    assert f"| 4 | version | u8 | {header.VERSION} |" in FORMAT
    assert f"a header of {header.HEADER_SIZE} bytes" in FORMAT
    assert f"| `{header.MAGIC.decode()}` |" in FORMAT
    assert f"`{STYPE}`" in FORMAT
    for field, names in {"kind": header.KINDS, "codec": header.CODECS, "value type": header.VALUE_TYPES}.items():
        (row,) = re.findall(rf"\| {field} \| u8 \| (.*) \|", FORMAT)
        assert row == ", ".join(f"{number} {name}" for number, name in names.items())
    assert (reference.HEADER_SIZE, reference.VERSION) == (header.HEADER_SIZE, header.VERSION)


def test_the_table_of_payloads_names_every_sort_there_is():
    rows = re.findall(r"^\| (?:update|state|delta|relay|sums)[^|]*\| (\d), (\S+), (\S+) \|", FORMAT, re.MULTILINE)
    ranges = [[range(int(part[0]), int(part[-1]) + 1) for part in row] for row in rows]
    named = {(k, c, v) for kinds, codecs, types in ranges for k in kinds for c in codecs for v in types}
    assert len(rows) == 10
    assert named == {(p[5], p[6], p[7]) for p in (case.payload for case in CASES.values()) if p[5] != header.RELAY}


def test_frequencies_are_those_of_the_formula():
    assert f"({len(FREQUENCIES)} values)" in FORMAT
    assert FREQUENCIES.tolist() == reference.FREQUENCIES
    assert [reference.step(v) for v in range(5000)] == [step(v) for v in range(5000)]
    ones, sizes = np.array([(k, n) for n in range(1, 70) for k in range(n + 1)]).T
    pairs = zip(ones.tolist(), sizes.tolist(), strict=True)
    assert frequency_bytes(ones, sizes).tolist() == [reference.frequency_byte(k, n) for k, n in pairs]


def test_bins_are_those_of_the_formula():
    (edges,) = re.findall(r"how many of ([\d, ]+) are at most x", FORMAT)
    assert [int(edge) for edge in edges.split(", ")] == side_info._EDGES.tolist() == reference.BIN_EDGES
    assert f"y + {side_info._SIDE} where" in FORMAT
    some = FREQUENCIES[[0, 1, 2, 15, 60, 103, 104, 105, 150, 207, 208]]
    assert side_info._bins(some).tolist() == [[reference.bin_of(f, u) for u in range(4096)] for f in some.tolist()]


def test_streams_are_philox_and_start_as_format_says():
    found = reference.stream("upload", reference.CodingContext(DIGEST, LAYERS, 7, None, 11, 3), 0, 50)
    assert found == rng.words(50, 11, "upload", server_round=7, client=3).tolist()
    assert f"word 0 `{found[0]:016x}` and word 4 `{found[4]:016x}`" in FORMAT
    assert f"digest `{rng._digest(11, 'upload', 7, 3).hex()}`" in FORMAT
    far = reference.stream("candidates", reference.CodingContext(DIGEST, LAYERS, 2**32 - 1, None, 2**63 - 1, 2**64 - 1), 400, 8)
    assert far == rng.words(408, 2**63 - 1, "candidates", server_round=2**32 - 1, client=2**64 - 1)[400:].tolist()
