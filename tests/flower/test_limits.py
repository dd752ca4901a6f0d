"""`max-…` through whole runs: what is too long, or too far on, is refused on either end, and a device may ask for less."""

from pathlib import Path

import pytest
from flwr.app import Message, MessageType, RecordDict
from loopback_runs import FEDPM, MLP, Noting, answer, last_checkpoint, payload_of, run, run_on, with_faults
from loopback_runs import MLP_SIZE as D

from client_app import app
from fedgates.config import LIMITS
from fedgates.errors import QuorumError, WireError
from fedgates.federation import Problem
from fedgates.federation.payloads import expect_size
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.flower.client_app import SNAPSHOT
from fedgates.flower.records import PROBLEM, problem_record
from fedgates.runs.round_log import RoundLog
from fedgates.wire.header import peek
from fedgates.wire.updates import UpdateReader

NETWORK = MLP | FEDPM  # whose first states grow beyond the limits of these tests
PACKED = 36 + -(-D // 8)
"""Bytes of a packed mask: 10,662."""


def lines_of(config):
    """The ledger of the one run there, which ended early."""
    (folder,) = Path(config["output-dir"]).iterdir()
    return RoundLog(folder).read()


def nodes(count, **own):
    """Node configs of simulated clients; client 0 has limits of its own."""
    limits = {key.replace("_", "-"): value for key, value in own.items()}
    return [{"partition-id": i, "num-partitions": count, **(limits if i == 0 else {})} for i in range(count)]


def run_of(raw, count=3, grid=Noting, own=None, **changes):
    """A run, client 0 of which has limits of its own: its grid and its ledger."""
    config = raw(**changes)
    grid = grid(app, config, node_configs=nodes(count, **(own or {})))
    return grid, run_on(grid, config).round_log.read()


# --- payloads that are too long


def test_a_megabyte_is_a_million_bytes():
    expect_size(1_000_000, 1.0)
    expect_size(1000, 0.001)
    expect_size(0, 1e-9)
    with pytest.raises(
        WireError, match=r"^a payload of 1,001 bytes, expected at most limits.max-payload-mb = 0\.001 megabytes$"
    ):
        expect_size(1001, 0.001)


def test_a_server_reads_nothing_of_a_reply_that_is_too_long(raw, monkeypatch):
    read, original = [], UpdateReader.read

    def watch(self, payload, client):
        read.append((client, len(payload)))
        return original(self, payload, client)

    monkeypatch.setattr(UpdateReader, "read", watch)
    fault = {(1, 0): lambda message, reply: answer(message, payload_of(reply) + bytes(39))}
    _, (line,) = run_of(raw, 3, with_faults(fault), uplink="packed", num_server_rounds=1, max_payload_mb=0.0107)
    assert line["rejected"] == {"0": "a payload of 10,701 bytes, expected at most limits.max-payload-mb = 0.0107 megabytes"}
    assert sorted(read) == [(1, PACKED), (2, PACKED)]
    assert line["uplink_bytes"] == 3 * PACKED + 39  # it has travelled


def test_a_reply_of_several_records_is_as_long_as_all_of_them(raw):
    def twice(message, reply):
        reply.content["more"] = answer(message, bytes(39)).content["update"]
        return reply

    _, (line,) = run_of(raw, 3, with_faults({(1, 0): twice}), uplink="packed", num_server_rounds=1, max_payload_mb=0.0107)
    assert line["rejected"]["0"].startswith("a payload of 10,701 bytes, expected at most")


def test_a_client_reads_nothing_of_a_state_that_is_too_long(raw):
    # the first state is its header; later ones are some bits a gate
    config = raw(num_server_rounds=2, max_payload_mb=0.012, downlink="votes")
    grid = Noting(app, config, 3)
    with pytest.raises(QuorumError, match=r"round 2 .*expected at most limits.max-payload-mb = 0\.012 megabytes"):
        run_on(grid, config)
    first, *others = lines_of(config)
    assert first["clients_counted"] == 3
    length = len(grid.states[2, 0])
    assert length > 12_000
    for line in others:
        assert line["failed"] == dict.fromkeys(
            "012",
            "error 2: fedgates.errors.WireError: "
            f"a payload of {length:,} bytes, expected at most limits.max-payload-mb = 0.012 megabytes",
        )


# --- what a device asks for


@pytest.mark.slow
def test_a_devices_lower_limit_is_its_own_and_a_higher_one_lifts_nothing(raw):
    grid, (_, second) = run_of(raw, own={"max_payload_mb": 0.012}, quorum=0.1, downlink="votes")
    assert list(second["failed"]) == ["0"]
    assert "expected at most limits.max-payload-mb = 0.012 megabytes" in second["failed"]["0"]
    assert second["clients_counted"] == 2
    _, (_, second) = run_of(raw, own={"max_payload_mb": len(grid.states[2, 0]) / 1e6}, quorum=0.1, downlink="votes")
    assert second["failed"] == {}
    config = raw(max_payload_mb=0.012, downlink="votes", output_dir=str(Path(raw()["output-dir"]) / "refused"))
    with pytest.raises(QuorumError, match=r"expected at most limits.max-payload-mb = 0\.012 megabytes"):
        run_on(LoopbackGrid(app, config, node_configs=nodes(3, max_payload_mb=100)), config)
    assert lines_of(config)[-1]["clients_failed"] == 3


@pytest.mark.parametrize(
    ("own", "problem"),
    [
        ({"max_gates": 85_001}, "limits.max-gates = 85001: expected at least 85,002, the size of model mlp"),
        ({"max_decode_mb": 2}, "limits.max-decode-mb = 2.0: expected at least 3.41"),
    ],
    ids=str,
)
def test_a_device_that_is_too_small_for_the_network_is_left_out(raw, caplog, own, problem):
    grid, (line,) = run_of(raw, own=own, num_server_rounds=1)
    assert line["clients_selected"] == line["clients_counted"] == 2
    assert sorted(grid.states) == [(1, 1), (1, 2)]
    assert f"client 0 is left out: {problem}" in caplog.text


def introduced(raw, **node):
    """Why a client with this node config says that it cannot take part."""
    grid = LoopbackGrid(app, raw(), node_configs=[{"partition-id": 0, "num-partitions": 3, **node}])
    content = RecordDict({PROBLEM: problem_record(Problem.of_images((1, 8, 8), 10))})
    (reply,) = grid.send_and_receive([Message(content, 1000, MessageType.QUERY)])
    return reply.content.config_records["introduction"]["problem"]


@pytest.mark.parametrize("value", ["x", "1", 0, -1, True, False, 0.0, float("nan"), ""])
@pytest.mark.parametrize("key", [key for key in LIMITS if key != "limits.max-relay-updates"])  # of which 0 is one
def test_a_limit_that_is_none_leaves_that_device_out(raw, key, value):
    named, _, expected = introduced(raw, **{key: value}).partition(": expected ")
    assert named in (f"{key} = {value!r}", f"{key} = {float(value)}" if value in (0, -1) else "")
    assert expected.startswith(("a number above 0", "a whole number from 1 to 4,294,967,295"))


@pytest.mark.parametrize("key", LIMITS)
def test_a_limit_above_the_runs_is_no_problem(raw, key):
    assert introduced(raw, **{key: 65_535 if key == "limits.max-relay-updates" else 10**9}) == ""


def test_the_others_go_on_without_it_and_the_reason_is_one_line(raw, caplog):
    _, lines = run_of(raw, own={"max_gates": "many"})
    assert [line["clients_counted"] for line in lines] == [2, 2]
    said = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert said == ["client 0 is left out: max-gates = 'many': expected a whole number from 1 to 4,294,967,295"]


# --- rounds


@pytest.mark.parametrize("downlink", ["votes", "relay"])
def test_a_client_trains_for_no_round_beyond_those_of_its_run_config(raw, downlink):
    # it may be sent the state that the last round left, to evaluate it
    config = raw(num_server_rounds=4, quorum=0.1, max_failed_rounds=1, downlink=downlink, reset_every=9)
    grid = Noting(app, config | {"num-server-rounds": 2}, 2)
    with pytest.raises(QuorumError):
        run_on_grid(grid, config)
    *sound, last = lines_of(config)
    assert [line["clients_counted"] for line in sound] == [2, 2, 2]
    reason = "error 2: fedgates.errors.WireError: a state for round 4, beyond num-server-rounds = 2"
    assert last["failed"] == dict.fromkeys("01", reason)
    if downlink == "relay":
        kept = [context.state.array_records[SNAPSHOT]["payload"].data for context in grid.contexts.values()]
        assert [peek(payload).server_round for payload in kept] == [3, 3]


def test_the_last_state_can_be_evaluated(raw):
    _, (_, last) = run_of(raw, fraction_evaluate=1.0, samples_per_client=50)
    assert last["evaluation_failed"] == {}
    assert 0 <= last["client_accuracy"] <= 1


def test_other_limits_change_nothing_of_a_run(raw):
    limits = {"max_gates": 85_002, "max_payload_mb": 1.0, "max_decode_mb": 4.0, "max_relay_updates": 9}
    one, other = run(raw(), 3), run(raw(**limits), 3)
    assert last_checkpoint(one).read_bytes() == last_checkpoint(other).read_bytes()
