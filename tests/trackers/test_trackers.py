"""Trackers are told what the ledger says, whatever becomes of them, and nothing of theirs is imported unasked."""

import json
import subprocess
import sys

import pytest
from engines import ROOT
from tracked import line, run

from fedgates.config import RunConfig, parse
from fedgates.errors import ConfigError
from fedgates.trackers import TrackerError, check, following, numbers, retell
from fedgates.trackers.base import without_secrets

told = []


class Noting:
    """A tracker of somebody's own."""

    def __init__(self, run):
        self.where = run.where
        told.append(("opened", run.first_round, run.where, run.config["seed"], run.folder.is_dir()))

    def tell(self, line):
        told.append(("told", line["round"], line["megabytes"], line["accuracy"]))

    def close(self, *, finished):
        told.append(("closed", finished))


class Failing(Noting):
    def tell(self, line):
        raise OSError("the network\nis gone")


class Leaving(Noting):
    def tell(self, line):
        sys.exit("enough")


class Unreachable(Noting):
    def __init__(self, run):
        raise TimeoutError("nobody answers at http://me:secret@host/")


@pytest.fixture(autouse=True)
def _nothing_told():
    told.clear()


def tell_all(trackers, folder, lines, **how):
    with following(trackers, folder, {"seed": 7}, **how) as tell:
        for line in lines:
            tell(line)


def test_a_tracker_of_ones_own_is_told_each_round_of_a_run_and_how_it_ended(raw):
    folder = run(raw(trackers="test_trackers:Noting=here and there", seed=3))
    lines = folder.ledger.read()
    moved = [line["uplink_bytes"] + line["downlink_bytes"] for line in lines]
    assert told == [
        ("opened", 1, "here and there", 3, True),
        ("told", 1, moved[0] / 1e6, lines[0]["accuracy"]),
        ("told", 2, sum(moved) / 1e6, lines[1]["accuracy"]),
        ("closed", True),
    ]


def test_a_resumed_run_says_where_it_goes_on_and_counts_what_was_moved_before(raw):
    first = run(raw(num_server_rounds=1))
    run(raw(trackers="test_trackers:Noting", resume=str(first.path), num_server_rounds=2))
    moved = [line["uplink_bytes"] + line["downlink_bytes"] for line in first.ledger.read()]
    assert told[0][1] == 2
    assert [(t[1], t[2]) for t in told if t[0] == "told"] == [(2, sum(moved) / 1e6)]


def test_attempts_without_a_quorum_count_their_bytes_and_are_not_told(tmp_path):
    tell_all("test_trackers:Noting", tmp_path, [line(1, quorum=False), line(1, attempt=2), line(2)])
    assert [(t[1], t[2]) for t in told if t[0] == "told"] == [(1, 1.0), (2, 1.5)]


def test_one_that_fails_is_left_out_with_a_line_and_the_others_go_on(tmp_path, caplog):
    tell_all("test_trackers:Failing,test_trackers:Noting", tmp_path, [line(1), line(2)])
    assert caplog.messages == ["tracker test_trackers:Failing: OSError: the network is gone; the run goes on without it"]
    assert [t[0] for t in told] == ["opened", "opened", "closed", "told", "told", "closed"]  # the failed one, too


def test_a_run_that_ends_early_is_said_to_have(tmp_path):
    with pytest.raises(RuntimeError, match="quorum"), following("test_trackers:Noting", tmp_path, {"seed": 7}, 1):
        raise RuntimeError("quorum")
    assert told[-1] == ("closed", False)


def test_one_that_cannot_be_opened_ends_the_run_before_it_starts_and_closes_the_others(raw, tmp_path):
    with pytest.raises(ConfigError) as error:
        run(raw(trackers="test_trackers:Noting,test_trackers:Unreachable"))
    assert str(error.value) == (
        "trackers = 'test_trackers:Unreachable': expected a tracker that can be reached; TimeoutError: nobody "
        "answers at http://host/"
    )
    assert told[-1] == ("closed", False)
    assert not list(tmp_path.glob("runs/*/rounds.jsonl"))


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_package_is_one_line_before_anything_is_made(raw, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if name == "tensorboard" else name, None)
    for ours in [module for module in sys.modules if module.startswith("fedgates.trackers.")]:
        monkeypatch.delitem(sys.modules, ours)
    with pytest.raises(ConfigError) as error:
        run(raw(trackers=name))
    assert str(error.value).startswith(
        f"trackers = '{name}': expected a package that is installed, as by uv sync --extra {name};"
    )
    assert not (tmp_path / "runs").exists()


def test_no_class_is_one_line():
    with pytest.raises(ConfigError, match=r"trackers = 'test_trackers:told': expected a class, or another callable"):
        check("test_trackers:told")
    with pytest.raises(ConfigError, match=r"trackers = 'no_such_module:Class': expected a module that can be imported"):
        check("no_such_module:Class")


@pytest.mark.parametrize(
    "value", ["", "wandb", "wandb=me/project, mlflow=http://127.0.0.1:5000", "tensorboard,my.module:Class=x"]
)
def test_what_may_be_asked_for(value):
    assert parse(RunConfig, {"trackers": value}).trackers == value


@pytest.mark.parametrize("value", ["comet", "wandb,", "wandb,wandb", "tensorboard=/tmp/x", ",", "wandb mlflow", "=x"])
def test_what_may_not(value):
    with pytest.raises(ConfigError, match="nothing, or each once, with commas between them: tensorboard"):
        parse(RunConfig, {"trackers": value})


def test_figures_are_the_finite_numbers_of_a_line():
    whole = line(3, loss=None, r2=float("nan"), rejected={"1": "late"}, density=0.25)
    assert numbers(whole) == {
        "accuracy": 0.5,
        "density": 0.25,
        "uplink_bytes": 300_000.0,
        "downlink_bytes": 200_000.0,
        "clients_selected": 2.0,
        "clients_counted": 2.0,
        "clients_rejected": 0.0,
    }


def test_a_run_without_trackers_imports_none(raw):
    script = """
import json, sys
from client_app import app
from fedgates.flower import LoopbackGrid, run_on_grid
raw = json.loads(sys.argv[1])
run_on_grid(LoopbackGrid(app, raw, 3), raw)
print(*[name for name in sys.modules if name.split(".")[0] in ("tensorboard", "wandb", "mlflow")])
"""
    command = [sys.executable, "-c", script, json.dumps(raw(num_server_rounds=1))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_a_run_that_has_ended_can_be_told_from_its_first_round_on(raw):
    folder = run(raw(num_server_rounds=2, seed=3))
    assert retell("test_trackers:Noting=later", folder.path) == 2
    lines = folder.ledger.read()
    moved = [line["uplink_bytes"] + line["downlink_bytes"] for line in lines]
    assert told == [
        ("opened", 1, "later", 3, True),
        ("told", 1, moved[0] / 1e6, lines[0]["accuracy"]),
        ("told", 2, sum(moved) / 1e6, lines[1]["accuracy"]),
        ("closed", True),
    ]


def test_it_is_told_nowhere_if_there_is_no_such_run_or_tracker(tmp_path):
    with pytest.raises(ConfigError, match="expected a run's folder, with its config"):
        retell("test_trackers:Noting", tmp_path)
    with pytest.raises(ConfigError, match="trackers = 'comet': expected nothing, or each once"):
        retell("comet", tmp_path)


def test_one_that_ends_the_process_costs_the_run_nothing(raw, caplog):
    folder = run(raw(trackers="test_trackers:Leaving"))
    assert len(folder.ledger.read()) == 2
    assert "tracker test_trackers:Leaving: SystemExit: enough; the run goes on without it" in caplog.messages


def test_a_round_is_told_when_it_is_kept(raw):
    kept = []

    class Looking(Noting):
        def tell(self, line):
            kept.append(max(path.name for path in self.folder.glob("checkpoint-*")))

        def __init__(self, run):
            super().__init__(run)
            self.folder = run.folder

    globals()["Looking"] = Looking
    run(raw(trackers="test_trackers:Looking"))
    assert kept == ["checkpoint-00001.safetensors", "checkpoint-00002.safetensors"]


def test_a_run_that_is_resumed_in_its_first_round_counts_the_attempts_before(tmp_path):
    attempt = line(1, quorum=False)
    (tmp_path / "rounds.jsonl").write_text(json.dumps(attempt) + "\n")
    tell_all("test_trackers:Noting", tmp_path, [line(1, attempt=2)], resumed=True)
    assert [t[2] for t in told if t[0] == "told"] == [1.0]


def test_telling_a_finished_run_fails_if_the_tracker_does(raw):
    folder = run(raw(num_server_rounds=1))
    with pytest.raises(TrackerError, match="tracker test_trackers:Failing: OSError: the network is gone"):
        retell("test_trackers:Failing", folder.path)


def test_addresses_are_shown_without_names_and_passwords():
    assert without_secrets("at https://me:secret@host:1/x?a@b, a@b") == "at https://host:1/x?a@b, a@b"
