"""Replies that would do for another codec, client, round or state: each is rejected with its reason, and votes nothing."""

import re

import numpy as np
import pytest
from loopback_runs import (
    FEDPM,
    SMALL,
    answer,
    client_of,
    decoded,
    method,
    payload_of,
    resealed,
    run,
    state_payload,
    votes_of,
    with_faults,
)
from tiny_network import SMALL_SIZE

from fedgates.types import Update
from fedgates.wire import VersionedState
from fedgates.wire.header import HEADER_SIZE

NETWORK = SMALL | FEDPM | {"downlink": "votes"}
UPLINKS = ["packed", "entropy", "side-info", "sampled"]
ROUND, ONES, CHECK = slice(12, 16), slice(24, 28), slice(28, 32)
"""Where they stand in a header."""
ANOTHER_MASK = (
    r"the mask has \d+ ones, its header says \d+|the decoded mask does not match its CRC: sender and reader do not have"
)
ANOTHER_MODEL = rf"{ANOTHER_MASK}|a body of \d+ bytes, expected|(a|the) range code|a frequency"


def patched(payload, place, value):
    """One field of the header is another, and the checksum right."""
    data = bytearray(payload)
    data[place] = value.to_bytes(4, "little")
    return resealed(data)


def field(payload, place):
    return int.from_bytes(payload[place], "little")


def foreign(uplink, seen):
    """How the second round's honest payload is changed, by what, and the reason; `seen` has payloads of others."""
    codec = method(**NETWORK, uplink=uplink).codec
    at = 1 if uplink == "sampled" else 9  # bytes from the end: of "sampled" the index of a candidate
    other = UPLINKS[(UPLINKS.index(uplink) + 1) % 4]

    def recoded(message, reply):
        mask = decoded(message, reply, uplink=uplink, **NETWORK).mask
        theta = np.unpackbits(mask, count=method(**NETWORK).network.size, bitorder="little").astype(np.float32)
        known = codec.unpack_state(state_payload(message))
        return method(**NETWORK, uplink=other).codec.pack_update(Update(mask, theta=theta), known, client_of(message))

    def of_the_first_state(message, reply):
        mask = decoded(message, reply, uplink=uplink, **NETWORK).mask
        theta = np.unpackbits(mask, count=method(**NETWORK).network.size, bitorder="little").astype(np.float32)
        return codec.pack_update(
            Update(mask, theta=theta), VersionedState(method(**NETWORK).initial_state(), 2), client_of(message)
        )

    def body(change):
        return lambda m, r: resealed(payload_of(r)[:HEADER_SIZE] + change(payload_of(r)[HEADER_SIZE:]))

    cases = {
        "another codec": (recoded, f"a payload of mask, {other}, expected mask, {uplink}"),
        "the round before": (lambda m, r: seen[1, client_of(m)], "round 1, expected 2"),
        "cut": (body(lambda b: b[: len(b) // 2]), ANOTHER_MODEL),
        "no body": (body(lambda b: b""), "a body of 0 bytes, expected"),
        "too long": (body(lambda b: b + bytes(20_000)), ANOTHER_MODEL),
        "one more one": (
            lambda m, r: patched(payload_of(r), ONES, field(payload_of(r), ONES) + 1),
            r"the mask has \d+ ones, its",
        ),
        "all ones": (
            lambda m, r: patched(payload_of(r), ONES, 2**32 - 1),
            f"a mask with {2**32 - 1} ones in {SMALL_SIZE} gates",
        ),
        "another mask's check": (
            lambda m, r: patched(payload_of(r), CHECK, field(payload_of(r), CHECK) ^ 1),
            "the decoded mask does not match its CRC",
        ),
        "a bit": (body(lambda b: bytes(byte ^ 4 if i == len(b) - at else byte for i, byte in enumerate(b))), ANOTHER_MODEL),
    }
    if uplink in ("side-info", "sampled"):  # a plain mask has no name on it
        cases |= {
            "a neighbour's": (lambda m, r: seen[2, 0], ANOTHER_MODEL),
            "dated anew": (lambda m, r: patched(seen[1, client_of(m)], ROUND, 2), ANOTHER_MODEL),
            "of another state": (of_the_first_state, ANOTHER_MODEL),
        }
    return cases


def replaced_by(change):
    return lambda message, reply: answer(message, change(message, reply))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("uplink", UPLINKS)
def test_a_payload_made_for_something_else_is_rejected_and_votes_nothing(raw, uplink):
    seen = {}
    cases = foreign(uplink, seen)
    clients = len(cases) + 2

    def remember(message, reply):
        seen[field(payload_of(reply), ROUND), client_of(message)] = payload_of(reply)
        return reply

    sound = []

    def counted(message, reply):
        sound.append(decoded(message, reply, uplink=uplink, **NETWORK).gates(method(**NETWORK).network.size))
        return remember(message, reply)

    faults = {(1, name): remember for name in range(clients)} | {(2, 0): counted, (2, clients - 1): counted}
    faults |= {(2, i): replaced_by(change) for i, (change, _) in enumerate(cases.values(), 1)}
    folder = run(raw(uplink=uplink, quorum=0.1, samples_per_client=10), clients, with_faults(faults))
    line = folder.round_log.read()[1]
    for name, (case, (_, reason)) in enumerate(cases.items(), 1):
        assert re.match(reason, line["rejected"].get(str(name), "")), (case, line["rejected"].get(str(name)))
    assert (line["clients_counted"], line["clients_rejected"]) == (2, len(cases))
    np.testing.assert_array_equal(votes_of(folder), sum(sound).astype(np.uint32))  # the prior is reset every round
