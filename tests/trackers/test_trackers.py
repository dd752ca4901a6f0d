"""Trackers receive the lines of rounds.jsonl, may fail, and are imported only if asked for."""

import json
import subprocess
import sys

import pytest
from engines import ROOT
from tracked import line, run, tracking

from fedgates.config import RunConfig, parse
from fedgates.errors import ConfigError
from fedgates.trackers import TrackerError, check, numbers, replay
from fedgates.util.text import without_secrets

events = []
REQUIRED = {
    "seconds": 1.0,
    "loss": 1.0,
    "density": 0.5,
    "uplink_bpp": 1.0,
    "downlink_bpp": 1.0,
    "entropy_bpp": 1.0,
    "clients_failed": 0,
}
"""What a line needs to be read back."""


class Recording:
    """A tracker of the user's own."""

    def __init__(self, run):
        self.where = run.where
        events.append(("opened", run.first_round, run.where, run.config["seed"], run.folder.is_dir()))

    def log(self, line):
        events.append(("logged", line["round"], line["megabytes"], line["accuracy"]))

    def close(self, *, finished):
        events.append(("closed", finished))


class Failing(Recording):
    def log(self, line):
        raise OSError("the network\nis gone")


class Leaving(Recording):
    def log(self, line):
        sys.exit("enough")


class Unreachable(Recording):
    def __init__(self, run):
        raise TimeoutError("nobody answers at http://me:secret@host/")


@pytest.fixture(autouse=True)
def _no_events():
    events.clear()


def log_all(trackers, folder, lines, **how):
    with tracking(trackers, folder, {"seed": 7}, **how) as log:
        for line in lines:
            log(line)


def test_a_tracker_of_the_users_own_receives_each_round_and_the_end(raw):
    folder = run(raw(trackers="test_trackers:Recording=here and there", seed=3))
    lines = folder.round_log.read()
    moved = [line["uplink_bytes"] + line["downlink_bytes"] for line in lines]
    assert events == [
        ("opened", 1, "here and there", 3, True),
        ("logged", 1, moved[0] / 1e6, lines[0]["accuracy"]),
        ("logged", 2, sum(moved) / 1e6, lines[1]["accuracy"]),
        ("closed", True),
    ]


@pytest.mark.slow
def test_a_resumed_run_passes_its_first_round_and_counts_bytes_moved_before(raw):
    first = run(raw(num_server_rounds=1))
    run(raw(trackers="test_trackers:Recording", resume=str(first.path), num_server_rounds=2))
    moved = [line["uplink_bytes"] + line["downlink_bytes"] for line in first.round_log.read()]
    assert events[0][1] == 2
    assert [(t[1], t[2]) for t in events if t[0] == "logged"] == [(2, sum(moved) / 1e6)]


def test_attempts_without_a_quorum_count_their_bytes_and_are_not_logged(tmp_path):
    log_all("test_trackers:Recording", tmp_path, [line(1, quorum=False), line(1, attempt=2), line(2)])
    assert [(t[1], t[2]) for t in events if t[0] == "logged"] == [(1, 1.0), (2, 1.5)]


def test_a_tracker_that_fails_is_left_out_with_a_warning(tmp_path, caplog):
    log_all("test_trackers:Failing,test_trackers:Recording", tmp_path, [line(1), line(2)])
    assert caplog.messages == ["tracker test_trackers:Failing: OSError: the network is gone; the run continues without it"]
    assert [t[0] for t in events] == ["opened", "opened", "closed", "logged", "logged", "closed"]  # the failed one, too


def test_a_tracker_is_closed_as_unfinished_if_the_run_ends_early(tmp_path):
    with pytest.raises(RuntimeError, match="quorum"), tracking("test_trackers:Recording", tmp_path, {"seed": 7}, 1):
        raise RuntimeError("quorum")
    assert events[-1] == ("closed", False)


def test_a_tracker_that_cannot_be_opened_ends_the_run_before_it_starts_and_closes_the_others(raw, tmp_path):
    with pytest.raises(ConfigError) as error:
        run(raw(trackers="test_trackers:Recording,test_trackers:Unreachable"))
    assert str(error.value) == (
        "trackers = 'test_trackers:Unreachable': expected a tracker that can be reached; TimeoutError: nobody "
        "answers at http://host/"
    )
    assert events[-1] == ("closed", False)
    assert not list(tmp_path.glob("runs/*/rounds.jsonl"))


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_package_is_one_line_before_anything_is_made(raw, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if name == "tensorboard" else name, None)
    for ours in [module for module in sys.modules if module.startswith("fedgates.trackers.")]:
        monkeypatch.delitem(sys.modules, ours)
    with pytest.raises(ConfigError) as error:
        run(raw(trackers=name))
    assert str(error.value).startswith(f"trackers = '{name}': expected an installed package; run uv sync --extra {name} (")
    assert not (tmp_path / "runs").exists()


def test_a_reference_that_is_no_class_is_refused():
    with pytest.raises(
        ConfigError, match=r"trackers = 'test_trackers:events': expected the name of a class or another callable"
    ):
        check("test_trackers:events")
    with pytest.raises(ConfigError, match=r"trackers = 'no_such_module:Class': expected a module that can be imported"):
        check("no_such_module:Class")


@pytest.mark.parametrize(
    "value", ["", "wandb", "wandb=me/project, mlflow=http://127.0.0.1:5000", "tensorboard,my.module:Class=x"]
)
def test_valid_values_of_the_key(value):
    assert parse(RunConfig, {"trackers": value}).trackers == value


@pytest.mark.parametrize("value", ["comet", "wandb,", "wandb,wandb", "tensorboard=/tmp/x", ",", "wandb mlflow", "=x"])
def test_invalid_values_of_the_key(value):
    with pytest.raises(ConfigError, match="empty, or each tracker once, separated by commas: tensorboard"):
        parse(RunConfig, {"trackers": value})


def test_numbers_are_the_finite_numbers_of_a_line():
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


@pytest.mark.slow
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


def test_a_finished_run_is_replayed_from_its_first_round_on(raw):
    folder = run(raw(num_server_rounds=2, seed=3))
    assert replay("test_trackers:Recording=later", folder.path) == 2
    lines = folder.round_log.read()
    moved = [line["uplink_bytes"] + line["downlink_bytes"] for line in lines]
    assert events == [
        ("opened", 1, "later", 3, True),
        ("logged", 1, moved[0] / 1e6, lines[0]["accuracy"]),
        ("logged", 2, sum(moved) / 1e6, lines[1]["accuracy"]),
        ("closed", True),
    ]


def test_replay_refuses_a_folder_that_is_no_run_and_unknown_trackers(tmp_path):
    with pytest.raises(ConfigError, match="expected the folder of a run, with a readable config"):
        replay("test_trackers:Recording", tmp_path)
    with pytest.raises(ConfigError, match="trackers = 'comet': expected empty, or each tracker once"):
        replay("comet", tmp_path)


def test_a_tracker_that_exits_does_not_end_the_run(raw, caplog):
    folder = run(raw(trackers="test_trackers:Leaving"))
    assert len(folder.round_log.read()) == 2
    assert "tracker test_trackers:Leaving: SystemExit: enough; the run continues without it" in caplog.messages


def test_a_round_is_logged_after_its_checkpoint(raw):
    kept = []

    class Looking(Recording):
        def log(self, line):
            kept.append(max(path.name for path in self.folder.glob("checkpoint-*")))

        def __init__(self, run):
            super().__init__(run)
            self.folder = run.folder

    globals()["Looking"] = Looking
    run(raw(trackers="test_trackers:Looking"))
    assert kept == ["checkpoint-00001.safetensors", "checkpoint-00002.safetensors"]


def test_a_run_that_is_resumed_in_its_first_round_counts_the_attempts_before(tmp_path):
    attempt = line(1, quorum=False, **REQUIRED)
    (tmp_path / "rounds.jsonl").write_text(json.dumps(attempt) + "\n")
    log_all("test_trackers:Recording", tmp_path, [line(1, attempt=2)], resumed=True)
    assert [t[2] for t in events if t[0] == "logged"] == [1.0]


def test_replay_fails_if_a_tracker_fails(raw):
    folder = run(raw(num_server_rounds=1))
    with pytest.raises(TrackerError, match="tracker test_trackers:Failing: OSError: the network is gone"):
        replay("test_trackers:Failing", folder.path)


def test_addresses_are_shown_without_names_and_passwords():
    assert without_secrets("at https://me:secret@host:1/x, a@b") == "at https://host:1/x, a@b"
    for secret in ("https://me:pa/ss@host", "https://me:p@ss@host", "mlflow=me:pass@host", "https://host/?TOKEN=pass&x=1"):
        assert "ss" not in without_secrets(f"at {secret} here")
        assert without_secrets(f"at {secret} here").endswith(" here")


@pytest.mark.parametrize(
    ("address", "instead"),
    [
        (
            "mlflow=https://me:secret@host/x",
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_URI",
        ),
        ("tensorboard, mlflow=postgresql://secret@host/x", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        ("test_trackers:Recording=https://me:secret@host/x", "set an environment variable that the tracker reads"),
        ("mlflow=http://me:sec/ret@host/x", "MLFLOW_TRACKING_PASSWORD"),
        ("mlflow=http://me:sec@ret@host/x", "MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_an_address_with_a_password_is_refused_without_showing_it(address, instead):
    with pytest.raises(ConfigError, match=r"^trackers = '.*//host/x': expected an address without user name") as caught:
        check(address)
    assert instead in str(caught.value)
    assert not {"secret", "sec", "ret@"} & set(str(caught.value).replace("/", " ").split())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["mlflow=me:secret@host", "mlflow=https://host/?token=secret", "mlflow:https://me:secret@host"]
)
def test_other_secrets_are_refused_without_showing_them(address):
    with pytest.raises(ConfigError) as caught:
        check(parse(RunConfig, {"trackers": address}).trackers)
    assert "secret" not in str(caught.value)


def test_a_password_that_splits_the_list_is_not_shown_either():
    with pytest.raises(ConfigError) as caught:
        parse(RunConfig, {"trackers": "mlflow=https://me:sec,ret@host/x"})
    assert "ret@" not in str(caught.value)
