"""Runs with a personal last layer: what travels, what each client keeps, and what the run leaves."""

import json
from dataclasses import replace
from itertools import pairwise
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, RecordDict
from loopback_runs import FIRST_NODE, Dying, Noting, client_of, last_checkpoint, payload_of, run, run_on, without
from safetensors.numpy import load_file
from torch import nn

from client_app import app
from fedgates.compare import group_runs, read_run
from fedgates.compare.numbers import shared_metric
from fedgates.config import MaskConfig
from fedgates.errors import ConfigError, NetworkError
from fedgates.federation import Client, ClientStore, Problem, Request, Server, partition_data
from fedgates.flower.client_app import HEAD
from fedgates.flower.records import METRICS, UPDATE
from fedgates.methods.personal import train_head
from fedgates.methods.registry import BUILT_IN, build, configure, method_class
from fedgates.nn.network import Network
from fedgates.runs.listing import read_entry
from fedgates.runs.schema import key_of, problem
from fedgates.runs.summary import RoundFormatter, summary_table
from fedgates.wire.header import HEADER_SIZE

PERSONAL = {"personal": "last", "personal_epochs": 1, "fraction_evaluate": 1.0}
BODY, HEAD_SIZE = 64 * 8 + 8, 8 * 10 + 10
PROBLEM = Problem.of_images((1, 8, 8), 10)


def without_last_layer(input_shape, num_classes):
    """Return the tiny network without its last layer, for a method alone: it has no classes."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(input_shape), 8), nn.ReLU())


def deep(input_shape, num_classes):
    """Return a network that has a middle layer when the last is left out, for lips."""
    widths = [prod(input_shape), 8, 8, 8]
    layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(8, num_classes))


class Following(Noting):
    """Notes the head that each client keeps after each message, and every reply to a training request."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.heads, self.replies = [], []

    def deliver(self, message):
        reply, kind = super().deliver(message), message.metadata.message_type
        if kind != "query":
            record = self.contexts[message.metadata.dst_node_id].state.array_records.get(HEAD)
            head = None if record is None else record[HEAD].numpy()
            self.heads.append((kind, client_of(message), head))
        if kind == "train":
            self.replies.append(reply)
        return reply


def settings(strategy, **changes):
    """Return the settings of a small run of a method."""
    config = method_class(strategy).Config
    found = {"strategy": strategy, **PERSONAL, **changes}
    if strategy == "lips":
        found["model"] = "test_personal_runs:deep"
    if config.requires_density:
        found["density.target"] = 0.3
    if issubclass(config, MaskConfig):
        found["gates.evaluations"] = "threshold,sample,mean,ensemble"
    return found


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("strategy", BUILT_IN)
def test_every_method_runs_and_every_client_evaluates_its_own_network(raw, strategy):
    config = raw(**settings(strategy, num_server_rounds=2))
    grid = Following(app, config, 2)
    lines = run_on(grid, config).round_log.read()
    for line in lines:
        assert (line["clients_counted"], line["failed"], line["rejected"], line["evaluation_failed"]) == (2, {}, {}, {})
        assert (line["accuracy"], line["loss"]) == (None, None)
        assert 1 >= line["client_own_class_accuracy"] >= line["client_accuracy"] >= 0
        assert set(line["client_evaluations"]["0"]) == {"examples", "accuracy", "own_class_accuracy", "loss"}
        assert problem(line) is None
        assert not [key for key in line if key_of(key) is None]
    assert all(len(head) == HEAD_SIZE for kind, _, head in grid.heads if kind == "train")


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("strategy", ["fedpm", "fedavg", "topk"])
def test_what_travels_is_what_a_network_without_the_layer_sends(raw, strategy):
    config = raw(**settings(strategy, num_server_rounds=1))
    grid = Following(app, config, 2)
    folder = run_on(grid, config)
    personal = build(*configure(config), Problem.of_images((1, 8, 8), 10))
    bare = method_class(strategy)(personal.config, Network(without_last_layer((1, 8, 8), 10)))
    assert bare.digest != personal.digest
    assert bare.network.size == BODY
    for client, reply in enumerate(grid.replies):
        sent = grid.states[1, client]
        state = personal.codec.unpack_state(sent)
        assert bare.codec.pack_state(state.state, 1)[HEADER_SIZE:] == sent[HEADER_SIZE:]
        update = personal.codec.unpack_update(payload_of(reply), state, client)
        assert bare.codec.pack_update(update, state, client)[HEADER_SIZE:] == payload_of(reply)[HEADER_SIZE:]
        assert list(reply.content.array_records) == [UPDATE]
        assert set(reply.content.metric_records[METRICS]) <= {"num-examples", "seconds", "loss", "accuracy"}
    (state,) = load_file(last_checkpoint(folder)).values()
    assert state.size == BODY


@pytest.mark.parametrize("strategy", ["fedpm", "fedavg"])
def test_no_head_is_in_any_payload(raw, strategy):
    config = raw(**settings(strategy))
    grid = Following(app, config, 2)
    run_on(grid, config)
    heads = [head.tobytes() for kind, _, head in grid.heads if kind == "train"]
    sent = [payload_of(reply) for reply in grid.replies] + [payload for all_of in grid.sent.values() for payload in all_of]
    for head in heads:  # not even four of its numbers in a row
        assert not any(head[at : at + 16] in payload for payload in sent for at in range(0, len(head), 16))


@pytest.mark.parametrize("strategy", ["fedpm", "fedavg"])
def test_each_client_goes_on_from_its_own_head(raw, strategy):
    """The process and the method's object are shared, so a client that was given another's head would show here."""
    config = raw(**settings(strategy, fraction_train=0.5, num_server_rounds=6, downlink="votes"))
    grid = Following(app, config, 2)
    run_on(grid, config)
    method = build(*configure(config), Problem.of_images((1, 8, 8), 10))
    kept, trained = {0: None, 1: None}, 0
    for (kind, client, head), at in zip(grid.heads, rounds_of(grid), strict=True):
        if kind == "evaluate":
            assert head is None if kept[client] is None else np.array_equal(head, kept[client])
            continue
        state = method.codec.unpack_state(grid.states[at, client])
        data = partition_data(method.config, client, 2)
        alone = Client(method, client, data)
        train_head(method.network, method.weights(state.state), kept[client], alone.task(at), method.config)
        assert head.tobytes() == method.network.head.values.numpy().tobytes()
        kept[client], trained = head, trained + 1
    assert trained == 6
    assert not np.array_equal(kept[0], kept[1])


def rounds_of(grid):
    """Return the round of each message: a training request opens one, the evaluations that follow belong to it."""
    found, at = [], 0
    for kind, _, _ in grid.heads:
        at += kind == "train"
        found.append(at)
    return found


def client_of_federation(method, name, store=None):
    return Client(method, name, partition_data(method.config, name, 2), store)


def test_clients_of_one_process_leave_no_trace_on_each_other():
    method = build(
        *configure(
            {
                "strategy": "fedavg",
                "model": "tiny_network:build",
                "personal": "last",
                "fraction-evaluate": 1.0,
                "data.samples-per-client": 40,
            }
        ),
        PROBLEM,
    )
    server = Server(method, PROBLEM)
    request = Request(0, 1, "train", server.snapshot(1), PROBLEM)
    alone = client_of_federation(method, 1).reply(request)
    head = method.network.head.values.clone()
    for kind in ("train", "evaluate"):
        client_of_federation(method, 0).reply(replace(request, client=0, kind=kind))
        assert not torch.equal(method.network.head.values, head)
        store = ClientStore()
        again = client_of_federation(method, 1, store).reply(request)
        assert again.payload == alone.payload
        assert np.array_equal(store.head, head.numpy())


class Losing(Following):
    """Before the last round, something happens to what client 1 keeps."""

    change = None

    def deliver(self, message):
        context = self.contexts[FIRST_NODE + 1]
        if message.metadata.message_type == "train" and client_of(message) == 1 and len(self.replies) == 3:
            if self.change is None:
                context.state = RecordDict()
            else:
                context.state[HEAD] = self.change
        return super().deliver(message)


LOST = {
    "all": None,
    "another array": ArrayRecord({"other": Array(np.zeros(3, dtype=np.float32))}),
    "another size": ArrayRecord({HEAD: Array(np.zeros(3, dtype=np.float32))}),
    "another serialisation": ArrayRecord({HEAD: Array("float32", (1,), "other", b"abcd")}),
}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("lost", LOST)
def test_a_client_that_lost_its_head_trains_the_initial_one(raw, lost):
    config = raw(**settings("fedavg", num_server_rounds=2))
    kept, grid = Following(app, config, 2), Losing(app, config, 2)
    grid.change = LOST[lost]
    run_on(kept, config)
    lines = run_on(grid, config).round_log.read()
    assert [line["clients_counted"] for line in lines] == [2, 2]
    heads = [[head for kind, client, head in one.heads if (kind, client) == ("train", 1)] for one in (kept, grid)]
    assert np.array_equal(heads[0][0], heads[1][0])
    assert not np.array_equal(heads[0][1], heads[1][1])
    method = build(*configure(config), Problem.of_images((1, 8, 8), 10))
    state = method.codec.unpack_state(grid.states[2, 1])
    task = client_of_federation(method, 1).task(2)
    train_head(method.network, method.weights(state.state), None, task, method.config)
    assert np.array_equal(heads[1][1], method.network.head.values.numpy())


@pytest.mark.slow
def test_a_run_repeats_and_does_not_depend_on_who_evaluates(raw):
    config = settings("fedpm", num_server_rounds=3)
    one, again = run(raw(**config), 4), run(raw(**config), 4)
    assert without(one.round_log.read()) == without(again.round_log.read())
    few = run(raw(**config | {"fraction_evaluate": 0.25}), 4)
    assert last_checkpoint(one).read_bytes() == last_checkpoint(again).read_bytes() == last_checkpoint(few).read_bytes()


def test_a_resumed_run_logs_that_the_heads_are_lost(raw, caplog):
    config = raw(**settings("fedavg", num_server_rounds=3))
    with pytest.raises(KeyboardInterrupt):
        run_on(Dying(app, config, 2), config)
    (stopped,) = Path(config["output-dir"]).iterdir()
    with caplog.at_level("INFO", logger="fedgates"):
        folder = run(config | {"resume": str(stopped)}, 2)
    assert "clients train their personal layer again, from its initial values" in caplog.text
    assert [line["round"] for line in folder.round_log.read()] == [1, 2, 3]


def test_all_that_shows_a_run_copes_without_the_servers_accuracy(raw, caplog, whole_runs):
    with caplog.at_level("INFO", logger="fedgates"):
        folder = run(raw(**settings("fedpm")), 2)
    layer = (
        "3.weight, 3.bias are personal, 90 parameters stay on clients: the server evaluates no model and writes no model file"
    )
    assert layer in caplog.text
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    lines = folder.round_log.read()
    share = f"{100 * lines[-1]['client_accuracy']:.1f} %"
    assert f"devices' accuracy {share}" in RoundFormatter(2).format(lines[-1])
    assert share in summary_table(lines, "fedpm", BODY)
    entry = read_entry(folder.path)
    assert (entry.metric, entry.reached, entry.model_bytes) == ("client_accuracy", lines[-1]["client_accuracy"], None)
    assert {path.name for path in folder.path.iterdir()} >= {"report.html", "rounds.jsonl", "config.json"}
    assert not (folder.path / "model.fedgates").exists()
    page = (folder.path / "report.html").read_text()
    assert "Accuracy on devices' held-out examples" in page.replace("&#x27;", "'").replace("&#39;", "'")
    assert "Accuracy among own classes" in page


def test_runs_with_and_without_a_personal_layer_are_compared_by_what_both_have(raw):
    shared = run(raw(**settings("fedavg", personal="none")), 2)
    personal = run(raw(**settings("fedavg")), 2)
    assert json.loads((personal.path / "config.json").read_text())["gates.personal"] == "last"
    one, other = group_runs([read_run(shared.path)]), group_runs([read_run(personal.path)])
    assert [shared_metric(groups) for groups in (one, other, [*one, *other])] == [
        "accuracy",
        "client_accuracy",
        "client_accuracy",
    ]


def test_a_client_without_the_new_metric_is_counted(raw):
    class Foreign(Following):
        def deliver(self, message):
            reply = super().deliver(message)
            if message.metadata.message_type == "evaluate" and client_of(message) == 0:
                del reply.content.metric_records["metrics"]["own_class_accuracy"]
            return reply

    config = raw(**settings("fedavg", num_server_rounds=1))
    (line,) = run_on(Foreign(app, config, 2), config).round_log.read()
    assert line["evaluation_failed"] == {}
    found = line["client_evaluations"]
    assert set(found["0"]) == {"examples", "accuracy", "loss"}
    assert line["client_own_class_accuracy"] == line["client_own_class_accuracy_macro"] == found["1"]["own_class_accuracy"]
    assert line["client_accuracy"] == pytest.approx((found["0"]["accuracy"] + found["1"]["accuracy"]) / 2)


def test_own_classes_are_those_of_the_training_examples(raw):
    data = {"partition": "classes", "classes_per_client": 2, "samples_per_client": 60, "num_server_rounds": 1}
    config = raw(**settings("fedavg", personal="none", **data))
    (line,) = run(config, 4).round_log.read()
    method = build(*configure(config), Problem.of_images((1, 8, 8), 10))
    for client, found in line["client_evaluations"].items():
        own = partition_data(method.config, int(client), 4)
        assert len(set(own.train.y)) == 2
        assert found["accuracy"] <= found["own_class_accuracy"]
    assert line["client_own_class_accuracy_macro"] > line["client_accuracy_macro"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"fraction_evaluate": 0.0},
            ConfigError,
            "fraction-evaluate = 0.0: expected a share above 0 with gates.personal = last: ",
        ),
        ({"personal": "first"}, ConfigError, "gates.personal = 'first': expected names of parameters or of modules, such as"),
        ({"personal_epochs": 0}, ConfigError, "personal-epochs = 0: expected"),
        ({"model": "logistic"}, NetworkError, "cannot be personal; expected a layer before it, for the clients to share"),
    ],
)
def test_refusals(raw, changes, error, message):
    with pytest.raises(error) as refused:
        run(raw(**settings("fedavg", **changes)), 2)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
