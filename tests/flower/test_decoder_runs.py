"""`server.decoders` through whole runs: with two processes they leave what they leave with one, whatever clients send."""

import os
import re

import numpy as np
import pytest
from loopback_runs import (
    Reversed,
    answer,
    last_checkpoint,
    payload_of,
    resealed,
    run,
    silent_replies,
    with_faults,
    without,
)

from client_app import app
from fedgates.data.digits import digits
from fedgates.federation import decoders
from fedgates.flower.loopback import LoopbackGrid
from fedgates.flower.server_app import run_on_grid
from fedgates.runs.callback import Callback
from fedgates.wire.header import HEADER_SIZE

METHODS = [
    {"strategy": "coupled-masks"},
    {"strategy": "fedpm", "uplink": "sampled"},
    {"strategy": "topk", "density.target": 0.1},
]


@pytest.fixture
def started(monkeypatch):
    """The processes that runs start, whatever the size of their network; after the test none may be running."""
    found, start = [], decoders._start
    monkeypatch.setattr(decoders, "_start", lambda: found.append(start()) or found[-1])
    monkeypatch.setattr(decoders, "FEWEST_GATES", 1)
    yield found
    assert [process.poll() is None for process in found] == [False] * len(found)


def left(raw, decoders, grid=LoopbackGrid, **changes):
    """What a run leaves that does not depend on time."""
    folder = run(raw(**changes, **{"server.decoders": decoders}), clients=5, grid=grid)
    return last_checkpoint(folder).read_bytes(), without(folder.round_log.read())


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("settings", METHODS, ids=lambda settings: settings["strategy"])
def test_runs_are_those_of_one_process(raw, started, settings):
    expected = left(raw, 1, **settings)
    assert not started
    assert left(raw, 2, **settings) == expected
    assert started


@pytest.mark.slow
def test_replies_in_another_order_lead_to_the_same_state(raw, started):
    checkpoint, _ = left(raw, 1, num_server_rounds=3)
    reversed_, _ = left(raw, 2, Reversed, num_server_rounds=3, round_timeout=30.0)
    assert reversed_ == checkpoint


def damaged(message, reply):
    return answer(message, payload_of(reply)[:-4])


def of_other_gates(message, reply):
    payload = bytearray(payload_of(reply))
    payload[HEADER_SIZE + 2] = 255
    return answer(message, resealed(payload))


def unreadable(message, reply):
    return answer(message, b"\0garbage" * 10)


@pytest.mark.slow
def test_malformed_replies_are_rejected_alone_for_the_same_reasons(raw, started):
    faults = {(2, 0): damaged, (2, 1): of_other_gates, (2, 2): silent_replies, (1, 3): unreadable}
    grid, quorum = with_faults(faults), {"server.quorum": 0.2}
    expected = left(raw, 1, grid, **quorum)
    assert left(raw, 2, grid, **quorum) == expected
    first, second = expected[1]
    assert first["rejected"] == {"3": r"magic b'\x00gar', expected b'FGTS'"}
    assert set(second["rejected"]) == {"0", "1"}
    assert re.match("checksum does not match", second["rejected"]["0"])
    assert re.match("a frequency's byte is 255", second["rejected"]["1"])
    assert set(second["failed"]) == {"2"}


class Killing(Callback):
    """Kills the processes that decode, after the first round."""

    def __init__(self, started):
        self._started = started

    def on_round_end(self, record, server):
        if record["round"] == 1:
            self.killed = len(self._started)
            for process in self._started:
                process.kill()
                process.wait()


@pytest.mark.slow
def test_processes_that_are_killed_change_nothing(raw, started):
    expected = left(raw, 1, num_server_rounds=3)
    config = raw(num_server_rounds=3, **{"server.decoders": 2})
    killing = Killing(started)
    folder = run_on_grid(LoopbackGrid(app, config, 5), config, callbacks=[killing])
    assert (last_checkpoint(folder).read_bytes(), without(folder.round_log.read())) == expected
    assert len(started) > killing.killed > 0


class Failing(Callback):
    def on_round_end(self, record, server):
        raise KeyboardInterrupt


def test_processes_end_where_a_run_is_interrupted(raw, started):
    config = raw(**{"server.decoders": 2})
    with pytest.raises(KeyboardInterrupt):
        run_on_grid(LoopbackGrid(app, config, 5), config, callbacks=[Failing()])
    assert started


@pytest.mark.parametrize("changes", [{"server.decoders": 2}, {"server.decoders": 0}])
def test_a_small_network_starts_no_process(raw, monkeypatch, changes):
    monkeypatch.setattr(decoders, "_start", None)
    folder = run(raw(**changes), clients=3)
    assert [line["clients_counted"] for line in folder.round_log.read()] == [3, 3]


def test_a_simulation_starts_no_process_unless_asked(raw, started):
    left(raw, 0)
    assert not started


def test_a_server_of_devices_starts_processes_unasked(raw, started, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    train = digits().train
    nodes = [{"data-path": str(tmp_path / f"{name}.npz"), "partition-id": name} for name in range(4)]
    for name, node in enumerate(nodes):
        part = slice(40 * name, 40 * name + 40)
        np.savez(node["data-path"], x_train=train.x[part], y_train=train.y[part])
    config = raw(dataset="devices:8x8x1:10", fraction_evaluate=1.0, samples_per_client=0)
    folder = run_on_grid(LoopbackGrid(app, config, node_configs=nodes), config)
    assert [line["clients_counted"] for line in folder.round_log.read()] == [4, 4]
    assert started
