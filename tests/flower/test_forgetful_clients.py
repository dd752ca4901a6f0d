"""Clients that lost, damaged or mixed up the state they keep, or whose answer was not heard."""

import pytest
from flwr.app import Array, ArrayRecord, Error, Message, RecordDict
from loopback_runs import (
    FEDPM,
    FIRST_NODE,
    SMALL,
    Noting,
    answer,
    last_checkpoint,
    method,
    payload_of,
    run,
    run_on,
    sorts,
    with_faults,
)

from client_app import app
from fedgates.flower import LoopbackGrid
from fedgates.flower.client_app import SNAPSHOT
from fedgates.flower.records import STYPE, from_record, to_record

NETWORK = SMALL | FEDPM
pytestmark = pytest.mark.usefixtures("without_deltas")
RELAYED = {"uplink": "side-info", "downlink": "relay", "num_server_rounds": 5}
VOTES, UPDATES = "votes", "relay, side-info"
NONE = "updates since the state of round 2, but this client has none"


class Disturbed(Noting):
    """Before the third round, something happens to what client 1 keeps."""

    happens = None

    def push_messages(self, messages):
        messages = list(messages)
        self.rounds = getattr(self, "rounds", 0) + any(m.metadata.message_type == "train" for m in messages)
        if self.rounds == 3 and self.happens:
            self.happens(self.contexts[FIRST_NODE + 1])
            self.happens = None
        return super().push_messages(messages)


def forget(context):
    context.state = RecordDict()


def keep(make):
    """Client 1 keeps this payload instead of its own."""

    def happens(context):
        context.state[SNAPSHOT] = to_record(make(from_record(context.state.array_records[SNAPSHOT])))

    return happens


def keep_array(name, stype):
    def happens(context):
        payload = from_record(context.state.array_records[SNAPSHOT])
        context.state[SNAPSHOT] = ArrayRecord({name: Array("uint8", (len(payload),), stype, payload)})

    return happens


def keep_nothing(context):
    context.state[SNAPSHOT] = ArrayRecord()


def of_round(server_round):
    def make(payload):
        codec = method(**NETWORK, downlink="relay").codec
        return codec.pack_state(codec.unpack_state(payload).state, server_round)

    return make


def of_another_state(payload):
    fedpm = method(**NETWORK, downlink="relay")
    return fedpm.codec.pack_state(fedpm.initial_state(), 2)


def of_another_network(payload):
    fedpm = method(**NETWORK, downlink="relay", seed=2)
    return fedpm.codec.pack_state(fedpm.initial_state(), 2)


LOSSES = {
    "forgotten": (forget, NONE),
    "an empty payload": (keep(lambda payload: b""), NONE),
    "cut": (keep(lambda payload: payload[:-1]), NONE),
    "damaged": (keep(lambda payload: payload[:-1] + bytes([payload[-1] ^ 1])), NONE),
    "of another version": (keep(lambda payload: payload[:4] + b"\1" + payload[5:]), NONE),
    "of another network": (keep(of_another_network), NONE),
    "under another name": (keep_array("weights", STYPE), NONE),
    "of another serialisation": (keep_array("payload", "fedgates.1"), NONE),
    "no array": (keep_nothing, NONE),
    "of an older round": (
        keep(of_round(1)),
        "updates since the state of round 2, but this client has that of round 1",
    ),
    "of another run": (
        keep(of_another_state),
        "updates since another state of round 2 than the one that this client has",
    ),
}


@pytest.fixture(scope="module")
def without_client_1(shared_raw):
    """How a run ends in which client 1 says nothing in round 3, and everybody is sent snapshots."""
    config = shared_raw(**RELAYED | {"downlink": "votes"})
    folder = run(config, 4, with_faults({(3, 1): lambda message, reply: None}))
    return last_checkpoint(folder).read_bytes()


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_client_that_lost_its_state_costs_one_reply_and_is_sent_a_snapshot(raw, without_client_1, loss):
    happens, reason = LOSSES[loss]
    config = raw(**RELAYED)
    grid = Disturbed(app, config, 4)
    grid.happens = happens
    folder = run_on(grid, config)
    lines = folder.round_log.read()
    assert [line["failed"] for line in lines] == [{}, {}, {"1": f"error 2: fedgates.errors.WireError: {reason}"}, {}, {}]
    assert [line["clients_counted"] for line in lines] == [4, 4, 3, 4, 4]
    found = sorts(grid.states)
    assert {key for key, sort in found.items() if sort == VOTES} == {*((1, i) for i in range(4)), (4, 1), (5, 1)}
    assert set(found.values()) == {VOTES, UPDATES}
    assert last_checkpoint(folder).read_bytes() == without_client_1


def damage(message, reply):
    data = bytearray(payload_of(reply))
    data[-1] ^= 1
    return answer(message, bytes(data))


def test_who_was_not_heard_is_sent_a_snapshot_next(raw):
    faults = {
        (2, 0): lambda message, reply: None,
        (2, 1): damage,
        (2, 2): lambda message, reply: Message(Error(2, "RuntimeError: the disk is full"), reply_to=message),
        (2, 3): lambda message, reply: answer(message, payload_of(reply), metrics={"num-examples": 0}),
    }
    ends = []
    for downlink in ("relay", "votes"):
        config = raw(**RELAYED | {"downlink": downlink, "quorum": 0.3})
        grid = with_faults(faults)(app, config, 6)
        folder = run_on(grid, config)
        ends.append(last_checkpoint(folder).read_bytes())
        if downlink == "relay":
            line, found = folder.round_log.read()[1], sorts(grid.states)
    assert (list(line["failed"]), list(line["rejected"])) == (["0", "2"], ["1", "3"])
    assert [found[3, client] for client in range(6)] == [VOTES] * 4 + [UPDATES] * 2
    later = {client: {found[at, client] for at in (4, 5)} for client in range(6)}
    assert later == {client: {VOTES if client == 2 else UPDATES} for client in range(6)}  # it answered with an error
    assert ends[0] == ends[1]


def test_an_evaluator_that_was_not_heard_is_sent_a_snapshot_next(raw):
    class Deaf(Noting):
        def deliver(self, message):
            reply = super().deliver(message)
            lost = message.metadata.message_type == "evaluate" and message.metadata.dst_node_id == FIRST_NODE
            return None if lost else reply

    config = raw(**RELAYED | {"num_server_rounds": 3, "fraction_evaluate": 1.0, "samples_per_client": 50})
    grid = Deaf(app, config, 3)
    lines = run_on(grid, config).round_log.read()
    assert [list(line["evaluation_failed"]) for line in lines] == [["0"]] * 3
    found = sorts(grid.states)
    assert [found[2, client] for client in range(3)] == [VOTES, UPDATES, UPDATES]


def test_a_device_that_comes_back_with_nothing_kept_costs_one_reply(raw):
    class Reinstalled(Noting):
        """Client 1 has nothing left after the second round."""

        def get_node_ids(self):
            if len(self.states) == 6:
                self.contexts[FIRST_NODE + 1].state = RecordDict()
            return list(self.contexts)

    config = raw(**RELAYED)
    lines = run_on(Reinstalled(app, config, 3), config).round_log.read()
    assert [line["clients_counted"] for line in lines] == [3, 3, 2, 3, 3]
    assert lines[2]["failed"]["1"].endswith(NONE)


def test_what_a_client_keeps_is_the_state_that_the_server_has(raw):
    config = raw(**RELAYED)
    grid = LoopbackGrid(app, config, 3)
    folder = run_on(grid, config)
    before = folder.path / "checkpoint-00004.safetensors"
    codec = method(**NETWORK, downlink="relay").codec
    for context in grid.contexts.values():
        known = codec.unpack_state(from_record(context.state.array_records[SNAPSHOT]))
        assert known.server_round == 5
        assert known.state.votes.tobytes() in before.read_bytes()
