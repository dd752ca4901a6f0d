"""Malformed and hostile replies through the real strategy: none ends a run, none votes, each is named by its own reason."""

import logging
import re
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.serde import message_to_proto
from loopback_runs import (
    D,
    Hostile,
    client_of,
    decoded,
    last_checkpoint,
    method,
    payload_of,
    resealed,
    run_on,
    state_payload,
    total,
    votes_of,
)
from safetensors.numpy import load_file

from client_app import app
from fedgates.flower.records import METRICS, STYPE, UPDATE, to_record
from fedgates.types import Update, Weights, pack
from fedgates.wire import AcceptedUpdate, VersionedState, state_crc
from fedgates.wire.header import HEADER_SIZE
from fedgates.wire.range_coder import encode_bits
from fedgates.wire.scale import FREQUENCIES
from fedgates.wire.side_info import read_groups

MAGIC, VERSION, KIND, CODEC, VALUE_TYPE, SIZE, ROUND, DIGEST, ONES, CHECK, CRC = 0, 4, 5, 6, 7, 8, 12, 16, 24, 28, 32
"""Where the fields stand in a header."""
PACKED, VALUES = -(-D // 8), round(0.1 * D)
"""Bytes of a packed mask, and number of values of a method that sends a tenth of the weights."""
HONEST = 5
"""How many clients have no fault."""


# --- faults: what is made of a question, the honest reply to it, and what others have sent


def instead(reply):
    """Another reply, or none."""
    return lambda m, r, seen: reply(m, r)


def error(code, why):
    return lambda m, r, seen: Message(Error(code, why), reply_to=m)


def sent(change):
    """A payload that follows from the honest one."""
    return lambda m, r, seen: answered(m, change(payload_of(r)))


def made(build):
    """A payload that follows from question and reply."""
    return lambda m, r, seen: answered(m, build(m, r))


def header(start, new, *, sealed=True):
    """A field of the header is another; its checksum fits, unless not."""

    def change(payload):
        data = payload[:start] + new + payload[start + len(new) :]
        return resealed(data) if sealed else data

    return sent(change)


def body(change):
    """Another body, under a checksum that fits."""
    return sent(lambda payload: resealed(payload[:HEADER_SIZE] + change(payload[HEADER_SIZE:])))


def put(data, place, value):
    return bytes(value if i == place % len(data) else byte for i, byte in enumerate(data))


def metrics(**claims):
    """Other numbers beside a sound payload; underscores stand for dashes, None for none."""
    claims = {name.replace("_", "-"): value for name, value in claims.items()}
    return lambda m, r, seen: answered(m, payload_of(r), claims)


def records(build):
    """Other records than one of one array; `build` has the honest record."""
    honest = MetricRecord({"num-examples": 10})
    return lambda m, r, seen: Message(RecordDict(build(to_record(payload_of(r))) | {METRICS: honest}), reply_to=m)


def answered(message, payload, claims=None):
    numbers = {"num-examples": 10, "loss": 1.0} | (claims or {})
    kept = MetricRecord({name: value for name, value in numbers.items() if value is not None})
    return Message(RecordDict({UPDATE: to_record(payload), METRICS: kept}), reply_to=message)


def array(payload, stype=STYPE):
    return Array("uint8", (len(payload),), stype, payload)


def from_node(node):
    def claim(message, reply):
        reply.metadata.__dict__["_src_node_id"] = node
        return reply

    return instead(claim)


def gone(message):
    """What Flower's server says in a client's stead."""
    reply = Message(Error(5, "the node is not available"), reply_to=message)
    reply.metadata.__dict__["_src_node_id"] = 1
    return reply


def broken_bytes(change):
    """Bytes that Flower has to read a reply from."""

    def damage(message, reply):
        proto = message_to_proto(reply)
        return change(proto) or proto.SerializeToString()

    return instead(damage)


def a_metric_without_a_value(proto):
    record = next(item.metric_record for item in proto.content.items if item.HasField("metric_record"))
    record.items.add(key="loss")


# --- payloads that would do elsewhere


def known_to(message, **changes):
    return method(**changes).codec.unpack_state(state_payload(message))


def recoded(message, reply, *, known=None, client=None, **changes):
    """The mask of a reply, coded by another config, for another state or client."""
    mask = decoded(message, reply).mask
    theta = np.unpackbits(mask, count=method().network.size, bitorder="little").astype(np.float32)
    name = client_of(message) if client is None else client
    return method(**changes).codec.pack_update(Update(mask, theta=theta), known or known_to(message), name)


def of_weights(value_type="float32", mask=None, **changes):
    """An update of a weight method."""
    other = method(value_type=value_type, **changes)
    size = other.network.size
    values = np.ones(size if mask is None else 1, dtype=np.float32)
    return other.codec.pack_update(Update(mask, values), VersionedState(other.initial_state(), 2), 0)


def one_gate():
    return pack(np.arange(method().network.size) == 7)


def relay(message, reply):
    first = method().initial_state()
    counted = AcceptedUpdate(client_of(message), 10, payload_of(reply))
    return method(downlink="relay").codec.pack_relay((1, state_crc(first)), [[counted]], known_to(message))


def table_of_other_gates(message, reply):
    """A code by frequencies that are not those of its gates."""
    payload, known = payload_of(reply), known_to(message)
    shared = method().codec._context(known.server_round, known.state, client_of(message))
    groups, at = read_groups(memoryview(payload)[HEADER_SIZE:], shared)
    gates = groups.ordered(decoded(message, reply).gates(shared.size))
    table = groups.frequencies(gates)
    table[table.argmin()] += 1
    start = HEADER_SIZE + at
    return resealed(payload[:start] + table.tobytes() + encode_bits(gates, groups.sizes.tolist(), FREQUENCIES[table]))


FAILED = {
    "raises": (error(2, "RuntimeError: the disk is full"), "error 2: RuntimeError: the disk is full$"),
    "fails without a reason": (error(7, ""), "error 7: no reason given$"),
    "fails at length, and forges a line": (error(6, "x\nround 2/2\x1b[31m" * 99_999), r"error 6: x round 2/2\\x1b\[31mx round"),
    "silent": (instead(lambda m, r: None), r"no reply within 0\.2 s$"),
    "bytes that are no message": (
        broken_bytes(lambda p: p.SerializeToString()[:-3]),
        "error 0: .* be read: DecodeError",
    ),
    "neither content nor error": (broken_bytes(lambda p: p.ClearField("content")), "error 0: .* cannot be read: MessageInit"),
    "a metric without a value": (broken_bytes(a_metric_without_a_value), "error 0: its reply cannot be read: AttributeError"),
    "gone, says Flower": (instead(lambda m, r: gone(m)), "error 5: the node is not available$"),
    "from a neighbour": (from_node(1001), "error 0: its reply claims to be from node 1001$"),
    "from the server": (from_node(1), "error 0: its reply claims to be from node 1$"),
}

RECORDS = {
    "no records": (
        instead(lambda m, r: Message(RecordDict(), reply_to=m)),
        r"array records \[\], expected one named 'update'$",
    ),
    "another record": (records(lambda r: {"other": r}), r"array records \['other'\], expected one named 'update'$"),
    "two records": (records(lambda r: {UPDATE: r, "again": r}), r"array records \['again', 'update'\], expected one"),
    "no arrays": (records(lambda r: {UPDATE: ArrayRecord()}), r"arrays \[\], expected one named 'payload'$"),
    "another array": (records(lambda r: {UPDATE: ArrayRecord({"w": r["payload"]})}), r"arrays \['w'\], expected one named"),
    "two arrays": (records(lambda r: {UPDATE: ArrayRecord({**r, "more": r["payload"]})}), r"arrays \['more', 'payload'\]"),
    "a name of a megabyte": (records(lambda r: {UPDATE: ArrayRecord({"n" * 10**6: r["payload"]})}), r"arrays \['n{200}"),
    "an array of numpy": (
        records(lambda r: {UPDATE: ArrayRecord({"payload": array(r["payload"].data, "numpy.ndarray")})}),
        "an array serialised as 'numpy.ndarray', expected 'fedgates.2'$",
    ),
    "an older format": (
        records(lambda r: {UPDATE: ArrayRecord({"payload": array(r["payload"].data, "fedgates.1")})}),
        "an array serialised as 'fedgates.1', expected",
    ),
    "padded beyond the limit": (
        sent(lambda p: p + bytes(100_001 - len(p))),
        r"a payload of 100,001 bytes, expected at most limits.max-payload-mb = 0\.1 megabytes$",
    ),
    "a second array beyond the limit": (
        records(lambda r: {UPDATE: r, "again": ArrayRecord({"more": array(bytes(300_000))})}),
        r"a payload of 30\d,\d{3} bytes, expected at most limits.max-payload-mb",
    ),
}

HEADER = {
    "nothing": (sent(lambda p: b""), "0 bytes, expected a header of 36$"),
    "a header cut short": (sent(lambda p: p[: HEADER_SIZE - 1]), "35 bytes, expected a header of 36$"),
    "garbage": (sent(lambda p: b"\0garbage" * 1000), r"magic b'\\x00gar', expected b'FGTS'$"),
    "another magic": (header(MAGIC, b"FGTZ"), r"magic b'FGTZ', expected b'FGTS'$"),
    "an older version": (header(VERSION, b"\1"), "format version 1, expected 2$"),
    "a later version": (header(VERSION, b"\3"), "format version 3, expected 2$"),
    "no kind": (header(KIND, b"\0"), "a payload of kind 0, side-info, expected mask, side-info$"),
    "the state": (made(lambda m, r: state_payload(m)), "a payload of votes, expected mask, side-info$"),
    "a relay": (made(relay), "a payload of relay, side-info, expected mask, side-info$"),
    "values": (sent(lambda p: of_weights(strategy="fedavg")), "a payload of values, float32, expected mask"),
    "values in float16": (sent(lambda p: of_weights("float16", strategy="fedavg")), "a payload of values, float16"),
    "a mask and its values": (
        sent(lambda p: of_weights(mask=one_gate(), strategy="topk", target_density=0.1)),
        "a payload of mask and values, side-info, float32, expected mask, side-info$",
    ),
    "no codec": (header(CODEC, b"\0"), "a payload of mask, expected mask, side-info$"),
    "a codec of nobody": (header(CODEC, b"\x4d"), "a payload of mask, codec 77, expected mask, side-info$"),
    "packed": (made(partial(recoded, uplink="packed")), "a payload of mask, packed, expected mask, side-info$"),
    "entropy": (made(partial(recoded, uplink="entropy")), "a payload of mask, entropy, expected mask, side-info$"),
    "sampled": (
        made(partial(recoded, strategy="fedpm", uplink="sampled")),
        "a payload of mask, sampled, expected mask, side-info$",
    ),
    "a type of values": (header(VALUE_TYPE, b"\1"), "a payload of mask, side-info, float32, expected mask, side-info$"),
    "a type of nobody": (header(VALUE_TYPE, b"\xff"), "a payload of mask, side-info, value type 255, expected"),
    "one gate more": (header(SIZE, (D + 1).to_bytes(4, "little")), f"{D + 1} gates, expected {D}$"),
    "no gates": (header(SIZE, bytes(4)), f"0 gates, expected {D}$"),
    "all the gates there can be": (header(SIZE, b"\xff" * 4), f"4294967295 gates, expected {D}$"),
    "another network": (header(DIGEST, b"othernet"), "network digest 6f746865726e6574, expected [0-9a-f]{16}$"),
    "a damaged checksum": (header(CRC, bytes(4), sealed=False), "checksum does not match: the payload is damaged$"),
    "the round after": (header(ROUND, b"\3"), "round 3, expected 2$"),
    "no round": (header(ROUND, b"\0"), "round 0, expected 2$"),
    "the last of all rounds": (header(ROUND, b"\xff" * 4), "round 4294967295, expected 2$"),
    "the round before, replayed": (lambda m, r, seen: answered(m, seen[1, client_of(m)]), "round 1, expected 2$"),
    "more ones than gates": (header(ONES, (D + 1).to_bytes(4, "little")), f"a mask with {D + 1} ones in {D} gates$"),
    "all the ones there can be": (header(ONES, b"\xff" * 4), f"a mask with 4294967295 ones in {D} gates$"),
    "no ones": (header(ONES, bytes(4)), r"the mask has \d+ ones, its header says 0$"),
    "another mask's check": (header(CHECK, bytes(4)), "the decoded mask does not match its CRC: sender and reader do not"),
}

BODY = {
    "no body": (body(lambda b: b""), "a body of 0 bytes, expected at least 2$"),
    "flags alone": (body(lambda b: b[:2]), r"a body of 2 bytes, expected at least \d+$"),
    "a table cut short": (body(lambda b: b[:5]), r"a body of 5 bytes, expected at least \d+$"),
    "another mode": (body(lambda b: put(b, 0, 7)), "a body of mode 7, expected 0 or 1$"),
    "flags of layers that are not there": (body(lambda b: put(b, 1, 0x40)), "flags beyond the last layer are not zero$"),
    "no frequency": (body(lambda b: put(b, 2, 255)), r"a frequency's byte is 255, expected at most \d+$"),
    "another's frequencies": (made(table_of_other_gates), "the frequencies do not match the decoded gates$"),
    "too long": (body(lambda b: b + bytes(20_000)), r"a body of 20\d{3} bytes, expected at most 1\d{2}$"),
    "half a word": (body(lambda b: b[:-2]), r"a range code of \d+ bytes, expected whole words of 4$"),
    "random bytes": (body(lambda b: np.random.default_rng(2).bytes(len(b))), r"a body of mode \d+, expected 0 or 1$"),
    "a neighbour's": (
        lambda m, r, seen: answered(m, seen[2, client_of(m) - 1]),
        "the range code is not the one that its gates encode to$",  # as if it were damaged: nothing in it says whose it is
    ),
}

NUMBERS = {
    "no examples": (metrics(num_examples=0), "num-examples = 0, expected a whole number from 1 to 2147483647$"),
    "less than none": (metrics(num_examples=-1), "num-examples = -1, expected a whole number"),
    "too many": (metrics(num_examples=2**31), "num-examples = 2147483648, expected a whole number"),
    "far too many": (metrics(num_examples=2**40), "num-examples = 1099511627776, expected a whole number"),
    "all there can be": (metrics(num_examples=2**64 - 1), "num-examples = 18446744073709551615, expected a whole number"),
    "half an example": (metrics(num_examples=3.5), r"num-examples = 3\.5, expected a whole number"),
    "a whole number as a float": (metrics(num_examples=10.0), r"num-examples = 10\.0, expected a whole number"),
    "examples that are no number": (metrics(num_examples=float("nan")), "num-examples = nan, expected a whole number"),
    "a list of examples": (metrics(num_examples=[10]), r"num-examples = \[10\], expected a whole number"),
    "a long list of examples": (
        metrics(num_examples=[1] * 200_000),
        r"num-examples = \[1, 1, 1[1, ]+, expected a whole number",
    ),
    "nothing said of examples": (metrics(num_examples=None), "num-examples = None, expected a whole number"),
    "a loss that is no number": (metrics(loss=float("nan")), r"metric loss = nan, expected a number from -1e\+09 to 1e\+09$"),
    "an endless loss": (metrics(loss=float("inf")), "metric loss = inf, expected a number"),
    "an endless gain": (metrics(loss=-float("inf")), "metric loss = -inf, expected a number"),
    "a huge loss": (metrics(loss=1e308), r"metric loss = 1e\+308, expected a number"),
    "a huge whole loss": (metrics(loss=2**64 - 1), "metric loss = 18446744073709551615, expected a number"),
    "a list of losses": (metrics(loss=[1.0]), r"metric loss = \[1\.0\], expected a number"),
    "a long list of losses": (metrics(loss=[0.5] * 200_000), r"metric loss = \[0\.5, 0\.5[0.5, ]+, expected a number"),
    "no time at all": (metrics(seconds=float("nan")), "metric seconds = nan, expected a number"),
    "too many metrics": (metrics(**{f"m{i}": 1.0 for i in range(99)}), "100 metrics, expected at most 32$"),
    "a metric that forges a line": (
        metrics(**{"x\nround 2/3  FORGED\x1b[31m": float("inf")}),
        r"metric x round 2/3 FORGED\\x1b\[31m = inf, expected a number",
    ),
    "a metric of a megabyte": (
        metrics(**{"y" * 10**6: 1.0}),
        "a metric with a name of 1,000,000 characters, expected at most 64$",
    ),
}

FAULTS = FAILED | RECORDS | HEADER | BODY | NUMBERS


@pytest.fixture(scope="module")
def hostile(shared_raw):
    """A run whose second round has every fault, and some honest clients: its folder, its grid, and its log."""
    log, said = logging.getLogger("fedgates"), []
    handler, level = logging.Handler(), log.level
    handler.emit = lambda record: said.append(record.getMessage())
    log.addHandler(handler)
    log.setLevel("INFO")
    changes = {"quorum": 0.01, "samples_per_client": 10, "max_payload_mb": 0.1, "evaluations": "threshold", "downlink": "votes"}
    folder, grid = attacked(shared_raw(**changes), FAULTS)
    log.removeHandler(handler)
    log.setLevel(level)
    return folder, grid, "\n".join(said)


def attacked(raw, faults, honest=HONEST):
    """A run whose first clients have these faults in its second round: its folder and its grid."""
    fault_of = dict(enumerate(fault for fault, _ in faults.values()))
    grid = Hostile(app, raw, len(faults) + honest, faults=fault_of)
    return run_on(grid, raw), grid


def reasons(line, faults):
    """What a line says of each fault, by column."""
    names = list(faults)
    return {column: {names[int(i)]: text for i, text in line[column].items()} for column in ("failed", "rejected")}


def honest_updates(grid, **changes):
    """What honest clients sent in the second round, by name."""
    return {
        name: replace(decoded(message, reply, **changes), client=name) for name, (message, reply) in sorted(grid.honest.items())
    }


def state_after(grid, updates, **changes):
    """The state that the second round leaves if these updates alone are counted."""
    message, _ = next(iter(grid.honest.values()))
    return method(**changes).aggregate(known_to(message, **changes).state, updates.values(), 2)


def test_each_fault_is_named_by_its_reason_and_none_ends_the_run(hostile):
    folder, _, said = hostile
    _, line = folder.round_log.read()
    found = reasons(line, FAULTS)
    assert found["failed"].keys() == FAILED.keys()
    assert found["rejected"].keys() == FAULTS.keys() - FAILED.keys()
    told = found["failed"] | found["rejected"]
    assert [(name, told[name]) for name, (_, expected) in FAULTS.items() if not re.match(expected, told[name])] == []
    clients = list(FAULTS)
    shown = re.findall(r"^    client (\d+) (failed|rejected): (.+)$", said, re.MULTILINE)
    assert len(shown) == 7  # of so many a line each would hide the rounds; the ledger has all
    for client, column, reason in shown:
        name = clients[int(client)]
        assert (column, reason) == ("failed" if name in FAILED else "rejected", told[name])
    assert f"    and {len(FAULTS) - 7} other reasons, in rounds.jsonl" in said.split("\n")


def test_no_two_faults_have_one_reason(hostile):
    told = reasons(hostile[0].round_log.read()[1], FAULTS)
    texts = [*told["failed"].values(), *told["rejected"].values()]
    assert len(texts) == len(FAULTS) >= 40
    assert [text for text, times in Counter(texts).items() if times > 1] == []


def test_no_fault_votes(hostile):
    folder, grid, _ = hostile
    updates = honest_updates(grid)
    assert len(updates) == folder.round_log.read()[1]["clients_counted"] == HONEST
    np.testing.assert_array_equal(votes_of(folder), state_after(grid, updates).votes)


def test_what_was_rejected_has_travelled_under_the_name_that_it_gives_itself(hostile):
    line = hostile[0].round_log.read()[1]
    traffic = line["uplink"]
    assert traffic["votes"]["messages"] == traffic["relay, side-info"]["messages"] == 1
    assert traffic["unreadable"]["messages"] == 8 + 6  # not as one array, or with a header that says nothing
    assert sum(of_sort["messages"] for of_sort in traffic.values()) == len(FAULTS) - len(FAILED) + HONEST
    assert total(traffic) == line["uplink_bytes"]


def test_a_line_stays_a_line_whatever_clients_write_into_it(hostile):
    folder, _, said = hostile
    assert all(len(text) <= 300 for column in ("failed", "rejected") for text in folder.round_log.read()[1][column].values())
    assert "\x1b" not in said
    assert len(re.findall(r"^round 2/2", said, re.MULTILINE)) == 1
    assert max(map(len, said.split("\n"))) < 400


# --- other codecs and methods


def xor(data, place, bits):
    return put(data, place, data[place] ^ bits)


def moved(packed):
    """A mask in plain bits with as many ones, elsewhere."""
    gates = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), bitorder="little")
    one, zero = gates.argmax(), gates.argmin()
    gates[[one, zero]] = 0, 1
    return np.packbits(gates, bitorder="little").tobytes()


OTHERS = {
    "packed": (
        {"uplink": "packed"},
        {
            "another codec": (header(CODEC, b"\3"), "a payload of mask, side-info, expected mask, packed$"),
            "a byte less": (body(lambda b: b[:-1]), f"a body of {PACKED - 1} bytes, expected {PACKED}$"),
            "a byte more": (body(lambda b: b + b"\0"), f"a body of {PACKED + 1} bytes, expected {PACKED}$"),
            "bits beyond the last gate": (body(lambda b: xor(b, -1, 0x80)), "bits beyond the last gate are not zero$"),
            "a bit": (body(lambda b: xor(b, 9, 1)), r"the mask has \d+ ones, its header says \d+$"),
            "a one moved": (body(moved), "the decoded mask does not match its CRC"),
        },
    ),
    "entropy": (
        {"uplink": "entropy"},
        {
            "no body": (body(lambda b: b""), "a body of 0 bytes, expected 4 to 145$"),
            "too long": (body(lambda b: b + bytes(20_000)), r"a body of 20\d{3} bytes, expected 4 to 145$"),
            "no frequency": (body(lambda b: put(b, 0, 255)), r"a frequency's byte is 255, expected at most \d+$"),
            "half a word": (body(lambda b: b[:-2]), r"a range code of \d+ bytes, expected whole words of 4$"),
            "a word more": (
                body(lambda b: b + bytes(4)),
                "the range code is not the one that its gates encode to$",
            ),
            "no ones": (header(ONES, bytes(4)), r"the mask has \d+ ones, its header says 0$"),
            "another mask's check": (header(CHECK, bytes(4)), "the decoded mask does not match its CRC"),
        },
    ),
    "sampled": (
        {"strategy": "fedpm", "uplink": "sampled"},
        {
            "no body": (body(lambda b: b""), r"a body of 0 bytes, expected \d+ to \d+$"),
            "too long": (body(lambda b: b + bytes(20_000)), r"a body of 2\d{4} bytes, expected \d+ to \d+$"),
            "a prior of none": (body(lambda b: bytes(2) + b[2:]), "a prior of 0, expected at least 1 of 65536$"),
            "another candidate": (body(lambda b: xor(b, -1, 1)), "the mask (has|is not the one)"),
            "more ones than gates": (header(ONES, b"\xff" * 4), f"a mask with 4294967295 ones in {D} gates$"),
        },
    ),
    "values": (
        {"strategy": "fedavg"},
        {
            "a mask": (
                lambda m, r, seen: answered(m, resealed(payload_of(r)[:KIND] + b"\1\3\0" + payload_of(r)[SIZE:])),
                "a payload of mask, side-info, expected values, float32$",
            ),
            "float16": (sent(lambda p: of_weights("float16", strategy="fedavg")), "a payload of values, float16, expected"),
            "half as long": (body(lambda b: b[: len(b) // 2]), f"a body of {2 * D} bytes, expected {4 * D}$"),
            "a value more": (body(lambda b: b + bytes(4)), f"a body of {4 * D + 4} bytes, expected {4 * D}$"),
            "no number": (body(lambda b: np.float32("nan").tobytes() + b[4:]), "a value is not finite$"),
            "ones": (header(ONES, b"\7"), "values with 7 ones and check 00000000 in their header, expected 0$"),
            "a check": (header(CHECK, b"\7"), "values with 0 ones and check 00000007 in their header, expected 0$"),
        },
    ),
    "float16": (
        {"strategy": "fedavg", "value_type": "float16"},
        {
            "float32": (
                sent(lambda p: of_weights(strategy="fedavg")),
                "a payload of values, float32, expected values",
            ),
            "too large for float16": (body(lambda b: np.float16("inf").tobytes() + b[2:]), "a value is not finite$"),
        },
    ),
    "mask and values": (
        {"strategy": "topk", "target_density": 0.1},
        {
            "values alone": (sent(lambda p: of_weights(strategy="fedavg")), "a payload of values, float32, expected mask and"),
            "a mask alone": (header(KIND, b"\1"), "a payload of mask, side-info, float32, expected mask and values"),
            "too short for its values": (
                body(lambda b: b[:9]),
                f"a body of 9 bytes, expected at least {4 * VALUES} for the values$",
            ),
            "no number": (body(lambda b: b[:-4] + np.float32("nan").tobytes()), "a value is not finite$"),
            "fewer ones": (header(ONES, (VALUES - 1).to_bytes(4, "little")), r"a range code of|the range code is|the mask has"),
        },
    ),
}


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(("changes", "faults"), OTHERS.values(), ids=OTHERS)
def test_faults_of_other_codecs_and_methods_count_for_nothing(raw, changes, faults):
    config = {"quorum": 0.01, "samples_per_client": 10, "evaluations": "threshold", **changes}
    weights = changes.get("strategy", "fedpm") != "fedpm"
    if weights:
        del config["evaluations"]
    folder, grid = attacked(raw(**config), faults, honest=2)
    line = folder.round_log.read()[1]
    told = reasons(line, faults)["rejected"]
    assert [(name, told.get(name)) for name, (_, text) in faults.items() if not re.match(text, told.get(name, ""))] == []
    assert len(set(told.values())) == len(faults)
    assert line["clients_counted"] == 2
    updates = honest_updates(grid, **changes)
    if weights:
        before = Weights(load_file(folder.path / "checkpoint-00001.safetensors")["weights"])
        after = method(**changes).aggregate(before, [replace(u, num_examples=10) for u in updates.values()], 2)
        np.testing.assert_array_equal(load_file(last_checkpoint(folder))["weights"], after.values)
    else:
        np.testing.assert_array_equal(votes_of(folder), state_after(grid, updates, **changes).votes)
