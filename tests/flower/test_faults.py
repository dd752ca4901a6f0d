"""A bad reply costs that reply, never the round: every fault through the real strategy, on the loopback grid."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Error, Message, RecordDict
from runs import answer, decoded, last_checkpoint, method, name_of, payload_of, run, run_on, votes_of, with_faults, without

from client_app import app
from fedgates.checkpoint import RunFolder
from fedgates.flower import LoopbackGrid, QuorumError, client
from fedgates.flower.messages import METRICS
from fedgates.state import Update
from fedgates.wire import Known, Shared, pack_update
from fedgates.wire.channel import Channel


def raising(message, reply):
    return Message(Error(2, "RuntimeError: the disk is full"), reply_to=message)


def silent(message, reply):
    return None


def garbage(message, reply):
    return answer(message, b"\x00garbage" * 1000)


def of_round(server_round):
    def fault(message, reply):
        fedpm = method()
        known = Known(fedpm.initial_state(), server_round)
        return answer(message, fedpm.channel.pack_update(decoded(message, reply), known, name_of(message)))

    return fault


def other_network(message, reply):
    fedpm = method()
    channel = Channel(fedpm.config, fedpm.network, b"othernet", "mask")
    return answer(message, channel.pack_update(decoded(message, reply), Known(fedpm.initial_state(), 1), name_of(message)))


def other_size(message, reply):
    update = Update(np.zeros(2, dtype=np.uint8))
    return answer(message, pack_update(update, Shared(method().digest, (7, 9), 1)))


def cut(message, reply):
    return answer(message, payload_of(reply)[:-1])


def flipped(message, reply):
    data = bytearray(payload_of(reply))
    data[500] ^= 1
    return answer(message, bytes(data))


def values_not_asked_for(message, reply):
    fedavg = method(strategy="fedavg")
    update = Update(mask=None, values=np.ones(fedavg.network.size, dtype=np.float32))
    return answer(message, fedavg.channel.pack_update(update, Known(fedavg.initial_state(), 1), 0))


FAULTS = [
    (raising, "failed", "error 2: RuntimeError: the disk is full"),
    (silent, "failed", "no reply within 0.2 s"),
    (garbage, "rejected", r"magic b'\x00gar', expected b'FGTS'"),
    (of_round(99), "rejected", "round 99, expected 1"),
    (of_round(0), "rejected", "round 0, expected 1"),
    (other_network, "rejected", "network digest 6f746865726e6574, expected "),
    (other_size, "rejected", "16 gates, expected 85002"),
    (cut, "rejected", "checksum does not match"),
    (flipped, "rejected", "checksum does not match"),
    (values_not_asked_for, "rejected", "a payload of values, float32, expected mask, side-info"),
    (lambda m, r: answer(m, b""), "rejected", "0 bytes, expected a header of 36"),
    (lambda m, r: answer(m, payload_of(r), stype="numpy.ndarray"), "rejected", "an array serialised as 'numpy.ndarray'"),
    (lambda m, r: answer(m, payload_of(r), name="weights"), "rejected", "arrays ['weights'], expected one named 'payload'"),
    (lambda m, r: answer(m, payload_of(r), record="other"), "rejected", "array records ['other'], expected one named"),
    (lambda m, r: answer(m, payload_of(r), metrics={"num-examples": 0}), "rejected", "num-examples = 0, expected"),
    (lambda m, r: answer(m, payload_of(r), metrics={"num-examples": 2**40}), "rejected", "num-examples = 1099511627776"),
    (lambda m, r: answer(m, payload_of(r), metrics={"num-examples": 3.5}), "rejected", "num-examples = 3.5, expected"),
    (lambda m, r: answer(m, payload_of(r), metrics={"loss": float("nan")}), "rejected", "metric loss = nan, expected"),
    (lambda m, r: answer(m, payload_of(r), metrics={"loss": [1.0]}), "rejected", "metric loss = [1.0], expected"),
    (lambda m, r: Message(RecordDict(), reply_to=m), "rejected", "array records [], expected one named 'update'"),
    (
        lambda m, r: answer(m, payload_of(r), metrics={"loss": 1e308}),
        "rejected",
        "metric loss = 1e+308, expected a number from",
    ),
    (lambda m, r: answer(m, payload_of(r), metrics={"loss": [0.5] * 200_000}), "rejected", "metric loss = [0.5, 0.5,"),
    (
        lambda m, r: answer(m, payload_of(r), metrics={f"m{i}": 1.0 for i in range(99)}),
        "rejected",
        "100 metrics, expected at most",
    ),
    (
        lambda m, r: answer(m, payload_of(r), metrics={"x\nround 2/2  FORGED\x1b[31m": float("inf")}),
        "rejected",
        r"metric x round 2/2 FORGED\x1b[31m = inf, expected",
    ),
]


def federation(raw, faults, clients, rounds=1, **changes):
    """Run with some clients' replies replaced; the ledger, the votes, and what each honest client sent."""
    sent = {}

    class Watching(with_faults({(r, name): fault for name, fault in faults.items() for r in range(1, rounds + 1)})):
        def deliver(self, message):
            reply = super().deliver(message)
            if message.metadata.message_type == "train" and name_of(message) not in faults:
                sent[name_of(message)] = decoded(message, reply)
            return reply

    folder = run(raw(num_server_rounds=rounds, **changes), clients, Watching)
    return folder.ledger.read(), votes_of(folder), sent


def test_every_fault_costs_its_own_reply_and_is_named(raw, caplog):
    caplog.set_level("INFO", logger="fedgates")
    faults = {i: fault for i, (fault, _, _) in enumerate(FAULTS)}
    clients = len(FAULTS) + 5
    (line,), votes, sent = federation(raw, faults, clients, quorum=0.1)
    assert len(sent) == line["clients_counted"] == 5
    assert line["clients_selected"] == clients
    assert line["clients_failed"] == 2
    assert line["clients_rejected"] == len(FAULTS) - 2
    np.testing.assert_array_equal(votes, sum(update.gates(len(votes)).astype(np.uint32) for update in sent.values()))
    for name, (_, column, reason) in enumerate(FAULTS):
        assert line[column][str(name)].startswith(reason), (name, line[column][str(name)])
        assert f"client {name} {column}: {reason}" in caplog.text
    # what was rejected has travelled, too, under the name that it gives itself
    traffic = line["uplink"]
    assert traffic["values, float32"] == {"messages": 1, "bytes": 36 + 4 * len(votes)}
    assert traffic["unreadable"]["messages"] == 6
    assert sum(of_sort["messages"] for of_sort in traffic.values()) == clients - 2
    assert sum(of_sort["bytes"] for of_sort in traffic.values()) == line["uplink_bytes"]


def test_a_line_stays_a_line_whatever_clients_write_into_it(raw, caplog):
    caplog.set_level("INFO", logger="fedgates")
    (line,), _, _ = federation(raw, {i: fault for i, (fault, _, _) in enumerate(FAULTS)}, len(FAULTS) + 5, quorum=0.1)
    assert len(str(line)) < 10_000
    assert "\x1b" not in caplog.text
    assert not [text for text in caplog.text.splitlines() if text.startswith("round 2/2")]


@pytest.mark.parametrize(("key", "value"), [("accuracy", 1e6), ("accuracy", -0.5), ("loss", -1.0), ("loss", 1e308)])
def test_a_lie_about_an_evaluation_is_dropped_and_named(raw, key, value):
    class Lying(LoopbackGrid):
        def deliver(self, message):
            reply = super().deliver(message)
            if message.metadata.message_type == "evaluate" and message.metadata.dst_node_id == 1000:
                reply.content.metric_records[METRICS][key] = value
            return reply

    config = raw(num_server_rounds=1, fraction_evaluate=1.0)
    (line,) = run(config, 3, Lying).ledger.read()
    assert 0 <= line["client_accuracy"] <= 1
    assert list(line["evaluation_failed"]) == ["0"]
    assert key in line["evaluation_failed"]["0"]


def test_a_node_that_never_introduces_itself_costs_its_wait_once(raw):
    class Mute(LoopbackGrid):
        def deliver(self, message):
            return None if message.metadata.dst_node_id == 1000 else super().deliver(message)

    config = raw(num_server_rounds=3, round_timeout=1.5)
    started = time.monotonic()
    folder = run(config, 3, Mute)
    assert [line["clients_selected"] for line in folder.ledger.read()] == [2, 2, 2]
    assert sum(line["seconds"] for line in folder.ledger.read()) < 1.5 < time.monotonic() - started


def test_a_device_that_comes_back_under_another_node_id_is_let_in(raw):
    class Reconnecting(LoopbackGrid):
        def get_node_ids(self):
            if self.trained == 3 and 1000 in self.contexts:  # after the first round
                self.contexts[2000] = self.contexts.pop(1000)
            return list(self.contexts)

        trained = 0

        def deliver(self, message):
            self.trained += message.metadata.message_type == "train"
            return super().deliver(message)

    config = raw(num_server_rounds=2)
    folder = run(config, 3, Reconnecting)
    assert [line["clients_counted"] for line in folder.ledger.read()] == [3, 3]


def test_an_exception_in_the_client_app_reaches_the_ledger(raw, tmp_path):
    broken = tmp_path / "own.npz"
    np.savez(broken, x_train=np.zeros((4, 8, 8), np.uint8), y_train=np.arange(4))
    config = raw(num_server_rounds=1, samples_per_client=0)
    nodes = [{"partition-id": i, "num-partitions": 3} for i in range(3)] + [{"partition-id": 9, "data-path": str(broken)}]

    class Vanishing(LoopbackGrid):
        def deliver(self, message):
            if message.metadata.message_type == "train":
                broken.unlink(missing_ok=True)
                client._device_data.cache_clear()
            return super().deliver(message)

    folder = run_on(Vanishing(app, config, node_configs=nodes), config)
    (line,) = folder.ledger.read()
    assert line["clients_counted"] == 3
    assert "own.npz" in line["failed"]["9"]


def test_without_a_quorum_the_state_stays_and_the_run_ends_in_time(raw):
    faults = dict.fromkeys(range(3), garbage)
    with pytest.raises(
        QuorumError, match=r"^round 1 had fewer .*, 2 times .* 1 of 4 the last time, client 0: magic .*resume = '"
    ):
        federation(raw, faults, 4, rounds=9, max_failed_rounds=2)


def test_a_round_without_quorum_counts_no_vote(raw):
    with pytest.raises(QuorumError) as error:
        federation(raw, dict.fromkeys(range(3), silent), 4, rounds=1)
    folder = RunFolder(Path(re.findall(r"resume = '(.+)'", str(error.value))[0]))
    assert [(line["round"], line["attempt"], line["quorum"]) for line in folder.ledger.read()] == [
        (1, i, False) for i in (1, 2, 3)
    ]
    assert last_checkpoint(folder).name == "checkpoint-00000.safetensors"
    assert not votes_of(folder).any()
    # and from there it can go on
    whole = run(raw(num_server_rounds=2), 4)
    resumed = run(raw(num_server_rounds=2, resume=str(folder.path)), 4)
    assert last_checkpoint(resumed).read_bytes() == last_checkpoint(whole).read_bytes()
    assert without(resumed.ledger.read()) == without(whole.ledger.read())


def test_a_second_answer_is_not_counted(raw):
    class Doubling(LoopbackGrid):
        def pull_messages(self, message_ids):
            return super().pull_messages(message_ids) * 2

    config = raw(num_server_rounds=1)
    folder = run(config, 3, Doubling)
    assert folder.ledger.read()[0]["clients_counted"] == 3
    assert votes_of(folder).max() == 3


def test_replies_that_flower_cannot_read_or_that_claim_another_source_are_their_senders_fault(raw):
    class Broken(LoopbackGrid):
        def pull_messages(self, message_ids):
            found = super().pull_messages(message_ids)
            for i, reply in enumerate(found):
                if reply.metadata.message_type != "train":
                    continue
                if reply.metadata.src_node_id == 1000:
                    raise ValueError("a record of another kind")
                if reply.metadata.src_node_id == 1001:
                    reply.metadata.__dict__["_src_node_id"] = 1002
                if reply.metadata.src_node_id == 1003:  # what Flower says of a message that has expired
                    error = Message(Error(5, "expired"), reply_to=reply)
                    error.metadata.__dict__.update(_src_node_id=1, _reply_to_message_id=reply.metadata.reply_to_message_id)
                    found[i] = error
            return found

    config = raw(num_server_rounds=1, quorum=0.1)
    (line,) = run(config, 6, Broken).ledger.read()
    assert line["clients_counted"] == 3
    assert line["failed"] == {
        "0": "error 0: its reply cannot be read: ValueError: a record of another kind",
        "1": "error 0: its reply claims to be from node 1002",
        "3": "error 5: expired",
    }


def test_two_nodes_of_one_name_are_one_client(raw, caplog):
    config = raw(num_server_rounds=1)
    nodes = [{"partition-id": i, "num-partitions": 3} for i in (0, 1, 1, 2)]
    folder = run_on(LoopbackGrid(app, config, node_configs=nodes), config)
    assert folder.ledger.read()[0]["clients_selected"] == 3
    assert "there is a client 1 already" in caplog.text
