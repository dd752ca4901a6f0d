"""`stop-accuracy` and `stop-patience` in whole runs: where they end, what is left, and how such a run is resumed."""

import logging
from itertools import pairwise

import numpy as np
import pytest
from loopback_runs import OF_THE_DOWNLINK, last_checkpoint, run, run_on, without
from scripted_runs import SCRIPT, by_script, killed

from client_app import app
from fedgates import model_file
from fedgates.compare import Question, read_run
from fedgates.compare.numbers import measure
from fedgates.data.digits import digits
from fedgates.errors import ConfigError
from fedgates.federation import Problem, Server
from fedgates.flower import FlowerStrategy, LoopbackGrid
from fedgates.flower.study import finished
from fedgates.methods.registry import build, configure
from fedgates.runs.config_file import read_config
from fedgates.runs.listing import read_entry
from fedgates.runs.table import runs_table


@pytest.fixture
def scripted(monkeypatch):
    """The server's accuracy follows the script."""
    monkeypatch.setattr(Server, "evaluate", by_script)


@pytest.fixture
def log(caplog):
    """The text of the run's log."""
    caplog.set_level(logging.INFO, "fedgates")
    return lambda: caplog.text


def rounds_of(folder):
    return [line["round"] for line in folder.round_log.read()]


@pytest.mark.slow
@pytest.mark.usefixtures("scripted", "whole_runs")
@pytest.mark.parametrize(
    ("keys", "last", "reason"),
    [
        ({"stop_accuracy": 0.5}, 2, "accuracy 50.0 % reached stop-accuracy = 0.5"),
        ({"stop_patience": 2}, 4, "2 evaluations since accuracy 50.0 % in round 2, the best (stop-patience = 2)"),
    ],
)
def test_a_run_that_stops_early_has_finished(raw, log, keys, last, reason):
    folder = run(raw(num_server_rounds=6, **keys))
    assert rounds_of(folder) == list(range(1, last + 1))
    assert f"stopped early, after round {last}: {reason}" in log()
    assert model_file.read_contents(folder.path / "model.fedgates").facts.training["rounds"] == last
    assert (folder.path / "curves.png").is_file()
    page = (folder.path / "report.html").read_text()
    assert f"Stopped early, after round {last} of 6: </b>{reason}." in page
    assert "To resume it" not in page
    entry = read_entry(folder.path)
    assert (entry.rounds, entry.of_rounds, entry.stopped, entry.under_way) == (last, 6, reason, False)
    assert f"{last}/6, stopped early" in runs_table([entry])
    assert measure(read_run(folder.path), Question("t"), ()).metric == SCRIPT[last - 1]
    assert finished(folder.path, read_config(folder.path))


@pytest.mark.usefixtures("scripted")
def test_a_run_that_reaches_its_accuracy_in_the_last_round_has_not_stopped_early(raw, log):
    folder = run(raw(num_server_rounds=2, stop_accuracy=0.5))
    assert read_entry(folder.path).stopped == ""
    assert "stopped early" not in log()


@pytest.mark.usefixtures("scripted")
def test_a_stopped_run_that_is_resumed_with_the_same_keys_runs_no_round(raw, log, caplog):
    folder = run(raw(num_server_rounds=6, stop_patience=2))
    kept = ("rounds.jsonl", "checkpoint-00004.safetensors")
    before = [(folder.path / name).read_bytes() for name in kept]
    caplog.clear()
    run(raw(num_server_rounds=6, stop_patience=2, resume=str(folder.path)))
    assert "stopped early, after round 4: 2 evaluations" in log()
    assert [(folder.path / name).read_bytes() for name in kept] == before


@pytest.mark.slow
@pytest.mark.usefixtures("scripted")
@pytest.mark.parametrize("keys", [{"stop_patience": 4}, {}])
def test_a_stopped_run_goes_on_with_more_patience_or_none_like_a_whole_run(raw, keys):
    whole = run(raw(num_server_rounds=6))
    stopped = run(raw(num_server_rounds=6, stop_patience=2))
    resumed = run(raw(num_server_rounds=6, **keys, resume=str(stopped.path)))
    assert read_entry(resumed.path).stopped == ""
    assert last_checkpoint(resumed).read_bytes() == last_checkpoint(whole).read_bytes()
    assert without(resumed.round_log.read(), *OF_THE_DOWNLINK) == without(whole.round_log.read(), *OF_THE_DOWNLINK)


@pytest.mark.usefixtures("scripted")
def test_a_stopped_run_that_is_resumed_and_killed_has_ended_early(raw):
    stopped = run(raw(num_server_rounds=6, stop_patience=2))
    killed(raw(num_server_rounds=6, resume=str(stopped.path)), 1)
    entry = read_entry(stopped.path)
    assert (entry.rounds, entry.stopped) == (4, "")


@pytest.mark.quick_cases(1)
@pytest.mark.usefixtures("scripted")
@pytest.mark.parametrize("server_round", [2, 3, 4])
def test_patience_counts_the_rounds_before_a_resume(raw, server_round):
    config = raw(num_server_rounds=6, stop_patience=2)
    folder = killed(config, server_round)
    assert rounds_of(run({**config, "resume": str(folder)})) == [1, 2, 3, 4]


@pytest.mark.usefixtures("scripted")
def test_a_strategy_in_an_app_of_ones_own_stops(raw):
    config = raw(num_server_rounds=6, stop_accuracy=0.5)
    server = Server(build(*configure(config), Problem.of_images((1, 8, 8), 10)), Problem.of_images((1, 8, 8), 10))
    seen = []

    def evaluate(server_round, arrays):
        seen.append(server_round)
        return {"accuracy": SCRIPT[server_round - 1]}

    FlowerStrategy(server).start(LoopbackGrid(app, config, 3), evaluate_fn=evaluate)
    assert seen == [1, 2]


def test_a_real_run_stops_once_it_is_good_enough(raw):
    folder = run(raw(model="mlp", num_server_rounds=8, stop_accuracy=0.3))
    *before, last = [line["accuracy"] for line in folder.round_log.read()]
    assert last >= 0.3 > max(before)
    assert len(before) < 7


# --- without a test set


@pytest.fixture
def devices(tmp_path):
    """The node configs of two devices, each with 50 digits."""
    train, nodes = digits().train, []
    for name in range(2):
        part = slice(50 * name, 50 * name + 50)
        np.savez(tmp_path / f"{name}.npz", x_train=train.x[part], y_train=train.y[part])
        nodes.append({"data-path": str(tmp_path / f"{name}.npz"), "partition-id": name})
    return nodes


def run_on_devices(config, nodes):
    return run_on(LoopbackGrid(app, config, node_configs=nodes), config)


def test_the_clients_accuracy_stops_a_run_without_a_test_set(raw, devices):
    keys = {"dataset": "devices:8x8x1:10", "samples_per_client": 0, "fraction_evaluate": 1.0}
    folder = run_on_devices(raw(**keys, num_server_rounds=12, stop_patience=1), devices)
    values = [line["client_accuracy"] for line in folder.round_log.read()]
    assert all(later > earlier for earlier, later in pairwise(values[:-1]))
    assert values[-1] <= values[-2]
    assert read_entry(folder.path).stopped.startswith("1 evaluation since devices' accuracy ")


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"stop_accuracy": 0.9}, "stop-accuracy = 0.9: expected 0, or fraction-evaluate above 0: the server has no test set"),
        ({"stop_patience": 3}, "stop-patience = 3: expected 0, or fraction-evaluate above 0"),
        ({"keep_best": True}, "keep-best = True: expected false, or fraction-evaluate above 0"),
        ({"dropout": 0.1}, "dropout = 0.1: expected 0 on real devices: only simulated clients can drop out"),
    ],
)
def test_what_such_a_run_cannot_do_is_refused_before_there_is_a_folder(raw, devices, tmp_path, keys, error):
    with pytest.raises(ConfigError) as found:
        run_on_devices(raw(dataset="devices:8x8x1:10", **keys), devices)
    assert str(found.value).startswith(error)
    assert "\n" not in str(found.value)
    assert not (tmp_path / "runs").exists()


def test_a_strategy_in_an_app_of_ones_own_refuses_dropout_on_devices(raw, devices):
    config = raw(dataset="devices:8x8x1:10", dropout=0.1)
    server = Server(build(*configure(config), Problem.of_images((1, 8, 8), 10)), Problem.of_images((1, 8, 8), 10))
    with pytest.raises(ConfigError, match=r"^dropout = 0\.1: expected 0 on real devices"):
        FlowerStrategy(server).start(LoopbackGrid(app, config, node_configs=devices))
