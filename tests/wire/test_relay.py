import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st
from wire_cases import DIGEST, ROUND, SEED, TAIL, aggregate, content, relay_case

from fedgates.errors import WireError
from fedgates.types import Votes
from fedgates.wire import CodingContext, VersionedState, apply_relay, payload_type, state_crc
from fedgates.wire.header import HEADER_SIZE, peek

CONTEXT = CodingContext(DIGEST, (30, 50), ROUND, seed=SEED)
SORTS = [
    ("mask", "packed"),
    ("mask", "entropy"),
    ("mask", "side-info"),
    ("mask", "sampled"),
    ("mask and values", "packed"),
    ("mask and values", "entropy"),
    ("mask and values", "side-info"),
    ("values", "side-info"),
    ("mask and tail", "packed"),
    ("mask and tail", "side-info"),
    ("mask and tail", "sampled"),
]
SIDE_INFO = ("mask", "side-info")


def make(kind="mask", codec="side-info", clients=((5, 9), None, (3,)), context=CONTEXT, seed=0):
    return relay_case(np.random.default_rng(seed), context, kind, codec, clients)


@pytest.mark.parametrize(("kind", "codec"), SORTS)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 100), min_size=1, max_size=3).map(tuple),
    st.lists(st.none() | st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3), max_size=4),
)
@examples(25)
def test_the_state_is_rebuilt_bit_for_bit(kind, codec, seed, layers, clients):
    case, state = make(kind, codec, clients, CodingContext(DIGEST, layers, ROUND, seed=seed), seed)
    assert content(case.read(case.payload)) == content((state, ROUND))


def test_a_round_that_changed_nothing_is_no_matter_of_the_rule():
    seen = []

    def rule(state, updates, server_round):
        seen.append((server_round, len(list(updates))))
        return state

    case, _ = make(clients=[None, None, None])
    found = apply_relay(case.payload, case.base, CONTEXT, payload_type("mask", "side-info", "float32"), rule)
    assert seen == []
    assert content(found) == content((case.base.state, ROUND))


def test_a_round_that_changed_the_state_without_an_update_is_refused():
    # no server closes such a round, and a client would apply its rule for every five bytes
    case, _ = make(clients=[[]])
    with pytest.raises(WireError, match="a round with flag 1 and 0 updates"):
        case.read(case.payload)


def test_updates_that_a_rule_does_not_read_are_checked_all_the_same():
    case, _ = make(codec="packed", clients=[[5]])
    sort = payload_type("mask", "packed", "float32")

    def rule(state, updates, server_round):
        return case.base.state

    payload = bytearray(case.payload)
    payload[-1] ^= 1
    with pytest.raises(WireError, match=r"the (decoded mask does not match its CRC|mask has \d+ ones)"):
        apply_relay(reseal(payload), case.base, CONTEXT, sort, rule)


def test_aggregate_sees_each_update_with_its_client_examples_and_coins():
    case, _ = make(clients=[[5, 9]])
    seen = []

    def rule(state, updates, server_round):
        seen.extend(updates)
        return Votes(state.votes + seen[0].gates(80) + seen[1].gates(80), state.trials + 2)

    apply_relay(case.payload, case.base, CONTEXT, payload_type(*SIDE_INFO, "float32"), rule)
    assert [(update.client, update.num_examples) for update in seen] == [(5, 10), (9, 11)]
    assert content(seen[0]) != content(seen[1])


def test_the_body_by_hand():
    case, state = make(codec="packed", clients=[None, [5]])
    header, body = peek(case.payload), case.payload[HEADER_SIZE:]
    assert (header.kind, header.codec, header.value_type) == (5, 1, 0)
    assert (header.server_round, header.number, header.check) == (ROUND, ROUND - 2, state_crc(state))
    gates = np.packbits((state.votes - case.base.state.votes).astype(bool), bitorder="little")
    ones = int(np.bitwise_count(gates).sum())
    crc = check_of(gates)
    expected = struct.pack("<I BI BI QIIII", state_crc(case.base.state), 0, 0, 1, 1, 5, 10, ones, crc, 10)
    assert body == expected + gates.tobytes()


def check_of(array):
    return zlib.crc32(array.tobytes())


def reseal(payload):
    payload[32:36] = struct.pack("<I", check_of(np.frombuffer(bytes(payload[:32] + payload[36:]), np.uint8)))
    return bytes(payload)


def test_the_tail_of_an_update_is_behind_its_mask_and_leads_to_the_states():
    case, state = make("mask and tail", "packed", [[5]])
    (update,) = (read_update(case, 5),)
    assert case.payload[-4 * TAIL :] == update.tail.astype("<f4").tobytes()
    assert state.tail.tobytes() == update.tail.tobytes()  # the average of one
    assert case.read(case.payload)[0].tail.tobytes() == state.tail.tobytes()
    for bad, message in [(b"\0\0\xc0\x7f", "a value is not finite"), (b"\0\0\xc0\x40", "the updates do not lead to")]:
        with pytest.raises(WireError, match=message):
            case.read(reseal(bytearray(case.payload[:-4] + bad)))


def read_update(case, client):
    """The only update of a relay of one round."""
    seen = []

    def rule(state, updates, server_round):
        seen.extend(updates)
        return aggregate(state, seen, server_round)

    apply_relay(case.payload, case.base, case.context, payload_type(case.kind, case.codec, "float32"), rule)
    (update,) = seen
    assert (update.client, update.values) == (client, None)
    return update


def test_a_base_with_another_tail_is_refused():
    case, _ = make("mask and tail", "packed", [[5]])
    tail = case.base.state.tail.copy()
    tail[-1] = np.nextafter(tail[-1], np.float32(9))
    other = replace(case, base=VersionedState(replace(case.base.state, tail=tail), case.base.server_round))
    with pytest.raises(WireError, match="updates since another state of round 6 than the one that this client has"):
        other.read(case.payload)


# --- other ends than the one it was made for


def test_without_a_base_or_with_another_rounds_it_is_refused():
    case, _ = make()
    with pytest.raises(WireError, match="updates since the state of round 4, but this client has none"):
        replace(case, base=None).read(case.payload)
    with pytest.raises(WireError, match="updates since the state of round 4, but this client has that of round 5"):
        replace(case, base=VersionedState(case.base.state, 5)).read(case.payload)


@pytest.mark.parametrize(
    "change",
    [
        lambda votes: Votes(votes.votes, votes.trials + 1),
        lambda votes: Votes(np.where(np.arange(80) == 7, votes.votes ^ 1, votes.votes), votes.trials),
    ],
)
def test_another_state_of_the_same_round_is_refused(change):
    case, _ = make()
    other = replace(case, base=VersionedState(change(case.base.state), case.base.server_round))
    with pytest.raises(WireError, match="updates since another state of round 4 than the one that this client has"):
        other.read(case.payload)


@pytest.mark.parametrize("codec", ["side-info", "sampled"])
def test_another_seed_is_refused(codec):
    case, _ = make(codec=codec, clients=[[5], [9]], context=replace(CONTEXT, layers=(3000,)))
    with pytest.raises(WireError):
        replace(case, context=replace(case.context, seed=SEED + 1)).read(case.payload)


@pytest.mark.parametrize("codec", ["side-info", "sampled"])
def test_another_client_is_refused(codec):
    case, _ = make(codec=codec, clients=[[5]], context=replace(CONTEXT, layers=(3000,)))
    payload = bytearray(case.payload)
    payload[HEADER_SIZE + 4 + 5] ^= 1  # the first byte of the update's client
    with pytest.raises(WireError):
        case.read(reseal(payload))


def test_a_rule_that_leads_elsewhere_is_noticed():
    case, _ = make(clients=[[5]])
    sort = payload_type(*SIDE_INFO, "float32")
    with pytest.raises(WireError, match="the updates do not lead to the server's state"):
        apply_relay(case.payload, case.base, CONTEXT, sort, lambda state, updates, server_round: state)


@pytest.mark.parametrize(
    ("kind", "codec", "value_type", "message"),
    [
        ("mask", "packed", "float32", "a payload of relay, side-info, expected relay, packed"),
        ("values", "side-info", "float32", "a payload of relay, side-info, expected relay, float32"),
        ("mask and values", "side-info", "float16", "expected relay, side-info, float16"),
        ("mask and tail", "side-info", "float32", "expected relay, side-info, float32"),
    ],
)
def test_a_relay_of_another_sort_is_refused(kind, codec, value_type, message):
    case, _ = make()
    with pytest.raises(WireError, match=message):
        replace(case, kind=kind, codec=codec, value_type=value_type).read(case.payload)
