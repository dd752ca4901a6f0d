import re
import struct

import numpy as np
import pytest
from damage import peak_memory, refused, with_body, with_field
from effort import cpu_seconds
from wire_cases import LAYERS, ROUND, cases

from fedgates.wire.header import HEADER_SIZE
from fedgates.wire.range_coder import encode_bits, encode_symbols

SOUND = cases()
NAN, INF = struct.pack("<f", np.nan), struct.pack("<f", -np.inf)
TOP = 2**32 - 1


def body_of(name):
    return SOUND[name].payload[HEADER_SIZE:]


def bad(name, payload, message):
    return pytest.param(SOUND[name], payload, message, id=f"{name}: {message}")


def field(name, which, value, message):
    return bad(name, with_field(SOUND[name].payload, which, value), message)


def body(name, change, message, **fields):
    return bad(name, with_body(SOUND[name].payload, change(body_of(name)), **fields), message)


M, MV, V, S, C = (
    "mask, packed",
    "mask and values, packed, float32",
    "values, float32",
    "mask, side-info",
    "mask, side-info, coins",
)
E, X, R, W = "mask, entropy", "mask, sampled", "relay of mask, packed", "weights"
VOTES, MANY, FLOAT, NONE, FEW = "votes of 10", "votes of 5000", "votes of 10, float32", "votes, no trials", "weights, a few"
MT, XT, VT, NT, RT = (
    "mask and tail, packed, float32",
    "mask and tail, sampled, float16",
    "votes of 10, scalars, tail",
    "votes, no trials, tail",
    "relay of mask and tail, packed, float16",
)
SUMS = "sums of features by class"
SIZE = sum(LAYERS)
HEADERS = [
    bad(M, b"", "0 bytes, expected a header of 36"),
    bad(M, SOUND[M].payload[:35], "35 bytes, expected a header of 36"),
    field(M, "magic", b"FGTT", "magic b'FGTT', expected b'FGTS'"),
    field(M, "version", 1, "format version 1, expected 2"),
    field(M, "version", 3, "format version 3, expected 2"),
    field(M, "kind", 0, "a payload of kind 0, packed, expected mask, packed"),
    field(M, "kind", 255, "a payload of kind 255, packed, expected mask, packed"),
    field(M, "kind", 2, "a payload of votes, packed, expected mask, packed"),
    field(M, "codec", 2, "a payload of mask, entropy, expected mask, packed"),
    field(E, "codec", 1, "a payload of mask, packed, expected mask, entropy"),
    field(X, "codec", 3, "a payload of mask, side-info, expected mask, sampled"),
    field(M, "codec", 99, "a payload of mask, codec 99, expected"),
    field(M, "value_type", 1, "a payload of mask, packed, float32, expected mask, packed"),
    field(MV, "value_type", 2, "mask and values, packed, float16, expected mask and values, packed, float32"),
    field(MV, "value_type", 9, "value type 9"),
    field(V, "value_type", 0, "a payload of values, expected values, float32"),
    field(VOTES, "codec", 6, "a payload of votes, float32, expected votes or values, float32 or mask and values"),
    field(FLOAT, "codec", 5, "a payload of votes, expected votes, float32 or"),
    field(R, "kind", 1, "a payload of mask, packed, expected relay, packed"),
    field(M, "size", SIZE - 1, f"{SIZE - 1} gates, expected {SIZE}"),
    field(VOTES, "size", SIZE + 1, f"{SIZE + 1} gates, expected {SIZE}"),
    field(M, "digest", 0, "network digest 0{16}, expected 0123456789abcdef"),
    field(W, "digest", 0, "network digest 0{16}, expected 0123456789abcdef"),
    field(M, "server_round", ROUND - 1, "round 6, expected 7"),
    field(V, "server_round", ROUND + 1, "round 8, expected 7"),
    field(M, "number", SIZE + 1, f"a mask with {SIZE + 1} ones in {SIZE} gates"),
    field(M, "number", 5, r"the mask has \d+ ones, its header says 5"),
    field(M, "check", 1, "the decoded mask does not match its CRC: sender and reader do not have the same state"),
    field(X, "check", 1, "the decoded mask does not match its CRC: sender and reader do not have the same state"),
    field(V, "number", 1, "values with 1 ones and check 0+ in their header, expected 0"),
    field(V, "check", 1, "values with 0 ones and check 00000001 in their header, expected 0"),
    field(W, "number", 1, "values with the number 1 in their header, expected 0"),
    field(W, "check", 1, "the decoded state does not match its CRC"),
    field(VOTES, "check", 1, "the decoded state does not match its CRC"),
    field(FLOAT, "number", 2**23 + 1, "8388609 trials, expected at most 8388608 for float32"),
    field(FLOAT, "number", 9, "a share is not a whole number of votes of 9 trials"),
    field(NONE, "number", 1, "a body of 0 bytes, expected 4 to"),
    field(VOTES, "number", 0, r"a body of \d+ bytes, expected 0"),
    field(R, "number", 3, "updates since the state of round 3, but this client has that of round 4"),
    field(R, "server_round", 3, r"updates of -1 rounds in \d+ bytes"),
    field(R, "server_round", 6, r"\d+ bytes after the last update"),
    field(R, "server_round", 8, r"a relay of \d+ bytes, expected at least"),
    field(R, "check", 1, "the updates do not lead to the server's state"),
    field(MT, "kind", 4, "a payload of mask and values, packed, float32, expected mask and tail, packed, float32"),
    field(MT, "kind", 1, "a payload of mask, packed, float32, expected mask and tail, packed, float32"),
    field(M, "kind", 6, "a payload of mask and tail, packed, expected mask, packed"),
    field(MT, "value_type", 0, "a payload of mask and tail, packed, expected mask and tail, packed, float32"),
    field(MT, "value_type", 2, "mask and tail, packed, float16, expected mask and tail, packed, float32"),
    field(MT, "value_type", 3, "mask and tail, packed, float64, expected mask and tail, packed, float32"),
    field(MT, "server_round", ROUND - 1, "round 6, expected 7"),
    field(MT, "number", SIZE + 1, f"a mask with {SIZE + 1} ones in {SIZE} gates"),
    field(MT, "number", 5, r"the mask has \d+ ones, its header says 5"),
    field(MT, "check", 1, "the decoded mask does not match its CRC: sender and reader do not have the same state"),
    field(XT, "check", 1, "the decoded mask does not match its CRC: sender and reader do not have the same state"),
    field(VT, "kind", 2, "a payload of votes, float32, expected votes and tail, votes, float32"),
    field(VT, "value_type", 0, "a payload of votes and tail, votes, expected votes and tail, votes, float32"),
    field(VT, "value_type", 2, "a payload of votes and tail, votes, float16, expected votes and tail, votes, float32"),
    field(VT, "check", 1, "the decoded state does not match its CRC"),
    field(RT, "value_type", 1, "a payload of relay, packed, float32, expected relay, packed, float16"),
    field(RT, "check", 1, "the updates do not lead to the server's state"),
    field(SUMS, "kind", 3, "a payload of values, float64, expected sums, float64"),
    field(SUMS, "codec", 1, "a payload of sums, packed, float64, expected sums, float64"),
    field(SUMS, "value_type", 1, "a payload of sums, float32, expected sums, float64"),
    field(SUMS, "server_round", ROUND + 1, "round 8, expected 7"),
    field(SUMS, "number", 1, "sums of batch-norm statistics, expected features by class"),
    field(SUMS, "number", 3, "sums of number 3, expected features by class"),
    field(SUMS, "check", 1, "sums with check 00000001 in their header, expected 0"),
    bad(M, SOUND[M].payload[:32] + b"\0\0\0\0" + SOUND[M].payload[36:], "checksum does not match: the payload is damaged"),
]
LAST = SIZE % 8
EVEN = np.full(11, 0, np.uint16)
EVEN[:2] = 16384
ZEROS = encode_symbols(np.zeros(SIZE, np.int32), EVEN)
ALL_ONES = np.ones(SIZE, np.uint8)
BODIES = [
    body(M, lambda b: b[:-1], "a body of 16 bytes, expected 17"),
    body(M, lambda b: b + b"\0", "a body of 18 bytes, expected 17"),
    body(M, lambda b: b[:-1] + bytes([b[-1] | 1 << LAST]), "bits beyond the last gate are not zero"),
    body(MV, lambda b: b[:-4] + NAN, "a value is not finite"),
    body(MV, lambda b: b[:-4] + INF, "a value is not finite"),
    body(MV, lambda b: b[:-4], "a body of 13 bytes, expected 17"),
    body(MV, lambda b: b[:9], r"a body of 9 bytes, expected at least \d+ for the values"),
    body(V, lambda b: b[:-4] + NAN, "a value is not finite"),
    body(V, lambda b: b[:-1], "a body of 519 bytes, expected 520"),
    body(W, lambda b: b + b"\0" * 4, "a body of 524 bytes, expected 520"),
    body(W, lambda b: INF + b[4:], "a value is not finite"),
    body(E, lambda b: b"", "a body of 0 bytes, expected 5 to 86"),
    body(E, lambda b: b + b"\0" * 99, r"a body of \d+ bytes, expected 5 to 86"),
    body(E, lambda b: b"\xd1" + b[1:], "a frequency's byte is 209, expected at most 208"),
    body(E, lambda b: b + b"\0", r"a range code of \d+ bytes, expected whole words of 4"),
    body(E, lambda b: b + b"\0" * 4, "the range code is not the one that its gates encode to"),
    body(
        E,
        lambda b: b"\x68" * 5 + encode_bits(ALL_ONES, [SIZE], np.array([32768])),
        "the frequencies do not match the decoded gates",
    ),
    body(S, lambda b: b"\2" + b[1:], "a body of mode 2, expected 0 or 1"),
    body(S, lambda b: b"\0\xff" + b[2:], "flags beyond the last layer are not zero"),
    body(S, lambda b: b[:3], "a body of 3 bytes, expected at least"),
    body(C, lambda b: b[:2] + b"\xff" + b[3:], "a frequency's byte is 255, expected at most 208"),
    body(C, lambda b: b + b"\0" * 999, r"a body of \d+ bytes, expected at most"),
    body(X, lambda b: b[:2], "a body of 2 bytes, expected"),
    body(X, lambda b: b"\0\0" + b[2:], "a prior of 0, expected at least 1 of 65536"),
    body(X, lambda b: b[:-1] + bytes([b[-1] ^ 1]), "the mask (has|is not)"),
    body(X, lambda b: b + b"\0", "the mask (has|is not)"),
    body(X, lambda b: b + b"\0" * SIZE, r"a body of \d+ bytes, expected"),
    body(NONE, lambda b: b"\0", "a body of 1 bytes, expected 0"),
    body(VOTES, lambda b: b[:21], "a body of 21 bytes, expected 22 to"),
    body(VOTES, lambda b: b + b"\0" * 999, r"a body of \d+ bytes, expected 22 to 341"),
    body(VOTES, lambda b: b"\0\0" + b[2:], r"frequencies with the sum \d+, expected 32768"),
    body(VOTES, lambda b: EVEN.astype("<u2").tobytes() + ZEROS, "the frequencies do not match the decoded votes"),
    body(VOTES, lambda b: b + b"\0" * 4, "the range code is not the one that its symbols encode to"),
    body(
        MANY,
        lambda b: b[: 5002 + 16] + bytes([b[5002 + 16] | 1 << LAST]) + b[5002 + 17 :],
        "bits beyond the last gate are not zero",
    ),
    body(MANY, lambda b: b[:5002] + b"\xff" * 16 + b"\3" + b[5019:], "a gate has 5001 votes of 5000 trials"),
    body(FLOAT, lambda b: b[:-1], "a body of 519 bytes, expected 520"),
    body(FLOAT, lambda b: NAN + b[4:], "a share outside 0 to 1"),
    body(FLOAT, lambda b: struct.pack("<f", 1.1) + b[4:], "a share outside 0 to 1"),
    body(FLOAT, lambda b: struct.pack("<f", -0.0) + b[4:], "a share is not a whole number of votes of 10 trials"),
    body(FLOAT, lambda b: struct.pack("<f", 0.15) + b[4:], "a share is not a whole number of votes of 10 trials"),
    body(FEW, lambda b: b[:7], r"\d+ values of 130 weights in a body of 7 bytes"),
    body(FEW, lambda b: b[:-4] + NAN, "a value is not finite"),
    body(FEW, lambda b: b[:-4], r"the mask has \d+ ones, its header says", number=SOUND[FEW].payload[24] - 1),
    body(FEW, lambda b: b[:-4] + b"\0" * 4, "one of the nonzero weights is zero"),
    body(R, lambda b: b[:17] + b"\0" * 4 + b[21:], "an update of 0 examples, expected 1 to 2147483647"),
    body(R, lambda b: b[:17] + b"\xff" * 4 + b[21:], "an update of 4294967295 examples, expected 1 to 2147483647"),
    body(R, lambda b: b"\0\0\0\0" + b[4:], "updates since another state of round 4 than the one that this client has"),
    body(R, lambda b: b[:3], "updates since another state of round 4"),
    body(R, lambda b: b[:4] + b"\2" + b[5:], "a round with flag 2 and 2 updates"),
    body(R, lambda b: b[:4] + b"\0" + b[5:], "a round with flag 0 and 2 updates"),
    body(R, lambda b: b + b"\0", "1 bytes after the last update"),
    body(R, lambda b: b[:-1], r"a relay of \d+ bytes, expected at least \d+"),
    body(R, lambda b: b[:-1] + bytes([b[-1] ^ 1]), "the mask (has|is not)"),
    body(MT, lambda b: b[:-4] + NAN, "a value is not finite"),
    body(MT, lambda b: b[:-4] + INF, "a value is not finite"),
    body(MT, lambda b: b[:-4], "a body of 13 bytes, expected 17"),
    body(MT, lambda b: b + b"\0" * 4, "a body of 21 bytes, expected 17"),
    body(MT, lambda b: b[:19], "a body of 19 bytes, expected at least 20 for the values"),
    body(MT, lambda b: b[:16] + bytes([b[16] | 1 << LAST]) + b[17:], "bits beyond the last gate are not zero"),
    body(XT, lambda b: b[:-2] + b"\0\x7c", "a value is not finite"),
    body(XT, lambda b: b[:9], "a body of 9 bytes, expected at least 10 for the values"),
    body(XT, lambda b: b[:11], "a body of 1 bytes, expected"),
    body(VT, lambda b: b[:43], "a body of 43 bytes, expected 3 scalars and a tail of 5 values at byte 0"),
    body(VT, lambda b: b[:8] + struct.pack("<d", np.nan) + b[16:], "a scalar is not finite"),
    body(VT, lambda b: b[:40] + NAN + b[44:], "a value is not finite"),
    body(VT, lambda b: b[:40] + INF + b[44:], "a value is not finite"),
    body(VT, lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:], "the decoded state does not match its CRC"),
    body(NT, lambda b: b + b"\0" * 4, "a body of 4 bytes, expected 0"),
    body(NT, lambda b: b[:-4], "a body of 16 bytes, expected 0 scalars and a tail of 5 values at byte 0"),
    body(RT, lambda b: b[:-2] + b"\0\x7e", "a value is not finite"),
    body(RT, lambda b: b[:-2] + bytes([b[-2] ^ 1]) + b[-1:], "the updates do not lead to the server's state"),
    body(RT, lambda b: b[:-1], r"a relay of \d+ bytes, expected at least \d+"),
    body(SUMS, lambda b: b[:-1], "a body of 47 bytes, expected 48"),
    body(SUMS, lambda b: b + b"\0" * 8, "a body of 56 bytes, expected 48"),
    body(SUMS, lambda b: b[:-8] + struct.pack("<d", np.nan), "a sum is not finite"),
    body(SUMS, lambda b: struct.pack("<d", np.inf) + b[8:], "a sum is not finite"),
]


@pytest.mark.parametrize(("case", "payload", "message"), HEADERS + BODIES)
def test_bad_bytes_are_refused_with_a_reason(case, payload, message):
    assert re.search(message, refused(case, payload))


@pytest.mark.parametrize("reader", SOUND.values(), ids=lambda case: case.name)
def test_payloads_of_another_sort_are_refused(reader):
    for name, case in SOUND.items():
        if case.payload[5:8] != reader.payload[5:8] and not (reader.sort == "state" and case.sort == "state"):
            assert refused(reader, case.payload), name


# --- what headers announce


def announced(name):
    case = SOUND[name]
    for which, value in [("size", TOP), ("number", TOP), ("number", 2**31), ("number", 2**23), ("server_round", TOP)]:
        yield with_field(case.payload, which, value)
    if case.sort == "relay":
        body = body_of(name)
        for at in (5, 5 + 4 + 16, 5 + 4 + 20, 5 + 4 + 24):  # updates of a round, an update's ones, check and length
            yield with_body(case.payload, body[:at] + b"\xff" * 4 + body[at + 4 :])


@pytest.mark.parametrize("name", SOUND)
def test_what_is_announced_is_not_allocated(name):
    case = SOUND[name]
    honest = peak_memory(case, case.payload)
    for payload in announced(name):
        assert cpu_seconds(lambda payload=payload: refused(case, payload)) < 0.5
        # a snapshot may open any round, and so may a change that no list of rounds comes with
        assert refused(case, payload) or case.sort == "state" or "by classes" in name
        assert peak_memory(case, payload) <= 2 * honest + 10_000
