"""What goes wrong costs a reply, an attempt or a claim, never the run: clients, nodes, quorums, on the loopback grid."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Error, Message, RecordDict
from loopback_runs import (
    Noting,
    answer,
    client_of,
    decoded,
    last_checkpoint,
    run,
    run_on,
    state_payload,
    total,
    votes_of,
    with_faults,
    without,
)
from safetensors.numpy import load_file

from client_app import app
from fedgates.errors import QuorumError
from fedgates.federation import Membership, Problem, client_data, sample_clients
from fedgates.flower import LoopbackGrid
from fedgates.flower.records import METRICS
from fedgates.flower.transport import GridTransport
from fedgates.runs.folder import RunFolder
from fedgates.wire.header import peek


def silent(message, reply):
    return None


def garbage(message, reply):
    return answer(message, b"\x00garbage" * 1000)


# --- claims that are bounded


def claiming(**claims):
    """A sound reply with other numbers beside it."""

    def fault(message, reply):
        for name, value in claims.items():
            reply.content.metric_records[METRICS]["num-examples" if name == "num_examples" else name] = value
        return reply

    return fault


def claimed(raw, claims, **changes):
    """One round of three clients that make these claims: its line, its folder, and the honest replies."""
    replies = {}

    class Watching(with_faults({(1, i): claiming(**each) for i, each in enumerate(claims)})):
        def deliver(self, message):
            reply = super().deliver(message)
            if message.metadata.message_type == "train":
                replies[client_of(message)] = message, reply
            return reply

    folder = run(raw(num_server_rounds=1, **changes), 3, Watching)
    (line,) = folder.round_log.read()
    assert line["clients_counted"] == 3
    return line, folder, replies


def test_no_client_counts_for_more_than_max_examples(raw):
    line, folder, replies = claimed(
        raw, [{"num_examples": 2**31 - 1}, {"num_examples": 41}, {}], strategy="fedavg", max_examples=1
    )
    counted = [41, 41, 30]  # the median is 41
    values = [decoded(*replies[i], strategy="fedavg").values.astype(np.float64) for i in range(3)]
    mean = sum(n * v for n, v in zip(counted, values, strict=True)) / sum(counted)
    np.testing.assert_array_equal(load_file(last_checkpoint(folder))["weights"], mean.astype(np.float32))
    losses = [replies[i][1].content.metric_records[METRICS]["loss"] for i in range(3)]
    assert line["train_loss"] == pytest.approx(np.average(losses, weights=counted))


def test_what_a_claim_is_cut_to_is_what_is_relayed(raw):
    changes = {"strategy": "topk", "target_density": 0.01, "num_server_rounds": 3, "max_examples": 1.4}
    faults = {(at, 0): claiming(num_examples=2**31 - 1) for at in (1, 2, 3)}
    config = raw(**changes, downlink="relay")
    grid = with_faults(faults)(app, config, 3)
    relayed, told = run_on(grid, config), run(raw(**changes), 3, with_faults(faults))
    assert peek(grid.states[3, 1]).kind != peek(grid.states[1, 1]).kind
    assert [line["clients_counted"] for line in relayed.round_log.read()] == [3, 3, 3]
    assert last_checkpoint(relayed).read_bytes() == last_checkpoint(told).read_bytes()


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("losses", "mean"),
    [((1e8, 2.0, 3.0), 335.0), ((-1e8, 2.0, 3.0), -995 / 3), ((1000.0, 2.0, 3.0), 335.0), ((1e9, -1e9, 3.0), 1.0)],
)
def test_a_loss_counts_for_a_thousand_at_most(raw, losses, mean):
    line, _, _ = claimed(raw, [{"loss": loss} for loss in losses])
    assert line["train_loss"] == pytest.approx(mean)


def test_nobody_took_longer_than_the_round(raw):
    line, _, _ = claimed(raw, [{"seconds": 1e9}, {"seconds": -5.0}, {"seconds": 0.05}])
    assert line["client_seconds_longest"] == 0.2  # round-timeout
    assert line["client_seconds"] == pytest.approx((0.2 + 0 + 0.05) / 3, abs=1e-3)


class Evaluating(LoopbackGrid):
    """The first client says something else of its evaluation: `claims`."""

    claims = {}  # noqa: RUF012

    def deliver(self, message):
        reply = super().deliver(message)
        if message.metadata.message_type == "evaluate" and client_of(message) == 0:
            reply = claiming(**self.claims)(message, reply)
        return reply


def evaluated(raw, claims, **changes):
    grid = type("Claiming", (Evaluating,), {"claims": claims})
    (line,) = run(raw(num_server_rounds=1, fraction_evaluate=1.0, samples_per_client=50, **changes), 3, grid).round_log.read()
    return line


def test_an_evaluation_counts_for_max_examples_and_a_loss_of_a_thousand_at_most(raw):
    line = evaluated(raw, {"num_examples": 2**31 - 1, "loss": 1e8, "accuracy": 1.0}, max_examples=2)
    found = line["client_evaluations"]
    assert [found[name]["examples"] for name in "012"] == [20, 10, 10]
    losses, accuracies = [1000.0, found["1"]["loss"], found["2"]["loss"]], [found[name]["accuracy"] for name in "012"]
    assert accuracies[0] == 1
    assert line["client_loss"] == pytest.approx(np.average(losses, weights=[20, 10, 10]))
    assert line["client_loss_macro"] == pytest.approx(np.mean(losses))
    assert line["client_accuracy"] == pytest.approx(np.average(accuracies, weights=[20, 10, 10]))
    assert line["evaluation_failed"] == {}


EVALUATIONS = [
    ({"accuracy": 1e6}, "accuracy = 1000000.0, expected a number from 0 to 1"),
    ({"accuracy": -0.5}, "accuracy = -0.5, expected"),
    ({"own_class_accuracy": 1.5}, "own_class_accuracy = 1.5, expected a number from 0 to 1"),
    ({"accuracy": float("nan")}, "metric accuracy = nan, expected"),
    ({"loss": -1.0}, "loss = -1.0, expected a number of at least 0"),
    ({"loss": 1e308}, "metric loss = 1e+308, expected"),
    ({"num_examples": 0}, "num-examples = 0, expected"),
    ({"num_examples": 2**40}, "num-examples = 1099511627776, expected"),
]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(("claims", "reason"), EVALUATIONS, ids=[reason for _, reason in EVALUATIONS])
def test_a_lie_about_an_evaluation_is_dropped_and_named(raw, claims, reason):
    line = evaluated(raw, claims)
    assert 0 <= line["client_accuracy"] <= 1
    assert list(line["client_evaluations"]) == ["1", "2"]
    assert list(line["evaluation_failed"]) == ["0"]
    assert line["evaluation_failed"]["0"].startswith(reason)


# --- nodes and their names

FAR = 2**62
"""Flower's node ids are as large, and above all names."""


class Far(LoopbackGrid):
    """Nodes with ids as large as Flower's; each says what `names` has of it instead of its own name."""

    names = {}  # noqa: RUF012

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        nodes = enumerate(self.contexts.values(), FAR)
        self.contexts = {at: Context(1, at, node.node_config, RecordDict(), node.run_config) for at, node in nodes}

    def deliver(self, message):
        reply, node = super().deliver(message), message.metadata.dst_node_id
        if message.metadata.message_type == "query" and node - FAR in self.names:
            reply.content.config_records["introduction"]["name"] = self.names[node - FAR]
        return reply


@pytest.fixture
def own(tmp_path):
    """The node config of a device that has data and no name."""
    x, y = np.random.default_rng(1).integers(0, 256, (20, 8, 8), dtype=np.uint8), np.arange(20) % 10
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return {"data-path": str(tmp_path / "own.npz")}


def test_no_claim_takes_another_nodes_id_or_a_name_that_is_none(raw, own):
    names = dict(enumerate([FAR + 9, FAR + 1, 2**31, 2**32, 2**63, -1, "3", 3.0, True, [3]]))
    config = raw(num_server_rounds=1, samples_per_client=0)
    grid = type("Claiming", (Far,), {"names": names})(app, config, node_configs=[own] * 10)
    membership = Membership()
    GridTransport(grid).introduce(membership, Problem.of_images((1, 8, 8), 10), timeout=0.2)
    assert membership.clients == {FAR + i: FAR + i for i in range(10)}
    (line,) = run_on(grid, config).round_log.read()
    assert (line["clients_counted"], line["failed"], line["rejected"]) == (10, {}, {})


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", [0, 2**31 - 1, 2**31, 2**40, -1])
def test_a_device_is_counted_whatever_number_it_was_given(raw, own, name):
    config = raw(num_server_rounds=1, samples_per_client=0)
    (line,) = run_on(Far(app, config, node_configs=[own | {"partition-id": name}, own]), config).round_log.read()
    assert (line["clients_counted"], line["rejected"]) == (2, {})


def test_two_nodes_of_one_name_are_one_client(raw, caplog):
    config = raw(num_server_rounds=1)
    nodes = [{"partition-id": i, "num-partitions": 3} for i in (0, 1, 1, 2)]
    folder = run_on(LoopbackGrid(app, config, node_configs=nodes), config)
    assert folder.round_log.read()[0]["clients_selected"] == 3
    assert "client 1 is node 1001, the first with that number in this run" in caplog.text


def test_who_cannot_take_part_does_not_end_the_run_for_those_who_come_later(raw, own):
    class Coming(LoopbackGrid):
        complete = False
        looks = 0

        def get_node_ids(self):
            self.looks += 1
            return list(self.contexts)[: 1 if self.looks < 5 else None]

    config = raw(num_server_rounds=1, samples_per_client=0, round_timeout=5.0)
    nodes = [{"data-path": "/absent.npz"}, own, own]
    (line,) = run_on(Coming(app, config, node_configs=nodes), config).round_log.read()
    assert line["clients_counted"] == 2


def test_nobody_is_waited_for_where_no_others_can_come(raw, own):
    config = raw(samples_per_client=0, round_timeout=20.0, min_clients=2)
    grid = LoopbackGrid(app, config, node_configs=[own, {"data-path": "/absent.npz", "partition-id": 1}])
    with pytest.raises(
        QuorumError, match=r"server.min-clients = 2: 1 of 2 clients can take part; the first of the others: data-p"
    ):
        run_on(grid, config)


@pytest.mark.slow
def test_nor_is_one_that_can_never_say_who_it_is(raw):
    class Broken(LoopbackGrid):
        def deliver(self, message):
            if message.metadata.dst_node_id == 1001:
                return Message(Error(2, "my fault"), reply_to=message)
            return super().deliver(message)

    said = r"server.min-clients = 2: 1 of 2 clients can take part; the first of the others: error 2: my fault"
    with pytest.raises(QuorumError, match=said):
        run(raw(min_clients=2, round_timeout=60.0), 2, Broken)


def test_one_that_is_to_be_asked_again_is_waited_for(raw, own):
    class Starting(LoopbackGrid):
        asked = 0

        def deliver(self, message):
            if message.metadata.dst_node_id == 1001 and message.metadata.message_type == "query":
                self.asked += 1
                if self.asked == 1:
                    return Message(Error(2, "not yet"), reply_to=message)
            return super().deliver(message)

    config = raw(num_server_rounds=1, samples_per_client=0, min_clients=3, round_timeout=60.0)
    nodes = [own, own, own | {"partition-id": 5}, {"data-path": "/absent.npz", "partition-id": 1}]
    (line,) = run_on(Starting(app, config, node_configs=nodes), config).round_log.read()
    assert line["clients_counted"] == 3


def test_a_node_that_never_introduces_itself_costs_its_wait_once(raw):
    class Mute(LoopbackGrid):
        def deliver(self, message):
            return None if message.metadata.dst_node_id == 1000 else super().deliver(message)

    config = raw(num_server_rounds=3, round_timeout=1.5)
    started = time.monotonic()
    folder = run(config, 3, Mute)
    assert [line["clients_selected"] for line in folder.round_log.read()] == [2, 2, 2]
    assert sum(line["seconds"] for line in folder.round_log.read()) < 1.5 < time.monotonic() - started


def test_a_device_that_comes_back_with_another_key_is_refused_its_number(raw, caplog):
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
    assert [line["clients_counted"] for line in folder.round_log.read()] == [3, 2]
    assert "node 2000 is left out: client 0 is node 1000, the first with that number in this run" in caplog.text


# --- replies


def test_an_exception_in_the_client_app_reaches_the_ledger(raw, tmp_path):
    broken = tmp_path / "own.npz"
    np.savez(broken, x_train=np.zeros((4, 8, 8), np.uint8), y_train=np.arange(4))
    config = raw(num_server_rounds=1, samples_per_client=0)
    nodes = [{"partition-id": i, "num-partitions": 3} for i in range(3)] + [{"partition-id": 9, "data-path": str(broken)}]

    class Vanishing(LoopbackGrid):
        def deliver(self, message):
            if message.metadata.message_type == "train":
                broken.unlink(missing_ok=True)
                client_data._own_data.cache_clear()
            return super().deliver(message)

    folder = run_on(Vanishing(app, config, node_configs=nodes), config)
    (line,) = folder.round_log.read()
    assert line["clients_counted"] == 3
    assert "own.npz" in line["failed"]["9"]


def test_a_second_answer_is_not_counted(raw):
    class Doubling(LoopbackGrid):
        def pull_messages(self, message_ids):
            return super().pull_messages(message_ids) * 2

    config = raw(num_server_rounds=1, strategy="fedpm")  # whose votes are those of one round
    folder = run(config, 3, Doubling)
    assert folder.round_log.read()[0]["clients_counted"] == 3
    assert votes_of(folder).max() == 3


# --- rounds that miss their quorum


class Outages(Noting):
    """All clients answer with garbage in some attempts, ``outages`` of (round, attempt); ``asked[round]`` has who was when."""

    outages = ()

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked, self.evaluators = {}, 0

    def push_messages(self, messages):
        messages = list(messages)
        if messages and messages[0].metadata.message_type == "train":
            self.at = peek(state_payload(messages[0])).server_round
            self.asked.setdefault(self.at, []).append([client_of(message) for message in messages])
        return super().push_messages(messages)

    def deliver(self, message):
        reply, kind = super().deliver(message), message.metadata.message_type
        self.evaluators += kind == "evaluate"
        out = kind == "train" and (self.at, len(self.asked[self.at])) in self.outages
        return garbage(message, reply) if out else reply


def with_outages(raw, outages, clients=6, **changes):
    config = raw(num_server_rounds=3, **changes)
    grid = type("Outages", (Outages,), {"outages": outages})(app, config, clients)
    return run_on(grid, config), grid


def attempts(folder):
    return [(line["round"], line["attempt"], line["quorum"]) for line in folder.round_log.read()]


def test_a_round_without_a_quorum_is_repeated_with_clients_drawn_anew(raw):
    folder, grid = with_outages(raw, {(2, 1), (2, 2)}, fraction_train=0.5)
    assert attempts(folder) == [(1, 1, True), (2, 1, False), (2, 2, False), (2, 3, True), (3, 1, True)]
    purposes = ["choose", "choose, attempt 2", "choose, attempt 3"]
    assert grid.asked[2] == [sample_clients(range(6), 0.5, 1, purpose, 2) for purpose in purposes]
    assert grid.asked[2][0] != grid.asked[2][1] != grid.asked[2][2]
    assert [grid.asked[at] for at in (1, 3)] == [[sample_clients(range(6), 0.5, 1, "choose", at)] for at in (1, 3)]
    assert len({payload for (at, _), sent in grid.sent.items() for payload in sent if at == 2}) == 1  # one and the same state


def test_a_round_without_a_quorum_leaves_what_was_reached_and_counts_what_it_cost(raw):
    folder, grid = with_outages(raw, {(2, 1)})
    first, lost, again, _ = folder.round_log.read()
    assert (lost["accuracy"], lost["loss"]) == (first["accuracy"], first["loss"]) != (again["accuracy"], again["loss"])
    assert lost["density"] is None
    assert (lost["clients_counted"], again["clients_counted"]) == (0, 6)
    assert lost["uplink"] == {"unreadable": {"messages": 6, "bytes": 6 * 8000}}
    assert again["uplink"] == {"mask, side-info": {"messages": 6, "bytes": again["uplink_bytes"]}}
    of_attempt = [sum(len(grid.sent[2, name][attempt]) for name in range(6)) for attempt in (0, 1)]
    assert [total(line["downlink"]) for line in (lost, again)] == of_attempt
    assert [line["downlink_bytes"] for line in (lost, again)] == of_attempt


def test_a_round_without_a_quorum_is_not_evaluated_by_clients(raw):
    folder, grid = with_outages(raw, {(1, 1), (2, 1), (2, 2)}, samples_per_client=50, fraction_evaluate=0.5)
    told = ["clients_evaluating" in line for line in folder.round_log.read()]
    assert (
        told == ["client_accuracy" in line for line in folder.round_log.read()] == [quorum for *_, quorum in attempts(folder)]
    )
    assert told == [False, True, False, False, True, True]
    assert grid.evaluators == 3 * 3


@pytest.mark.slow
def test_failed_rounds_are_counted_each_for_itself(raw):
    folder, _ = with_outages(raw, {(1, 1), (1, 2), (2, 1), (2, 2)}, max_failed_rounds=3)
    assert [found[:2] for found in attempts(folder)] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1)]
    plain, _ = with_outages(raw, ())
    assert last_checkpoint(folder).read_bytes() == last_checkpoint(plain).read_bytes()  # all clients train: the same choice


def test_without_a_quorum_the_state_stays_and_the_run_ends_in_time(raw):
    grid = with_faults({(1, name): garbage for name in range(3)})
    with pytest.raises(
        QuorumError, match=r"^round 1 had fewer .*, 2 times .* 1 of 4 the last time, client 0: magic .*resume=\""
    ):
        run(raw(max_failed_rounds=2), 4, grid)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_run_that_ended_without_a_quorum_can_go_on_as_if_nothing_had_been(raw, lost):
    with pytest.raises(QuorumError, match=rf"^round {lost} had fewer .*, 3 times") as error:
        with_outages(raw, {(lost, 1), (lost, 2), (lost, 3)}, fraction_train=0.5)
    folder = RunFolder(Path(re.findall(r'resume="(.+)"', str(error.value))[0]))
    assert attempts(folder)[lost - 1 :] == [(lost, 1, False), (lost, 2, False), (lost, 3, False)]
    assert last_checkpoint(folder).name == f"checkpoint-{lost - 1:05d}.safetensors"
    assert votes_of(folder).any() == (lost > 1)
    resumed, _ = with_outages(raw, (), fraction_train=0.5, resume=str(folder.path))
    whole, _ = with_outages(raw, {(lost, 1), (lost, 2), (lost, 3)}, fraction_train=0.5, max_failed_rounds=9)
    assert (lost, 4, True) in attempts(resumed)
    assert last_checkpoint(resumed).read_bytes() == last_checkpoint(whole).read_bytes()
    assert without(resumed.round_log.read()) == without(whole.round_log.read())
