import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgates.state import Update, Votes, Weights, pack
from fedgates.wire import WireError, pack_state, pack_update, unpack_state, unpack_update

DIGEST = bytes.fromhex("0123456789abcdef")
ROUND = 7
HEAD = struct.Struct("<4sBBHII8sI")  # as the module's table says; the CRC follows

sizes = st.integers(1, 40)
rounds = st.integers(0, 2**32 - 1)
digests = st.binary(min_size=8, max_size=8)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def floats(values):
    return np.array(values, dtype=np.float32)


def mask_of(bits):
    return pack(np.array(bits, dtype=bool))


def seal(kind, body=b"", size=9, number=0, server_round=ROUND, digest=DIGEST, magic=b"FGTS", version=1, zero=0):
    """A payload put together by hand, with the right checksum."""
    head = HEAD.pack(magic, version, kind, zero, size, server_round, digest, number)
    return head + struct.pack("<I", zlib.crc32(head + body)) + body


MASK = Update(mask=mask_of([1, 0, 1, 1, 0, 0, 0, 0, 1]))
MASK_AND_VALUES = Update(mask=MASK.mask, values=floats([0.5, -1, 2, 3]))
VALUES = Update(mask=None, values=floats(np.arange(9) / 8))
VOTES = Votes(np.array([0, 1, 2, 3, 3, 2, 1, 0, 3], dtype=np.uint32), trials=3)
WEIGHTS = Weights(floats(np.arange(9) - 4.5))


def update_of(payload, kind="mask", size=9):
    return unpack_update(payload, size, DIGEST, ROUND, kind)


def state_of(payload, size=9):
    return unpack_state(payload, size, DIGEST)


def read_mask(payload):
    return update_of(payload)


def read_values(payload):
    return update_of(payload, "values")


def read_both(payload):
    return update_of(payload, "mask and values")


SOUND = {
    "mask": (pack_update(MASK, 9, ROUND, DIGEST), read_mask),
    "mask and values": (pack_update(MASK_AND_VALUES, 9, ROUND, DIGEST), read_both),
    "values": (pack_update(VALUES, 9, ROUND, DIGEST), read_values),
    "votes": (pack_state(VOTES, ROUND, DIGEST), state_of),
    "weights": (pack_state(WEIGHTS, ROUND, DIGEST), state_of),
}

# --- exact bytes


def golden(kind, number, crc, body, size=9):
    return bytes.fromhex(f"46475453 01 {kind} 0000 {size:02x}000000 07000000 0123456789abcdef {number} {crc} {body}")


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (SOUND["mask"][0], golden("01", "04000000", "c5b73154", "0d01")),
        (SOUND["votes"][0], golden("02", "03000000", "42192e49", "5a01 3c01")),
        (
            pack_state(Weights(floats([1, -2])), ROUND, DIGEST),
            golden("03", "00000000", "40014dfb", "0000803f 000000c0", size=2),
        ),
        (
            pack_update(Update(mask=None, values=floats([1, -2])), 2, ROUND, DIGEST),
            golden("03", "00000000", "40014dfb", "0000803f 000000c0", size=2),
        ),
        (
            SOUND["mask and values"][0],
            golden("04", "04000000", "349d8673", "0d01 0000003f 000080bf 00000040 00004040"),
        ),
        (pack_state(Votes(np.zeros(9, np.uint32), 0), ROUND, DIGEST), golden("02", "00000000", "4b1198a9", "")),
    ],
    ids=["mask", "votes", "weights", "values", "mask and values", "no trials"],
)
def test_bytes_are_fixed_for_ever(payload, expected):
    assert payload.hex() == expected.hex()


@pytest.mark.parametrize("name", SOUND)
def test_header_is_as_the_table_says_and_its_checksum_covers_everything(name):
    payload = SOUND[name][0]
    magic, version, kind, zero, size, server_round, digest, _ = HEAD.unpack_from(payload)
    assert (magic, version, zero, size, server_round, digest) == (b"FGTS", 1, 0, 9, ROUND, DIGEST)
    assert kind == {"mask": 1, "votes": 2, "values": 3, "weights": 3, "mask and values": 4}[name]
    assert struct.unpack_from("<I", payload, 28)[0] == zlib.crc32(payload[:28] + payload[32:])


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1000])
def test_sizes(size):
    ones = np.arange(size) % 3 == 0
    bits, planes = Update(mask=pack(ones)), -(-size // 8)
    assert len(pack_update(bits, size, 1, DIGEST)) == 32 + planes
    both = Update(mask=bits.mask, values=np.zeros(ones.sum(), np.float32))
    assert len(pack_update(both, size, 1, DIGEST)) == 32 + planes + 4 * ones.sum()
    dense = np.zeros(size, np.float32)
    assert len(pack_update(Update(mask=None, values=dense), size, 1, DIGEST)) == 32 + 4 * size
    assert len(pack_state(Weights(dense), 1, DIGEST)) == 32 + 4 * size
    for trials, width in [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (10, 4), (2**32 - 1, 32)]:
        assert len(pack_state(Votes(np.zeros(size, np.uint32), trials), 1, DIGEST)) == 32 + width * planes


# --- round trips


@given(st.lists(st.booleans(), min_size=1, max_size=70), rounds, digests)
@settings(deadline=None)
def test_masks_come_back(bits, server_round, digest):
    update = Update(mask=mask_of(bits))
    found = unpack_update(pack_update(update, len(bits), server_round, digest), len(bits), digest, server_round)
    assert found.mask.dtype == np.uint8
    assert found.mask.tolist() == update.mask.tolist()
    assert found.values is None


@given(st.data(), sizes, st.integers(0, 32), rounds)
@settings(deadline=None)
def test_votes_come_back_whatever_their_width(data, size, width, server_round):
    trials = data.draw(st.integers(2**width >> 1, 2**width - 1))
    votes = np.array(data.draw(st.lists(st.integers(0, trials), min_size=size, max_size=size)), dtype=np.uint32)
    found, opened = unpack_state(pack_state(Votes(votes, trials), server_round, DIGEST), size, DIGEST)
    assert opened == server_round
    assert (found.votes.tolist(), found.votes.dtype, found.trials) == (votes.tolist(), np.uint32, trials)


@given(st.lists(finite, min_size=1, max_size=40), rounds)
@settings(deadline=None)
def test_values_come_back_to_the_bit(values, server_round):
    values = floats(values)
    state, opened = unpack_state(pack_state(Weights(values), server_round, DIGEST), len(values), DIGEST)
    assert opened == server_round
    assert state.values.tobytes() == values.tobytes()
    payload = pack_update(Update(mask=None, values=values), len(values), server_round, DIGEST)
    update = unpack_update(payload, len(values), DIGEST, server_round, "values")
    assert update.mask is None
    assert (update.values.dtype, update.values.tobytes()) == (np.float32, values.tobytes())


@given(st.lists(st.tuples(st.booleans(), finite), min_size=1, max_size=40))
@settings(deadline=None)
def test_masks_with_values_come_back_to_the_bit(pairs):
    values = floats([value for kept, value in pairs if kept])
    update = Update(mask=mask_of([kept for kept, _ in pairs]), values=values)
    found = update_of(pack_update(update, len(pairs), ROUND, DIGEST), "mask and values", size=len(pairs))
    assert found.mask.tolist() == update.mask.tolist()
    assert found.values.tobytes() == values.tobytes()


def test_what_is_read_does_not_change_with_the_buffer():
    payload = pack_state(WEIGHTS, ROUND, DIGEST)
    state_of(payload)[0].values[:] = 0  # a reader may work in place on its own state
    assert state_of(payload)[0].values.tolist() == WEIGHTS.values.tolist()


# --- what cannot be packed


@pytest.mark.parametrize(
    ("update", "size", "message"),
    [
        (Update(mask=None), 9, "an update needs a mask, or values, or both"),
        (MASK, 8, "a mask of 2 bytes, expected 1 for 8 gates"),
        (MASK, 17, "a mask of 2 bytes, expected 3 for 17 gates"),
        (Update(mask=np.array([0, 2], np.uint8)), 9, "a mask of 2 bytes"),  # a one beyond the last gate
        (Update(mask=MASK.mask, values=floats([1])), 9, "1 values, expected one for each of 4 ones"),
        (Update(mask=None, values=floats([1])), 9, "1 values, expected one for each of 9 ones"),
    ],
)
def test_updates_that_do_not_fit_are_not_sent(update, size, message):
    with pytest.raises(ValueError, match=message):
        pack_update(update, size, ROUND, DIGEST)


# --- bad bytes

M, VS, V, W = (SOUND[name][0] for name in ("mask", "votes", "values", "weights"))
MV = SOUND["mask and values"][0]
NAN, INF = struct.pack("<f", np.nan), struct.pack("<f", -np.inf)
BAD = {
    "empty": (read_mask, b"", "0 bytes, expected a header of 32"),
    "short header": (read_mask, M[:31], "31 bytes, expected a header of 32"),
    "header only": (read_mask, M[:32], "a body of 0 bytes, expected 2"),
    "cut": (read_mask, M[:-1], "a body of 1 bytes, expected 2"),
    "longer": (read_mask, M + b"\0", "a body of 3 bytes, expected 2"),
    "cut votes": (state_of, VS[:-1], "a body of 3 bytes, expected 4"),
    "longer votes": (state_of, VS + b"\0", "a body of 5 bytes, expected 4"),
    "cut values": (read_values, V[:-1], "a body of 35 bytes, expected 36"),
    "longer values": (state_of, W + b"\0" * 4, "a body of 40 bytes, expected 36"),
    "cut mask and values": (read_both, MV[:-4], "a body of 14 bytes, expected 18"),
    "magic": (read_mask, seal(1, b"\0\0", magic=b"FGTT"), "magic b'FGTT', expected b'FGTS'"),
    "version": (read_mask, seal(1, b"\0\0", version=2), "format version 2.0, expected 1.0"),
    "reserved bytes": (read_mask, seal(1, b"\0\0", zero=1), "format version 1.1, expected 1.0"),
    "kind 0": (read_mask, seal(0, b"\0\0"), "a payload of kind 0, expected mask"),
    "kind 255": (state_of, seal(255, b"\0\0"), "a payload of kind 255, expected votes or values"),
    "fewer gates": (read_mask, seal(1, b"\0", size=8), "8 gates, expected 9"),
    "more gates": (state_of, seal(2, b"", size=10), "10 gates, expected 9"),
    "digest": (read_mask, seal(1, b"\0\0", digest=b"\0" * 8), "digest 0{16}, expected 0123456789abcdef"),
    "digest of a state": (state_of, seal(2, digest=b"\0" * 8), "digest 0{16}, expected 0123456789abcdef"),
    "round before": (read_mask, seal(1, b"\0\0", server_round=6), "round 6, expected 7"),
    "round of values": (read_values, seal(3, b"\0" * 36, server_round=8), "round 8, expected 7"),
    "checksum": (read_mask, M[:28] + b"\0\0\0\0" + M[32:], "checksum does not match"),
    "ones miscounted": (read_mask, seal(1, b"\x07\0", number=2), "the mask has 3 ones, its header says 2"),
    "ones beyond the gates": (read_mask, seal(1, b"\0\0", number=10), "a mask with 10 ones in 9 gates"),
    "fewer values than ones": (read_both, seal(4, b"\x03\0" + b"\0" * 4, number=1), "the mask has 2 ones"),
    "spare bits": (read_mask, seal(1, b"\0\2", number=1), "bits beyond the last gate are not zero"),
    "spare bits under values": (read_both, seal(4, b"\0\2" + b"\0" * 4, number=1), "bits beyond the last gate are not"),
    "spare bits of votes": (state_of, seal(2, b"\0\0\0\x80", number=3), "bits beyond the last gate are not zero"),
    "more votes than trials": (state_of, seal(2, b"\1\0\1\0", number=2), "a gate has 3 votes of 2 trials"),
    "nan": (read_values, seal(3, NAN * 9), "a value is not finite"),
    "infinity": (state_of, seal(3, b"\0" * 32 + INF), "a value is not finite"),
    "nan at a one": (read_both, seal(4, b"\1\0" + NAN, number=1), "a value is not finite"),
    "a number that means nothing": (state_of, seal(3, b"\0" * 36, number=1), "1.*expected 0"),
    "a number in values": (read_values, seal(3, b"\0" * 36, number=9), "9.*expected 0"),
    "an update for a state": (state_of, M, "a payload of kind mask, expected votes or values"),
    "masked values for a state": (state_of, MV, "a payload of kind mask and values, expected votes or values"),
    "a state for an update": (read_mask, VS, "a payload of kind votes, expected mask"),
    "a state for values": (read_values, VS, "a payload of kind votes, expected values"),
    "a mask for values": (read_values, M, "a payload of kind mask, expected values"),
    "masked values for values": (read_values, MV, "a payload of kind mask and values, expected values"),
    "values for masked values": (read_both, V, "a payload of kind values, expected mask and values"),
    "values for a mask": (read_mask, V, "a payload of kind values, expected mask"),
    "masked values for a mask": (read_mask, MV, "a payload of kind mask and values, expected mask"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_bytes_are_refused_with_a_reason(name):
    read, payload, message = BAD[name]
    with pytest.raises(WireError, match=message) as error:
        read(payload)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", SOUND)
def test_every_flipped_bit_is_noticed(name):
    payload, read = SOUND[name]
    read(payload)
    for bit in range(8 * len(payload)):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(WireError):
            read(bytes(damaged))


@pytest.mark.parametrize("name", SOUND)
def test_every_cut_is_noticed(name):
    payload, read = SOUND[name]
    for length in range(len(payload)):
        with pytest.raises(WireError):
            read(payload[:length])


@pytest.mark.parametrize("read", [read_mask, read_values, state_of])
@pytest.mark.parametrize("kind", [1, 2, 3, 4])
@pytest.mark.parametrize("announced", [{"size": 2**32 - 1}, {"size": 2**32 - 1, "number": 2**32 - 1}, {"number": 2**32 - 1}])
def test_what_a_header_announces_is_not_allocated(read, kind, announced):
    payload = seal(kind, b"\0\0", **announced)
    with pytest.raises(WireError):
        read(payload)  # once before, for what Python itself keeps
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            read(payload)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def only_wire_errors(read, payload):
    try:
        return read(payload)
    except WireError:
        return None


@given(st.binary(max_size=80), st.sampled_from([read_mask, read_values, state_of]))
@settings(deadline=None)
def test_noise_is_a_wire_error_and_nothing_else(payload, read):
    assert only_wire_errors(read, payload) is None


@given(
    st.sampled_from([read_mask, read_values, state_of]),
    st.integers(0, 5),
    st.one_of(st.integers(0, 12), st.integers(0, 2**32 - 1)),
    st.one_of(st.sampled_from([0, 2, 4, 6, 36]).flatmap(lambda n: st.binary(min_size=n, max_size=n)), st.binary(max_size=80)),
)
@settings(max_examples=300, deadline=None)
def test_noise_with_the_right_checksum_is_refused_or_is_exactly_what_we_would_write(read, kind, number, body):
    payload = seal(kind, body, number=number)
    found = only_wire_errors(read, payload)
    if read is state_of and found is not None:
        assert pack_state(found[0], found[1], DIGEST) == payload
    elif found is not None:
        assert pack_update(found, 9, ROUND, DIGEST) == payload


@given(st.data(), st.sampled_from(list(SOUND)))
@settings(deadline=None)
def test_a_damaged_stretch_is_noticed(data, name):
    payload, read = SOUND[name]
    start = data.draw(st.integers(0, len(payload) - 1))
    stretch = data.draw(st.binary(min_size=1, max_size=len(payload) - start))
    damaged = payload[:start] + stretch + payload[start + len(stretch) :]
    if damaged != payload:
        assert only_wire_errors(read, damaged) is None
