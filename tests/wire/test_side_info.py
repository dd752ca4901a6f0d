from dataclasses import replace

import numpy as np
import pytest
from wire_cases import CLIENT, DIGEST, ROUND, SEED, sampled_by_coins, theta_of, votes_of, weights_of

from fedgates.errors import WireError
from fedgates.types import Update, Votes, pack
from fedgates.wire import CodingContext, pack_update, side_info, unpack_update
from fedgates.wire.header import HEADER_SIZE
from fedgates.wire.range_coder import encode_bits
from fedgates.wire.side_info import Groups, _bins, _Classes, decode, encode

LAYERS = (1000, 1500, 500)
RANDOM = np.random.default_rng(3)
STATE = votes_of(RANDOM, 3000, 10)
CONTEXT = CodingContext(DIGEST, LAYERS, ROUND, STATE, SEED, CLIENT)
BY_COINS = sampled_by_coins(theta_of(RANDOM, STATE, 0.1), CONTEXT)
UNLIKE = RANDOM.random(3000) < (STATE.votes + 1) / 12


def mode(payload):
    return payload[HEADER_SIZE]


@pytest.mark.parametrize("mask", [BY_COINS, UNLIKE, ~BY_COINS, STATE.votes > 5], ids=["coins", "votes", "neither", "exactly"])
def test_masks_come_back_whatever_made_them(mask):
    payload = pack_update(Update(mask=pack(mask)), CONTEXT)
    assert unpack_update(payload, CONTEXT).gates(3000).tolist() == mask.tolist()


def test_coins_are_used_where_the_mask_was_sampled_with_them_and_not_elsewhere():
    by_coins, unlike = (pack_update(Update(mask=pack(mask)), CONTEXT) for mask in (BY_COINS, UNLIKE))
    assert (mode(by_coins), mode(unlike)) == (1, 0)
    assert len(by_coins) < 0.6 * len(unlike)


def test_body_of_votes_alone_by_hand():
    # votes 0 0 1 1 2 2 of 2: levels 0, 1 and 3; gates 0 0, 0 1, 1 1: frequencies 0, a half, all
    context = CodingContext(DIGEST, (6,), ROUND, Votes(np.array([2, 0, 1, 0, 1, 2], np.uint32), 2))
    gates = np.array([1, 0, 0, 0, 1, 1], np.uint8)
    code = encode_bits(np.array([0, 0, 0, 1, 1, 1], np.uint8), [2, 2, 2], np.array([0, 32768, 65536]))
    assert encode(gates, context) == bytes([0, 0, 0, 104, 208]) + code


def test_body_of_layers_with_tables_of_their_own_by_hand():
    # one level; every other gate of the first layer and the last is kept, and all of the second, whose group comes last
    context = CodingContext(DIGEST, (40, 40, 40), ROUND)
    gates = np.array([0, 1] * 20 + [1] * 40 + [0, 1] * 20, np.uint8)
    ordered = np.array([0, 1] * 40 + [1] * 40, np.uint8)
    code = encode_bits(ordered, [80, 40], np.array([32768, 65536]))
    assert encode(gates, context) == bytes([0, 0b010, 104, 208]) + code
    assert decode(memoryview(encode(gates, context)), context).tolist() == gates.tolist()


def test_bins_are_as_the_docstring_says():
    edges = [2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384]
    for frequency in (0, 1, 700, 32768, 65000, 65536):
        held = min(max(frequency, 1), 65535)
        found = _bins(np.array([frequency]))[0].tolist()
        for coin in range(4096):
            u = 2 * coin + 1
            a, b = u * (65536 - held), held * (8192 - u)
            x = 64 * (max(a, b) - min(a, b)) // min(a, b)
            assert found[coin] == sum(edge <= x for edge in edges) + 16 * (a > b)


@pytest.mark.parametrize(
    ("mask", "changed"),
    [
        (BY_COINS, {"seed": SEED + 1}),
        (BY_COINS, {"client": CLIENT + 1}),
        (BY_COINS, {"state": None}),
        (BY_COINS, {"state": Votes(np.minimum(STATE.votes + (np.arange(3000) == 5), 10).astype(np.uint32), 10)}),
        (BY_COINS, {"state": Votes(STATE.votes, 11)}),
        (UNLIKE, {"state": None}),
        (UNLIKE, {"state": Votes(STATE.votes[::-1].copy(), 10)}),
        (UNLIKE, {"state": weights_of(RANDOM, 3000)}),
        (UNLIKE, {"layers": (1000, 1500, 499, 1)}),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_another_end_never_reads_another_mask(mask, changed):
    payload = pack_update(Update(mask=pack(mask)), CONTEXT)
    try:
        found = unpack_update(payload, replace(CONTEXT, **changed))
    except WireError:
        return
    assert found.gates(3000).tolist() == mask.tolist()  # this gate's level did not matter


@pytest.mark.parametrize("changed", [{"seed": SEED + 1}, {"client": CLIENT + 1}, {"state": None}], ids=str)
def test_other_coins_or_another_state_are_refused(changed):
    with pytest.raises(WireError):
        unpack_update(pack_update(Update(mask=pack(BY_COINS)), CONTEXT), replace(CONTEXT, **changed))


def test_the_coins_of_another_client_do_not_matter_where_they_are_not_used():
    payload = pack_update(Update(mask=pack(UNLIKE)), CONTEXT)
    assert unpack_update(payload, replace(CONTEXT, client=99)).gates(3000).tolist() == UNLIKE.tolist()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "a body of 0 bytes, expected at least 2"),
        (b"\2\0", "a body of mode 2, expected 0 or 1"),
        (b"\0\x08", "flags beyond the last layer are not zero"),
        (b"\0\0", "a body of 2 bytes, expected at least 13"),
        (b"\1\0" + b"\0" * 10, "a body of 12 bytes, expected at least 13"),
        (b"\0\0" + b"\xd1" * 11, "a frequency's byte is 209, expected at most 208"),
        (b"\0\0" + b"\0" * 11 + b"\0" * 600, "a body of 613 bytes, expected at most 453"),
        (b"\0\0" + b"\x68" * 11 + b"\0", "a range code of 1 bytes"),
        (
            b"\0\0" + b"\x68" * 11 + encode_bits(np.zeros(3000, np.uint8), [3000], np.array([32768])),
            "the frequencies do not match the decoded gates",
        ),
        (b"\0\0" + b"\0" * 11 + b"\0" * 8, "the range code is not the one that its gates encode to"),
    ],
)
def test_bodies_that_no_encoder_writes_are_refused(body, message):
    with pytest.raises(WireError, match=message):
        decode(memoryview(body), CONTEXT)


@pytest.mark.parametrize("own", [[False] * 3, [True, False, True], [True] * 3])
@pytest.mark.parametrize("number", [7, 300])
def test_gates_are_ordered_by_group_in_pieces_as_at_once(own, number, monkeypatch):
    monkeypatch.setattr(side_info, "_PIECE", 64)
    classes = RANDOM.integers(0, number, 3000).astype(np.uint16)
    groups = Groups(_Classes(classes, number, b""), np.array(own), CONTEXT)
    group = classes + np.repeat(np.where(own, np.cumsum(own) * number, 0), LAYERS)
    gates = RANDOM.integers(0, 2, 3000).astype(np.uint8)
    assert groups.sizes.tolist() == np.unique(group, return_counts=True)[1].tolist()
    assert groups.ordered(gates).tolist() == gates[np.argsort(group, kind="stable")].tolist()
    assert groups.restored(groups.ordered(gates)).tolist() == gates.tolist()


def test_the_coins_of_a_large_layer_are_binned_in_pieces_as_at_once(monkeypatch):
    whole = encode(BY_COINS.view(np.uint8), CONTEXT)
    monkeypatch.setattr(side_info, "_PIECE", 64)
    assert encode(BY_COINS.view(np.uint8), CONTEXT) == whole
    assert decode(memoryview(whole), CONTEXT).tolist() == BY_COINS.tolist()
