"""The codec of one run: both ends build it from the same options, and payloads of other options are refused."""

from dataclasses import replace

import numpy as np
import pytest
from wire_cases import DIGEST, content, theta_of, votes_of, weights_of

from fedgates.errors import WireError
from fedgates.types import Update, Votes, pack
from fedgates.wire import AcceptedUpdate, VersionedState, describe, state_crc
from fedgates.wire.codec import Codec, WireOptions
from fedgates.wire.sums import BATCH_NORM

LAYERS = (60 * 30, 30, 30 * 10, 10)
SIZE = sum(LAYERS)
OPTIONS = WireOptions(seed=5)
UPLINKS = ["packed", "entropy", "side-info", "sampled"]


def codec(digest=DIGEST, update_kind="mask", tail=0, **changes):
    return Codec(replace(OPTIONS, **changes), LAYERS, digest, update_kind, tail=tail)


def mask_update(state, seed=0):
    random = np.random.default_rng(seed)
    theta = theta_of(random, state, 2.0)
    return Update(pack(random.random(SIZE) < theta), theta=theta)


@pytest.fixture
def known():
    return VersionedState(votes_of(np.random.default_rng(1), SIZE, 6), 4)


@pytest.mark.parametrize("uplink", UPLINKS)
def test_an_update_goes_there_and_back(known, uplink):
    update = mask_update(known.state)
    payload = codec(uplink=uplink).pack_update(update, known, client=3)
    assert describe(payload) == f"mask, {uplink}"
    found = codec(uplink=uplink).unpack_update(payload, known, client=3)
    assert uplink == "sampled" or found.mask.tobytes() == update.mask.tobytes()
    assert (found.theta, found.values) == (None, None)


@pytest.mark.parametrize("uplink", UPLINKS)
def test_what_it_was_coded_for_is_what_it_decodes_for(known, uplink):
    payload = codec(uplink=uplink).pack_update(mask_update(known.state), known, client=3)
    with pytest.raises(WireError, match="round 4, expected 5"):
        codec(uplink=uplink).unpack_update(payload, replace(known, server_round=5), client=3)
    with pytest.raises(WireError, match="network digest"):
        codec(uplink=uplink, digest=b"othernet").unpack_update(payload, known, client=3)
    with pytest.raises(WireError, match=f"a payload of mask, {uplink}, expected values, float32"):
        codec(uplink=uplink, update_kind="values").unpack_update(payload, known, client=3)
    for other in set(UPLINKS) - {uplink}:
        with pytest.raises(WireError, match=f"a payload of mask, {uplink}, expected mask, {other}"):
            codec(uplink=other).unpack_update(payload, known, client=3)


def test_a_sample_is_of_a_seed_and_a_client(known):
    payload = codec(uplink="sampled").pack_update(mask_update(known.state), known, client=3)
    with pytest.raises(WireError, match="the mask"):
        codec(uplink="sampled").unpack_update(payload, known, client=4)
    with pytest.raises(WireError, match="the mask"):
        codec(uplink="sampled", seed=6).unpack_update(payload, known, client=3)


def test_extra_bits_are_those_of_the_options(known):
    update = mask_update(known.state)
    few, many = (codec(uplink="sampled", sampled_extra_bits=bits) for bits in (0.0, 6.0))
    assert len(few.pack_update(update, known, 3)) < len(many.pack_update(update, known, 3))


@pytest.mark.parametrize(("value_type", "width"), [("float32", 4), ("float16", 2)])
@pytest.mark.parametrize("update_kind", ["values", "mask and values"])
def test_values_are_of_the_type_that_the_options_name(value_type, width, update_kind):
    known = VersionedState(weights_of(np.random.default_rng(2), SIZE), 1)
    values = (np.arange(SIZE) % 1000 / 8).astype(np.float32)  # which float16 has, too
    mask = np.arange(SIZE) % 7 == 0
    update = Update(None, values) if update_kind == "values" else Update(pack(mask), values[mask])
    mine = codec(update_kind=update_kind, value_type=value_type, uplink="packed")
    payload = mine.pack_update(update, known, 0)
    bits = 0 if update_kind == "values" else -(-SIZE // 8)
    assert len(payload) == 36 + bits + width * len(update.values)
    assert content(mine.unpack_update(payload, known, 0)) == content(update)
    other = "float16" if value_type == "float32" else "float32"
    with pytest.raises(WireError, match=f"{value_type}, expected .*{other}"):
        codec(update_kind=update_kind, value_type=other, uplink="packed").unpack_update(payload, known, 0)


@pytest.mark.parametrize(
    ("downlink", "sort", "relays"), [("votes", "votes", False), ("float32", "votes, float32", False), ("relay", "votes", True)]
)
def test_a_state_goes_there_and_back(known, downlink, sort, relays):
    mine = codec(downlink=downlink)
    payload = mine.pack_state(known.state, known.server_round)
    assert describe(payload) == sort
    assert mine.relays == relays
    found = mine.unpack_state(payload)
    assert content((found.state, found.server_round)) == content((known.state, 4))
    with pytest.raises(WireError, match="network digest"):
        codec(downlink=downlink, digest=b"othernet").unpack_state(payload)


def add(state, updates, server_round):
    votes, trials = state.votes.copy(), state.trials
    for update in updates:
        votes, trials = votes + update.gates(SIZE), trials + 1
    return Votes(votes, trials)


@pytest.mark.parametrize("uplink", UPLINKS)
def test_a_relay_leads_from_a_known_state_to_the_servers(known, uplink):
    mine, state, rounds = codec(uplink=uplink, downlink="relay"), known.state, []
    for server_round in (4, 5):
        now = VersionedState(state, server_round)
        sent = [AcceptedUpdate(c, 9, mine.pack_update(mask_update(state, c), now, c)) for c in (2, 1)]
        rounds.append(sent)
        state = add(state, [mine.unpack_update(one.payload, now, one.client) for one in sent], server_round)
    payload = mine.pack_relay((4, state_crc(known.state)), rounds, VersionedState(state, 6))
    assert describe(payload) == f"relay, {uplink}"
    found = codec(uplink=uplink, downlink="relay").apply_relay(payload, known, add)
    assert content((found.state, found.server_round)) == content((state, 6))
    assert found.state.trials == 10
    for base in (None, replace(known, server_round=5), VersionedState(state, 4)):
        with pytest.raises(WireError, match="updates since"):
            mine.apply_relay(payload, base, add)


@pytest.mark.parametrize("value_type", ["float32", "float16"])
@pytest.mark.parametrize("uplink", UPLINKS)
def test_tails_go_up_and_down_and_in_relays(known, uplink, value_type):
    mine = codec(update_kind="mask and tail", tail=3, uplink=uplink, value_type=value_type, downlink="relay")
    opened = VersionedState(replace(known.state, tail=np.array([0.1, -0.0, 1e30], np.float32)), 4)
    snapshot = mine.pack_state(opened.state, 4)
    assert describe(snapshot) == "votes and tail, votes, float32"
    assert content((mine.unpack_state(snapshot).state, 4)) == content((opened.state, 4))
    sent = replace(mask_update(opened.state), tail=np.array([0.5, -2, 8], np.float32))
    payload = mine.pack_update(sent, opened, 1)
    assert describe(payload) == f"mask and tail, {uplink}, {value_type}"
    found = mine.unpack_update(payload, opened, 1)
    assert found.tail.tolist() == [0.5, -2, 8]
    assert uplink == "sampled" or found.mask.tobytes() == sent.mask.tobytes()

    def rule(state, updates, server_round):
        (update,) = updates
        return replace(add(state, [update], server_round), tail=update.tail)

    state = rule(opened.state, [found], 4)
    relay = mine.pack_relay((4, state_crc(opened.state)), [[AcceptedUpdate(1, 9, payload)]], VersionedState(state, 5))
    assert describe(relay) == f"relay, {uplink}, {value_type}"
    assert content((mine.apply_relay(relay, opened, rule).state, 5)) == content((state, 5))


@pytest.mark.parametrize(
    ("kind", "tail", "message"),
    [
        ("mask and tail", 0, 'a tail of 0 values in updates of kind "mask and tail", expected at least 1'),
        ("mask", 1, 'a tail of 1 values in updates of kind "mask", expected 0, or the kind "mask and tail"'),
        ("values", 1, 'a tail of 1 values in updates of kind "values", expected 0'),
    ],
)
def test_a_tail_goes_with_one_kind_of_updates(kind, tail, message):
    with pytest.raises(ValueError, match=message):
        codec(update_kind=kind, tail=tail)


def test_sums_go_there_and_back():
    payload = codec().pack_sums(np.array([1.5, -2.0]), 7, BATCH_NORM)
    assert codec().unpack_sums(payload, 7, BATCH_NORM, 2).tolist() == [1.5, -2.0]
    with pytest.raises(WireError, match="round 7, expected 8"):
        codec().unpack_sums(payload, 8, BATCH_NORM, 2)
    with pytest.raises(WireError, match="network digest"):
        codec(digest=b"othernet").unpack_sums(payload, 7, BATCH_NORM, 2)
