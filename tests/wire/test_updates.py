from dataclasses import replace

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_cases import CLIENT, DIGEST, LOSSLESS, ROUND, SEED, content, floats, sampled_by_coins, theta_of, votes_of, weights_of

from fedgates.errors import WireError
from fedgates.types import Update, Votes, pack
from fedgates.wire import CodingContext, pack_update, payload_type, sampled, unpack_update
from fedgates.wire.header import HEADER_SIZE

layers = st.lists(st.integers(1, 100), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) <= 300).map(tuple)
seeds = st.integers(0, 2**32 - 1)
densities = st.sampled_from([0.0, 0.01, 0.3, 0.5, 0.9, 1.0])
trials = st.sampled_from([0, 1, 2, 10, 31, 40, 1000, 5000, 2**20, 2**31])
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
MASK = pack(np.array([1, 0, 1, 1, 0, 0, 0, 0, 1], dtype=bool))


@st.composite
def shareds(draw):
    """What both ends hold: any layers, seed, round, client, and a state of either sort or none."""
    sizes, seed = draw(layers), draw(seeds)
    random = np.random.default_rng(seed)
    state = draw(
        st.one_of(
            st.none(),
            trials.map(lambda number: votes_of(random, sum(sizes), number)),
            st.sampled_from([0, 0.3, 1]).map(lambda density: weights_of(random, sum(sizes), density)),
        )
    )
    client = draw(st.integers(0, 2**64 - 1))
    return CodingContext(
        draw(st.binary(min_size=8, max_size=8)), sizes, draw(seeds), state, draw(st.integers(0, 2**63 - 1)), client
    )


@given(shareds(), st.sampled_from(LOSSLESS), densities, seeds)
@examples(300)
def test_masks_come_back_whatever_they_are(context, uplink, density, seed):
    bits = np.random.default_rng(seed).random(context.size) < density
    payload = pack_update(Update(mask=pack(bits)), context, uplink)
    found = unpack_update(payload, context, uplink)
    assert found.mask.dtype == np.uint8
    assert found.gates(context.size).tolist() == bits.tolist()
    assert found.values is None
    assert pack_update(found, context, uplink) == payload


@given(shareds(), st.sampled_from(LOSSLESS), seeds, st.sampled_from([0.01, 0.3, 3]))
@examples(200)
def test_masks_that_were_sampled_with_the_coins_come_back(context, uplink, seed, shift):
    state = context.state if isinstance(context.state, Votes) else Votes(np.zeros(context.size, np.uint32), 0)
    mask = sampled_by_coins(theta_of(np.random.default_rng(seed), state, shift), context)
    found = unpack_update(pack_update(Update(mask=pack(mask)), context, uplink), context, uplink)
    assert found.gates(context.size).tolist() == mask.tolist()


@given(shareds(), st.sampled_from(LOSSLESS), densities, st.sampled_from(["float32", "float16"]), seeds)
@examples(200)
def test_values_at_the_ones_of_a_mask_come_back_to_the_bit(context, uplink, density, value_type, seed):
    random = np.random.default_rng(seed)
    bits = random.random(context.size) < density
    values = random.normal(size=bits.sum()).astype(value_type).astype(np.float32)
    values[::5] = -0.0
    update = Update(mask=pack(bits), values=values)
    payload = pack_update(update, context, uplink, value_type=value_type)
    found = unpack_update(payload, context, uplink, "mask and values", value_type=value_type)
    assert content(found) == content(update)
    assert found.values.dtype == np.float32


@given(layers, seeds, st.sampled_from(LOSSLESS), st.sampled_from(["float32", "float16"]))
@settings(deadline=None)
def test_values_of_all_gates_come_back_to_the_bit(sizes, seed, uplink, value_type):
    context = CodingContext(DIGEST, sizes, ROUND)
    values = np.random.default_rng(seed).normal(size=context.size).astype(value_type).astype(np.float32)
    values[0] = -0.0
    payload = pack_update(Update(mask=None, values=values), context, uplink, value_type=value_type)
    found = unpack_update(payload, context, uplink, "values", value_type=value_type)
    assert found.mask is None
    assert found.values.tobytes() == values.tobytes()
    assert len(payload) == HEADER_SIZE + context.size * (4 if value_type == "float32" else 2)


@given(shareds(), seeds, st.sampled_from([0.0, 1.0, 4.0, 7.5]), st.sampled_from([0.0, 0.3, 3]))
@examples(100)
def test_sampled_sends_the_gates_that_its_encoder_chose(context, seed, extra_bits, shift):
    state = context.state if isinstance(context.state, Votes) else Votes(np.zeros(context.size, np.uint32), 0)
    theta = theta_of(np.random.default_rng(seed), state, shift)
    theta[::7], theta[3::7] = 0, 1
    gates, body = sampled.encode(theta, context, extra_bits)
    assert sampled.decode(memoryview(body), context).tolist() == gates.tolist()
    unlike = Update(mask=pack(gates == 0), theta=theta)  # the mask that was trained is not the one that is sent
    payload = pack_update(unlike, context, "sampled", extra_bits=extra_bits)
    assert payload[HEADER_SIZE:] == body
    assert unpack_update(payload, context, "sampled").gates(context.size).tolist() == gates.tolist()


@given(
    shareds(),
    st.sampled_from([*LOSSLESS, "sampled"]),
    densities,
    st.lists(finite, min_size=1, max_size=40),
    st.sampled_from(["float32", "float16"]),
)
@examples(200)
def test_tails_come_back_beside_the_mask_that_is_sent_without_one(context, uplink, density, tail, value_type):
    random = np.random.default_rng(len(tail))
    theta = random.random(context.size, np.float32)
    update = Update(mask=pack(random.random(context.size) < density), theta=theta)
    alone = pack_update(update, context, uplink)
    tail = floats(np.clip(tail, -65504, 65504)).astype(value_type).astype(np.float32)
    tailed = replace(context, tail=len(tail))
    payload = pack_update(replace(update, tail=tail), tailed, uplink, value_type=value_type)
    width = 4 if value_type == "float32" else 2
    assert payload[HEADER_SIZE : len(alone)] == alone[HEADER_SIZE:]
    assert payload[len(alone) :] == tail.astype(f"<f{width}").tobytes()
    assert payload[5:8] == bytes([6, alone[6], {4: 1, 2: 2}[width]])
    assert payload[8:32] == alone[8:32]  # its ones and the CRC of the mask are not those of the tail
    found = unpack_update(payload, tailed, uplink, "mask and tail", value_type=value_type)
    assert found.mask.tolist() == unpack_update(alone, context, uplink).mask.tolist()
    assert (found.tail.dtype, found.tail.tobytes(), found.values) == (np.float32, tail.tobytes(), None)


def test_a_tail_of_float16_rounds_and_holds_what_is_beyond_its_range():
    context = CodingContext(DIGEST, (9,), ROUND, tail=5)
    payload = pack_update(Update(MASK, tail=floats([1 / 3, 1e9, -1e9, 65504, 1e-9])), context, value_type="float16")
    found = unpack_update(payload, context, kind="mask and tail", value_type="float16")
    assert found.tail.tolist() == [0.333251953125, 65504, -65504, 65504, 0]
    found.tail[:] = 0  # a reader may work in place on its own tail
    assert unpack_update(payload, context, kind="mask and tail", value_type="float16").tail.any()


def test_a_tail_of_another_size_than_the_readers_is_refused():
    context = CodingContext(DIGEST, (9,), ROUND, tail=3)
    payload = pack_update(Update(MASK, tail=floats([1, 2, 3])), context, "packed")
    for tail, message in [(2, "a body of 6 bytes, expected 2"), (4, "a body of 14 bytes, expected at least 16")]:
        with pytest.raises(WireError, match=message):
            unpack_update(payload, replace(context, tail=tail), "packed", "mask and tail")


@pytest.mark.parametrize(
    ("kind", "tail", "message"),
    [
        ("mask and tail", 0, 'a tail of 0 values in updates of kind "mask and tail", expected at least 1'),
        ("mask", 2, 'a tail of 2 values in updates of kind "mask", expected 0, or the kind "mask and tail"'),
        ("values", 2, 'a tail of 2 values in updates of kind "values", expected 0'),
        ("mask and values", 2, 'a tail of 2 values in updates of kind "mask and values", expected 0'),
    ],
)
def test_kinds_that_do_not_fit_a_tail_are_not_read(kind, tail, message):
    context = CodingContext(DIGEST, (9,), ROUND)
    with pytest.raises(ValueError, match=message):
        unpack_update(pack_update(Update(MASK), context), replace(context, tail=tail), kind=kind)


def test_float16_rounds_and_holds_what_is_beyond_its_range():
    context = CodingContext(DIGEST, (5,), ROUND)
    update = Update(mask=None, values=floats([1 / 3, 1e9, -1e9, 65504, 1e-9]))
    found = unpack_update(pack_update(update, context, value_type="float16"), context, kind="values", value_type="float16")
    assert found.values.tolist() == [0.333251953125, 65504, -65504, 65504, 0]


def test_what_is_read_does_not_change_with_the_buffer():
    context = CodingContext(DIGEST, (4,), ROUND)
    payload = pack_update(Update(mask=None, values=floats([1, 2, 3, 4])), context)
    unpack_update(payload, context, kind="values").values[:] = 0  # a reader may work in place on its own values
    assert unpack_update(payload, context, kind="values").values.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("changed", [{"seed": 12}, {"client": 4}, {"server_round": 8}], ids=str)
def test_packed_and_entropy_need_no_more_than_the_layers(changed):
    names = {"server_round": ROUND, "seed": SEED, "client": CLIENT}
    mask = Update(mask=pack(np.arange(9) % 3 == 0))
    for uplink in ("packed", "entropy"):
        payload = pack_update(mask, CodingContext(DIGEST, (4, 5), **names), uplink)
        reader = CodingContext(DIGEST, (4, 5), **{**names, **changed})
        if "server_round" in changed:
            with pytest.raises(WireError, match="round 7, expected 8"):
                unpack_update(payload, reader, uplink)
        else:
            assert content(unpack_update(payload, reader, uplink)) == content(mask)


@pytest.mark.parametrize(
    ("kind", "uplink", "value_type", "numbers"),
    [
        ("mask", "packed", "float32", (1, 1, 0)),
        ("mask", "entropy", "float16", (1, 2, 0)),
        ("mask", "side-info", "float32", (1, 3, 0)),
        ("mask", "sampled", "float32", (1, 4, 0)),
        ("values", "side-info", "float32", (3, 0, 1)),
        ("values", "packed", "float16", (3, 0, 2)),
        ("mask and values", "entropy", "float16", (4, 2, 2)),
        ("mask and tail", "side-info", "float32", (6, 3, 1)),
        ("mask and tail", "sampled", "float16", (6, 4, 2)),
    ],
)
def test_sorts_by_their_numbers(kind, uplink, value_type, numbers):
    assert payload_type(kind, uplink, value_type) == numbers


def test_there_is_no_sort_of_sampled_masks_with_values():
    with pytest.raises(ValueError, match="uplink sampled draws a new mask: expected updates without values"):
        payload_type("mask and values", "sampled", "float32")


@pytest.mark.parametrize(
    ("update", "uplink", "message"),
    [
        (Update(mask=None), "packed", "an update needs a mask, or values, or both"),
        (Update(mask=MASK[:1]), "packed", "a mask of 1 bytes, expected 2 for 9 gates"),
        (Update(mask=np.zeros(3, np.uint8)), "entropy", "a mask of 3 bytes, expected 2 for 9 gates"),
        (Update(mask=np.array([0, 2], np.uint8)), "side-info", "a mask of 2 bytes"),  # a one beyond the last gate
        (Update(mask=MASK, values=floats([1])), "packed", "1 values, expected 4: one for each 1 of the mask"),
        (Update(mask=None, values=floats([1])), "packed", "1 values, expected 9"),
        (Update(mask=MASK), "sampled", "expected an update with theta"),
        (Update(mask=MASK, values=floats([1] * 4), theta=floats([0.5] * 9)), "sampled", "and without values"),
        (Update(mask=MASK, theta=floats([0.5] * 8)), "sampled", "theta has 8 numbers, expected 9"),
        (Update(mask=MASK, theta=floats([0.5] * 8 + [np.nan])), "sampled", "theta has a number that is not finite"),
    ],
)
def test_updates_that_do_not_fit_are_not_sent(update, uplink, message):
    with pytest.raises(ValueError, match=message):
        pack_update(update, CodingContext(DIGEST, (4, 5), ROUND), uplink)


@pytest.mark.parametrize(
    ("update", "tail", "message"),
    [
        (Update(mask=MASK), 2, "an update without a tail, expected one of 2 values"),
        (Update(mask=None, values=floats([1] * 9)), 2, "an update without a tail, expected one of 2 values"),
        (Update(mask=MASK, tail=floats([1])), 2, "a tail of 1 values, expected 2"),
        (Update(mask=MASK, tail=floats([1])), 0, "a tail of 1 values, expected no tail"),
        (Update(mask=MASK, tail=floats([])), 0, "a tail of 0 values, expected no tail"),
        (Update(mask=MASK, values=floats([1] * 4), tail=floats([1, 2])), 2, "a tail and values"),
        (Update(mask=None, tail=floats([1, 2])), 2, "expected a tail and a mask only"),
    ],
)
def test_tails_that_do_not_fit_are_not_sent(update, tail, message):
    with pytest.raises(ValueError, match=message):
        pack_update(update, CodingContext(DIGEST, (4, 5), ROUND, tail=tail), "packed")
