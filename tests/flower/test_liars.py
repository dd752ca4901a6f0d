"""Updates of weights that lie: what `server.max-norm` rejects, states that are not kept, and replies that are too large."""

import re
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from loopback_runs import (
    SMALL,
    Noting,
    answer,
    client_of,
    last_checkpoint,
    method,
    payload_of,
    run,
    run_on,
    state_payload,
    with_faults,
)
from safetensors.numpy import load_file

from client_app import app
from fedgates.errors import QuorumError
from fedgates.federation import Membership, Problem
from fedgates.federation.messages import Request
from fedgates.federation.server import Server
from fedgates.flower.loopback import LoopbackGrid
from fedgates.flower.records import INTRODUCTION, METRICS, STYPE, UPDATE, to_record
from fedgates.flower.transport import GridTransport
from fedgates.types import Update, pack
from fedgates.wire import VersionedState
from fedgates.wire.header import RELAY, peek

LARGE = 5_000_000
PROBLEM = Problem.of_images((1, 8, 8), 10)
NORM = {"server.max-norm": 4.0}


TOPK = {"strategy": "topk", "target_density": 0.1, "uplink": "packed"} | SMALL


def lying(change, **settings):
    """A fault: the client sends values that follow from the state and from those that it trained.

    A relay does not hold the state; the changes that Top-K sends packed do not depend on it.
    """

    def lie(message, reply):
        found = method(**settings)
        payload = state_payload(message)
        known = VersionedState(found.initial_state(), peek(payload).server_round)
        if peek(payload).kind != RELAY:
            known = found.codec.unpack_state(payload)
        honest = found.codec.unpack_update(payload_of(reply), known, 0)
        values = change(known.state.values, honest.values).astype(np.float32)
        return answer(message, found.codec.pack_update(replace(honest, values=values), known, 0))

    return lie


def far(state, trained):
    return state - 10 * (trained - state)


def huge(state, trained):
    return np.full_like(trained, -1e38)


@pytest.mark.slow
@pytest.mark.parametrize("change", [far, huge])
def test_an_update_that_is_far_from_the_others_is_rejected_by_its_norm(raw, change):
    settings = {"strategy": "fedavg", "num_server_rounds": 1, "samples_per_client": 20}
    fault = lying(change, strategy="fedavg")
    folder = run(raw(**settings, **NORM), 5, with_faults({(1, 2): fault}))
    (line,) = folder.round_log.read()
    assert line["clients_counted"] == 4
    expected = r"a change of norm [\d.e+]+, expected at most server\.max-norm = 4 times the median of the round, [\d.]+"
    assert re.fullmatch(expected, line["rejected"].pop("2"))
    assert line["rejected"] == {}
    honest = run(raw(**settings), 5, with_faults({(1, 2): lambda message, reply: None}))
    np.testing.assert_array_equal(*(load_file(last_checkpoint(each))["weights"] for each in (folder, honest)))


def test_the_change_of_top_k_is_what_it_sends(raw):
    found, update = method(strategy="topk", target_density=0.01), np.array([3.0, 4.0], np.float32)
    mask = np.zeros(found.network.size, np.bool_)
    mask[[5, 9]] = True
    change = found.change(found.initial_state(), Update(pack(mask), update))
    assert np.linalg.norm(change) == 5
    assert np.flatnonzero(change).tolist() == [5, 9]


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_relayed_round_is_aggregated_alike_on_both_ends(raw, share):
    """Clients rebuild the state from relayed updates, with trimming, capped examples and rejected updates."""
    changes = TOPK | {"num_server_rounds": 3, "trim": share, **NORM}
    fault = lying(huge, **TOPK)
    faults = {(at, 0): fault for at in (1, 2)}
    relayed = run(raw(**changes, downlink="relay"), 5, with_faults(faults))
    snapshots = run(raw(**changes), 5, with_faults(faults))
    assert [line["clients_rejected"] for line in relayed.round_log.read()] == [1, 1, 0]
    assert "relay" in " ".join(relayed.round_log.read()[-1]["downlink"])
    assert last_checkpoint(relayed).read_bytes() == last_checkpoint(snapshots).read_bytes()


class HugeOnce(Noting):
    """Client 0 sends huge values in the first attempt at round 2."""

    def deliver(self, message):
        reply = super().deliver(message)
        if message.metadata.message_type != "train" or self.attempts() != [2, 1]:
            return reply
        return lying(huge, **TOPK)(message, reply) if client_of(message) == 0 else reply

    def attempts(self):
        rounds = [key[0] for key in self.sent]
        return [max(rounds), max(len(sent) for key, sent in self.sent.items() if key[0] == max(rounds))]


@pytest.mark.parametrize("devices", [False, True])
def test_a_state_whose_predictions_are_not_finite_is_not_kept(raw, monkeypatch, devices):
    """They are found on the server's test set, or by most of the clients that evaluate, if random images show nothing."""
    monkeypatch.setattr(Server, "_is_finite", lambda *_: True)
    if devices:
        monkeypatch.setattr(Server, "evaluate", lambda *_: {"accuracy": 0.5, "loss": 1.0})
    config = raw(**TOPK, num_server_rounds=3, downlink="relay", samples_per_client=20, fraction_evaluate=1.0)
    folder = run_on(HugeOnce(app, config, 4), config)
    lines = folder.round_log.read()
    assert [(line["round"], line["attempt"], line["quorum"]) for line in lines] == [
        (1, 1, True), (2, 1, False), (2, 2, True), (3, 1, True),
    ]  # fmt: skip
    on_the_server = r"[\d.]+ % of its predictions on the test set are not finite, its loss is [\d.]+"
    expected = r"on \d of 4 clients its predictions are not finite" if devices else on_the_server
    assert [re.fullmatch(expected, line.get("withdrawn", "")) is not None for line in lines] == [False, True, False, False]
    assert lines[1]["accuracy"] is None
    assert lines[1]["clients_counted"] == 4
    assert [line["clients_failed"] for line in lines] == [0] * 4  # nobody was sent a relay from the state that was withdrawn
    assert [line["evaluation_failed"] for line in lines if line["quorum"]] == [{}] * 3
    assert lines[-1]["client_loss"] < 10


def test_a_run_whose_states_are_never_finite_ends_with_the_reason(raw):
    config = raw(strategy="fedavg", num_server_rounds=2, max_failed_rounds=2, samples_per_client=20)
    faults = {(1, client): lying(huge, strategy="fedavg") for client in range(3)}
    reason = r"^round 1 gave an unusable state 2 times \(server\.max-failed-rounds\): .* not finite"
    with pytest.raises(QuorumError, match=reason):
        run(config, 3, with_faults(faults))
    assert [path.name for path in Path(config["output-dir"]).glob("*/checkpoint-*")] == ["checkpoint-00000.safetensors"]


# --- large replies cost one at a time


class Large(LoopbackGrid):
    """Every reply has an array of five megabytes; it is made when it is fetched."""

    def __init__(self, nodes):
        super().__init__(None, {}, nodes)
        self.sent = {}

    def push_messages(self, messages):
        ids = []
        for message in messages:
            ids.append(f"m{next(self._ids)}")
            message.metadata.__dict__["_message_id"] = ids[-1]
            self.sent[ids[-1]] = message
        return ids

    def pull_messages(self, message_ids):
        return [self.made(self.sent.pop(message_id)) for message_id in message_ids if message_id in self.sent]

    def made(self, message):
        data = bytes(LARGE)
        arrays = ArrayRecord({"payload": Array("uint8", (LARGE,), STYPE, data)})
        known = ConfigRecord({"name": -1, "problem": ""})
        metrics = MetricRecord({"num-examples": 3})
        return Message(RecordDict({UPDATE: arrays, METRICS: metrics, INTRODUCTION: known}), reply_to=message)


def peak(work):
    tracemalloc.start()
    try:
        result = work()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("limit", [1.0, 0.001])
def test_replies_over_the_limit_are_dropped_as_they_are_fetched(limit):
    grid = Large(8)
    requests = [Request(node, i, "train", b"state", PROBLEM) for i, node in enumerate(grid.get_node_ids())]
    replies, most = peak(lambda: list(GridTransport(grid).exchange(requests, 5.0, limit)))
    assert [reply.size for reply in replies] == [LARGE] * 8
    assert all(reply.malformed.startswith("a payload of 5,000,000 bytes, expected at most") for reply in replies)
    assert most < 1.5 * LARGE


def test_a_reply_within_the_limit_that_is_not_an_update_is_dropped_before_the_next(raw):
    found = method(strategy="fedavg")
    server, grid = Server(found, PROBLEM), Large(8)
    requests = server.open_round(1, dict(enumerate(grid.get_node_ids())))
    record, most = peak(lambda: server.close_round(GridTransport(grid).exchange(requests, 5.0, 512.0)))
    assert len(record.rejected) == 8
    assert most < 2.5 * LARGE


def test_introductions_cost_one_at_a_time():
    membership = Membership()
    _, most = peak(lambda: GridTransport(Large(8)).introduce(membership, PROBLEM, 5.0))
    assert len(membership.clients) == 8
    assert most < 1.5 * LARGE


class LongNames(Large):
    """Every reply has a metric with a name of five megabytes."""

    def made(self, message):
        metrics = MetricRecord({"num-examples": 3, "a" * LARGE: 1.0})
        return Message(RecordDict({UPDATE: to_record(b"update"), METRICS: metrics}), reply_to=message)


def test_metrics_have_short_names():
    grid = LongNames(8)
    requests = [Request(node, i, "train", b"state", PROBLEM) for i, node in enumerate(grid.get_node_ids())]
    replies, most = peak(lambda: list(GridTransport(grid).exchange(requests, 5.0, 1.0)))
    assert all(reply.malformed == "a metric with a name of 5,000,000 characters, expected at most 64" for reply in replies)
    assert most < 6 * LARGE


def test_a_state_is_tried_in_rounds_without_evaluation_too(raw):
    config = raw(**TOPK, num_server_rounds=4, samples_per_client=20, evaluate_every=4)
    lines = run_on(HugeOnce(app, config, 4), config).round_log.read()
    assert [(line["round"], line["quorum"]) for line in lines] == [(1, True), (2, False), (2, True), (3, True), (4, True)]
    assert lines[1]["withdrawn"] == "its predictions of random images are not finite"


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(("share", "liars"), [(0.1, 1), (0.2, 1), (0.2, 2), (0.5, 2)])
def test_a_minority_of_evaluators_cannot_withdraw_a_state(raw, share, liars):
    class Claiming(LoopbackGrid):
        """The evaluators that are asked first claim that no prediction is finite."""

        asked = 0

        def deliver(self, message):
            reply = super().deliver(message)
            if message.metadata.message_type == "evaluate" and self.asked < liars:
                self.asked += 1
                reply.content.metric_records[METRICS]["not_finite"] = 1.0
            return reply

    config = raw(strategy="fedavg", num_server_rounds=2, samples_per_client=20, fraction_evaluate=share)
    lines = run_on(Claiming(app, config, 10), config).round_log.read()
    withdrawn = [line["quorum"] for line in lines]
    assert withdrawn == ([False, True, True] if liars == 2 and share == 0.2 else [True, True])


def test_of_two_updates_the_smaller_is_the_measure(raw):
    folder = run(raw(strategy="fedavg", num_server_rounds=1, samples_per_client=20, quorum=0.1, **NORM), 2, with_faults(
        {(1, 1): lying(far, strategy="fedavg")}
    ))  # fmt: skip
    (line,) = folder.round_log.read()
    assert list(line["rejected"]) == ["1"]


def test_a_trim_that_drops_nobody_is_warned_of_once(raw, caplog):
    run(raw(strategy="fedavg", num_server_rounds=3, samples_per_client=20, trim=0.3), 3)
    text = "server.trim = 0.3 drops none of 3 updates: it needs at least 4"
    assert [record.getMessage() for record in caplog.records if "drops none" in record.getMessage()] == [text]
