import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from wire_cases import DIGEST, LAYERS, ROUND, cases, content, floats

from fedgates.errors import WireError
from fedgates.types import Update, Votes, Weights, pack
from fedgates.wire import CodingContext, describe, pack_state, pack_update
from fedgates.wire.header import HEADER_SIZE, peek, seal, unseal

CONTEXT = CodingContext(DIGEST, (4, 5), ROUND)
BITS = pack(np.array([1, 0, 1, 1, 0, 0, 0, 0, 1], dtype=bool))
MASK, VALUES = Update(mask=BITS), Update(mask=BITS, values=floats([0.5, -1, 2, 3]))
HEAD = struct.Struct("<4sBBBBII8sIII")
"""magic, version, kind, codec, value type, gates, round, digest, number, check of the content, CRC of the payload"""


def by_hand(sort, number, check, crc, body, size=9):
    fields = f"46475453 02 {sort} {size:02x}000000 07000000 0123456789abcdef {number:02x}000000"
    return bytes.fromhex(f"{fields} {check} {crc} {body}")


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (pack_update(MASK, CONTEXT, "packed"), by_hand("01 01 00", 4, "245c7083", "fd774ce5", "0d01")),
        (pack_update(MASK, CONTEXT, "entropy"), by_hand("01 02 00", 4, "245c7083", "fc3d507c", "70 5d e207ad5d")),
        (
            pack_update(VALUES, CONTEXT, "entropy", value_type="float16"),
            by_hand("04 02 02", 4, "245c7083", "6e75b4f1", "70 5d e207ad5d 0038 00bc 0040 0042"),
        ),
        (
            pack_state(Weights(floats([1, -2])), replace(CONTEXT, layers=(2,))),
            by_hand("03 00 01", 0, "503f70dd", "01cded4a", "0000803f 000000c0", size=2),
        ),
        (pack_state(Votes(np.zeros(9, np.uint32), 0), CONTEXT), by_hand("02 05 00", 0, "b13dece9", "575c100b", "")),
        (
            pack_state(Votes(np.array([0, 1, 2, 3, 3, 2, 1, 0, 3], np.uint32), 3), CONTEXT),
            by_hand("02 05 00", 3, "a950e6c8", "3a296d3c", "711c 711c 711c ad2a 79a7e814"),  # 7281 three times, 10925
        ),
    ],
    ids=["packed", "entropy", "entropy, float16", "weights", "no trials", "votes"],
)
def test_bytes_are_fixed_for_ever(payload, expected):
    assert payload.hex() == expected.hex()


@pytest.mark.parametrize("case", cases().values(), ids=lambda case: case.name)
def test_header_is_as_the_table_says_and_its_checksum_covers_everything(case):
    payload, found = case.payload, case.read(case.payload)
    magic, version, kind, codec, value_type, size, server_round, digest, number, check, crc = HEAD.unpack_from(payload)
    assert HEADER_SIZE == HEAD.size == 36
    assert (magic, version, size, server_round, digest) == (b"FGTS", 2, case.context.size, ROUND, DIGEST)
    assert crc == zlib.crc32(payload[:32] + payload[36:])
    assert (kind, codec, value_type) == peek(payload)[2:5]
    if case.sort == "sums":
        assert (number, check) == (case.which, 0)
    elif case.sort == "update":
        ones = 0 if found.mask is None else int(found.gates(size).sum())
        assert (number, check) == (ones, 0 if found.mask is None else zlib.crc32(content(found)[0]))
    else:
        state = found[0]
        trials = state.trials if isinstance(state, Votes) else 0
        array = state.votes if isinstance(state, Votes) else state.values
        scalars = struct.pack(f"<{len(state.scalars)}d", *state.scalars)
        tail = state.tail.tobytes() if isinstance(state, Votes) else b""
        assert check == zlib.crc32(struct.pack("<I", trials) + scalars + tail + array.tobytes())


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("name", "words", "numbers"),
    [
        ("mask, packed", "mask, packed", (1, 1, 0)),
        ("mask, entropy", "mask, entropy", (1, 2, 0)),
        ("mask, side-info", "mask, side-info", (1, 3, 0)),
        ("mask, sampled", "mask, sampled", (1, 4, 0)),
        ("mask and values, side-info, float16", "mask and values, side-info, float16", (4, 3, 2)),
        ("values, float32", "values, float32", (3, 0, 1)),
        ("values, float16", "values, float16", (3, 0, 2)),
        ("votes of 10", "votes", (2, 5, 0)),
        ("votes of 10, float32", "votes, float32", (2, 6, 0)),
        ("weights", "values, float32", (3, 0, 1)),
        ("weights, a few", "mask and values, entropy, float32", (4, 2, 1)),
        ("relay of mask, side-info", "relay, side-info", (5, 3, 0)),
        ("relay of values, side-info", "relay, float32", (5, 0, 1)),
        ("mask and tail, side-info, float32", "mask and tail, side-info, float32", (6, 3, 1)),
        ("mask and tail, sampled, float16", "mask and tail, sampled, float16", (6, 4, 2)),
        ("votes of 10, tail", "votes and tail, votes, float32", (7, 5, 1)),
        ("votes of 10, float32, tail", "votes and tail, float32", (7, 6, 1)),
        ("relay of mask and tail, sampled", "relay, sampled, float32", (5, 4, 1)),
        ("sums of features by class", "sums, float64", (8, 0, 3)),
    ],
)
def test_payloads_say_what_they_are(name, words, numbers):
    payload = cases()[name].payload
    assert describe(payload) == words
    assert tuple(payload[5:8]) == numbers


def test_unknown_numbers_are_described_as_numbers():
    assert describe(seal(99, 77, 9, CONTEXT, 0, 0, b"")) == "kind 99, codec 77, value type 9"


def test_unseal_gives_back_what_was_sealed():
    header, body = unseal(seal(1, 2, 0, CONTEXT, 12, 13, b"body"), CONTEXT, ((2, 5, 0), (1, 2, 0)))
    assert bytes(body) == b"body"
    assert header == (b"FGTS", 2, 1, 2, 0, 9, ROUND, DIGEST, 12, 13)


def test_numbers_of_32_bits_fit():
    top = 2**32 - 1
    header = peek(seal(1, 1, 0, replace(CONTEXT, server_round=top), top, top, b""))
    assert (header.server_round, header.number, header.check) == (top, top, top)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes, expected a header of 36"),
        (b"\0" * 35, "35 bytes, expected a header of 36"),
        (b"\0" * 36, "magic .*, expected b'FGTS'"),
        (b"FGTS\1" + b"\0" * 31, "format version 1, expected 2"),
    ],
)
def test_peek_refuses_what_is_not_ours(data, message):
    with pytest.raises(WireError, match=message):
        peek(data)


def test_cases_are_of_every_kind_and_codec():
    found = {tuple(case.payload[5:8]) for case in cases(LAYERS).values()}
    lossless = {(1, codec, 0) for codec in (1, 2, 3, 4)} | {(4, codec, v) for codec in (1, 2, 3) for v in (1, 2)}
    tails = {(6, codec, v) for codec in (1, 2, 3, 4) for v in (1, 2)} | {(7, 5, 1), (7, 6, 1)}
    relays = {(5, 1, 0), (5, 3, 0), (5, 4, 0), (5, 2, 1), (5, 0, 1), (5, 3, 1), (5, 4, 1), (5, 1, 2)}
    assert found == lossless | tails | relays | {(3, 0, 1), (3, 0, 2), (2, 5, 0), (2, 6, 0), (8, 0, 3), (9, 5, 0), (9, 5, 1)}
    assert {cases()[f"mask, side-info, {how}"].payload[HEADER_SIZE] for how in ("coins", "no coins")} == {0, 1}
    assert cases()["mask, side-info, layers apart"].payload[HEADER_SIZE + 1]  # layers with groups of their own
