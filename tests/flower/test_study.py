"""Runs of an app on the loopback grid, each in a process of its own."""

import json
import multiprocessing
import shutil
import signal
import sys
from pathlib import PurePath

import pytest
from apps import apps_forgotten, write_app

from fedgates.compare import Job
from fedgates.errors import ConfigError
from fedgates.flower.app import load_app, run_one
from fedgates.flower.study import Outcome, StudyError, _check, _close, check_jobs, finished, lock_study, run_jobs, study_folder


@pytest.fixture(autouse=True)
def _as_before():
    with apps_forgotten():
        yield


def job(method="fedpm", seed=1, clients=4, **config):
    raw = {key.replace("_", "-"): value for key, value in config.items()} | {"seed": seed}
    return Job("A", method, seed, clients, raw, PurePath("a", method, f"seed{seed}"))


# --- checks


def test_checked_jobs_are_what_the_runs_write_down(raw, tmp_path):
    mine = job(**{k.replace("-", "_"): v for k, v in raw().items() if k != "output-dir"})
    own = write_app(tmp_path)
    (wanted,) = _check(own, [mine])
    folder = run_one(load_app(own), mine.config, mine.clients, tmp_path / "study").path
    assert finished(folder, wanted)
    assert wanted["simulated-clients"] == 4
    assert wanted["learning-rate"] == 0.05


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            job("last", lerning_rate=0.1),
            "A / last / seed 1: lerning-rate = 0.1: expected a known key; did you mean learning-rate?",
        ),
        (
            job("last", learning_rate="a"),
            "A / last / seed 1: learning-rate = 'a': expected a number of at least 0; 0 is the method's own default",
        ),
        (
            job("last", clients=1),
            "A / last / seed 1: server.min-clients = 2: expected at most 1, the number of simulated clients",
        ),
        (job("last", dataset="npz:/nosuch.npz"), "A / last / seed 1: dataset = 'npz:/nosuch.npz': expected"),
        (job("last", strategy="fedsgd"), "A / last / seed 1: strategy = 'fedsgd': expected one of"),
        (job("last", strategy="server_of_study:Broken"), "A / last / seed 1: strategy = 'server_of_study:Broken': expected"),
    ],
)
def test_the_first_job_that_cannot_run_is_named(tmp_path, bad, message):
    found = _check(write_app(tmp_path), [job(), bad])
    assert isinstance(found, str)
    assert found.startswith(message)
    assert "\n" not in found


def test_a_folder_without_an_app_is_named(tmp_path):
    assert _check(tmp_path, [job("a")]).startswith(f"app = {str(tmp_path)!r}: expected the folder of a Flower app")


# --- what is there


@pytest.fixture
def there(tmp_path):
    """A finished run of two rounds."""
    (tmp_path / "config.json").write_text(json.dumps(WANTED | {"output-dir": "/a"}))
    (tmp_path / "rounds.jsonl").write_text(f"{round_line(1)}\n{round_line(2)}\n")
    return tmp_path


def round_line(server_round):
    counts = {"clients_selected": 4, "clients_counted": 4, "clients_rejected": 0, "clients_failed": 0}
    metrics = dict.fromkeys(("accuracy", "loss", "density", "uplink_bpp", "downlink_bpp", "entropy_bpp"), 0.5)
    return json.dumps({"round": server_round, "seconds": 1.0, "uplink_bytes": 1, "downlink_bytes": 1, **counts, **metrics})


WANTED = {"strategy": "fedpm", "dataset": "digits", "seed": 1, "num-server-rounds": 2, "output-dir": "/b", "fedpm.eps": 0.1}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (WANTED, True),
        (WANTED | {"fedpm.eps": 0.2}, False),
        (WANTED | {"seed": 2}, False),
        (WANTED | {"num-server-rounds": 3}, False),
        (WANTED | {"new-key": 0}, False),
    ],
)
def test_only_a_run_of_the_same_config_is_used_again(there, wanted, found):
    assert finished(there, wanted) is found


def test_only_a_finished_run_is_used_again(there):
    (there / "rounds.jsonl").write_text(f"{round_line(1)}\n{round_line(2)}")
    assert not finished(there, WANTED)
    assert not finished(there / "nosuch", WANTED)


# --- how runs end


def part(folder, log="first\nlast\n\n"):
    path = folder.with_name(folder.name + ".part")
    run = path / "2026-fedpm"
    run.mkdir(parents=True)
    (path / "log.txt").write_text(log)
    (run / "config.json").write_text("new")
    return path


def test_a_finished_run_takes_its_place(tmp_path):
    folder, outcome = tmp_path / "seed1", Outcome({}, {}, {})
    folder.mkdir()
    (folder / "old").touch()
    path = part(folder)
    _close(job(), 0, folder, outcome)
    assert outcome == Outcome({job(): folder}, {}, {})
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "log.txt"]
    assert not path.exists()


@pytest.mark.parametrize(
    ("code", "log", "reason"),
    [
        (1, "first\nlast\n\n", "last"),
        (1, "", "ended with exit code 1"),
        (-signal.SIGKILL, "last", "ended by SIGKILL"),
    ],
)
def test_a_failed_run_leaves_its_log_and_what_was_there(tmp_path, code, log, reason):
    folder, outcome = tmp_path / "seed1", Outcome({}, {}, {})
    folder.mkdir()
    path = part(folder, log)
    _close(job(), code, folder, outcome)
    assert outcome == Outcome({}, {job(): reason}, {job(): path / "log.txt"})
    assert folder.exists()
    assert (path / "log.txt").read_text() == log


def test_an_app_that_leaves_no_run_has_failed(tmp_path):
    folder, outcome = tmp_path / "seed1", Outcome({}, {}, {})
    shutil.rmtree(part(folder, "what it said\n") / "2026-fedpm")
    _close(job(), 0, folder, outcome)
    assert list(outcome.failed) == [job()]


@pytest.mark.slow
def test_an_interrupted_study_ends_its_processes(raw, tmp_path):
    jobs = {job(seed=seed, num_server_rounds=1000): tmp_path / f"seed{seed}" for seed in (1, 2)}

    def tell(seconds, _):
        if any(seconds.values()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(write_app(tmp_path), jobs, 2, tell)
    assert not multiprocessing.active_children()
    assert not any(folder.exists() for folder in jobs.values())


@pytest.mark.slow
def test_a_study_has_a_home_of_its_own(tmp_path):
    one = study_folder(tmp_path, tmp_path / "app", tmp_path / "a" / "x.toml")
    assert one == study_folder(tmp_path, tmp_path / "app", tmp_path / "a" / "x.toml")
    assert one.name.startswith("x-")
    assert (
        len(
            {
                one,
                study_folder(tmp_path, tmp_path / "other", tmp_path / "a" / "x.toml"),
                study_folder(tmp_path, tmp_path / "app", tmp_path / "x.toml"),
            }
        )
        == 3
    )


def test_a_study_is_run_by_one_process_at_a_time(tmp_path):
    folder = tmp_path / "x"
    with (
        lock_study(folder),
        pytest.raises(ConfigError, match=r"--runs = .+ expected a folder in which no other process"),
        lock_study(folder),
    ):
        pass
    with lock_study(folder):
        pass
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigError, match=r"--runs = .+ expected a writable folder"),
        lock_study(tmp_path / "file" / "x"),
    ):
        pass


@pytest.mark.slow
def test_checks_happen_elsewhere(tmp_path):
    with pytest.raises(StudyError, match=r"A / fedpm / seed 1: learning-rate = -1: expected"):
        check_jobs(write_app(tmp_path), [job(learning_rate=-1)])
    (found,) = check_jobs(tmp_path, [job()])
    assert found["learning-rate"] == 0.05
    assert "server_of_study" not in sys.modules
