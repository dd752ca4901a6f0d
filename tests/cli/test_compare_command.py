"""`fedgates compare`, as a user meets it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fedgates.cli import main
from fedgates.compare import read_study
from fedgates.flower.study import _check, study_folder

ROOT = Path(__file__).resolve().parents[2]
STUDY = """
title = "Two methods"
clients = 3
seeds = [1, 2]
targets = [0.0]
[config]
num-server-rounds = 2
samples-per-client = 20
local-epochs = 1
[methods.fedpm]
strategy = "fedpm"
[methods.fedavg]
strategy = "fedavg"
learning-rate = LEARNING_RATE
"""
APP = """
from fedgates.flower import make_client_app, make_server_app
METHODS = {"fedpm": "strategies.fedpm:FedPM", "fedavg": "strategies.fedavg:FedAvg", "unlucky": "methods_of_mine:Unlucky"}
server, client = make_server_app(METHODS), make_client_app(METHODS)
"""
METHODS = """
from fedgates.strategies.fedavg import FedAvg
class Unlucky(FedAvg):
    def aggregate(self, *arguments):
        raise RuntimeError("out of luck")
"""


def test_help_imports_nothing_heavy():
    code = """
import sys
from fedgates.cli import main
try:
    main(["compare", "--help"])
except SystemExit as end:
    print(end.code, {"torch", "flwr", "numpy", "matplotlib"} & {*sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stderr == ""
    assert "STUDY.toml|RUN" in done.stdout
    assert "Example: fedgates compare benchmarks/study/digits_codecs.toml" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 set()"


@pytest.fixture
def command(capsys):
    """Runs the command: exit code, standard output, and standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main([*map(str, arguments)])
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare"], "Missing argument"),
        (["nosuch"], "No such command 'nosuch'."),
        (["compare", "--workers", "0", "a.toml"], "Invalid value for '--workers'"),
        (["compare", "/nosuch.toml"], "study = '/nosuch.toml': expected a readable TOML file"),
        (["compare", "/nosuch"], "run = '/nosuch': expected the folder of a run"),
        (["compare", "/nosuch.toml", "/nosuch"], "expected one study file (*.toml), or one or more finished runs"),
        (["compare", "/nosuch", "--out", "/dev/null"], "--out = '/dev/null': expected a writable folder"),
        (
            ["compare", "/nosuch", "--out", "/dev/null/~nobody-here"],
            "--out = '/dev/null/~nobody-here': expected a writable folder",
        ),
        (["runs", "--folder", "~nobody-here/x"], "--folder = '~nobody-here/x': expected an existing folder"),
        (["data", "--app", "~nobody-here/x"], "app = '~nobody-here/x': expected the folder of a Flower app"),
    ],
)
def test_an_error_of_the_user_is_one_line(command, arguments, message):
    code, out, err = command(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"fedgates: {message}")


def test_help_without_a_command(command):
    code, out, err = command()
    assert code == 2
    assert "compare" in out + err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "file"), [(None, "table.md"), ("--json", "results.json"), ("--csv", "results.csv"), ("--latex", "table.tex")]
)
def test_finished_runs_are_printed_in_a_format(command, trained, tmp_path, option, file):
    code, out, err = command("compare", trained, "--out", tmp_path / "out", *([option] if option else []))
    written, where = (tmp_path / "out" / file).read_text(), f"written: {tmp_path / 'out'}\n"
    assert (code, out, err) == ((0, written, where) if option else (0, written + where, ""))
    assert command("compare", trained, "--json", "--latex")[0] == 2


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "study").glob("*.toml")), ids=lambda path: path.stem)
def test_the_studies_of_the_benchmarks_can_be_run(path, monkeypatch):
    monkeypatch.syspath_prepend(path.parent)  # as the first line of uneven_cnn.toml has it: a network beside the study
    data = os.environ.get("FEDGATES_TEST_DATA")
    every = read_study(path).jobs()
    jobs = [job for job in every if job.seed == every[0].seed and (data or job.config.get("dataset") != "mnist")]
    found = _check(ROOT, [replace(job, config={**job.config, "data-dir": data or "/nowhere"}) for job in jobs])
    assert not isinstance(found, str), found


@pytest.fixture
def place(tmp_path):
    """An app of one's own, and a study."""
    (tmp_path / "pyproject.toml").write_text(
        "[tool.flwr.app.components]\nserverapp = 'app_of_mine:server'\nclientapp = 'app_of_mine:client'\n"
    )
    (tmp_path / "app_of_mine.py").write_text(APP)
    (tmp_path / "methods_of_mine.py").write_text(METHODS)
    (tmp_path / "two.toml").write_text(STUDY.replace("LEARNING_RATE", "0.1"))
    return tmp_path


def stamps(folder):
    """When each run of a study was written."""
    return {str(path.parent.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("config.json"))}


@pytest.mark.slow
def test_a_study_from_end_to_end(command, place):
    runs, out = study_folder(place / "runs", place, place / "two.toml"), place / "two"
    arguments = ["compare", place / "two.toml", "--app", place, "--runs", place / "runs", "--workers", 2]

    code, printed, messages = command(*arguments)
    assert code == 0, messages
    assert "4 runs: 0 reused, 4 to run" in messages
    assert "done: fedavg / seed 2" in messages
    first = stamps(runs)
    names = [f"default/{method}/seed{seed}" for method in ("fedavg", "fedpm") for seed in (1, 2)]
    assert list(first) == names
    files = {"config.json", "log.txt", "rounds.jsonl", "curves.png"}
    assert all(files <= {path.name for path in (runs / name).iterdir()} for name in names)
    assert "round 2/2" in (runs / names[0] / "log.txt").read_text()
    table = (out / "table.md").read_text()
    assert table in printed
    assert table.startswith(f"# Two methods\n\n`fedgates compare {place / 'two.toml'} --app {place}`\n")
    assert {path.name for path in out.glob("*.png")} == {
        "accuracy-bytes.png",
        "accuracy-rounds.png",
        "model_density-rounds.png",
    }
    results = json.loads((out / "results.json").read_text())["scenarios"]["default"]
    lines = [json.loads(line) for line in (runs / "default/fedpm/seed2/rounds.jsonl").read_text().splitlines()]
    assert results["fedpm"]["seeds"][1]["metric"] == lines[-1]["accuracy"]
    assert results["fedpm"]["seeds"][1]["bytes_up"] == sum(line["uplink_bytes"] for line in lines)

    # again: nothing runs
    code, printed, messages = command(*arguments)
    assert (code, stamps(runs)) == (0, first)
    assert "4 runs: 4 reused, 0 to run" in messages
    assert (out / "table.md").read_text() == table

    # a run that is not whole, a method with another config, and one that fails, which does not hurt the others
    shutil.move(runs / "default/fedpm/seed1", runs / "default/fedpm/seed1.part")
    unlucky = "[methods.'un lucky']\nstrategy = 'unlucky'\n"
    (place / "two.toml").write_text(STUDY.replace("LEARNING_RATE", "0.2") + unlucky)
    code, printed, messages = command(*arguments)
    second = stamps(runs)
    assert code == 1
    assert "6 runs: 1 reused, 5 to run" in messages
    assert [name for name in names if second[name] != first[name]] == [*names[:2], "default/fedpm/seed1"]
    rows = [[row for row in text.splitlines() if row.startswith("| ")] for text in (table, printed)]
    assert [row.split(" | ")[0] for row in rows[1]] == ["| method", "| fedpm", "| fedavg"]
    assert rows[0][1] == rows[1][1]  # done anew, the same came out
    assert rows[0][2] != rows[1][2]
    log = runs / "default/un-lucky/seed1.part/log.txt"
    failed = f"failed: un lucky / seed 1: RuntimeError: out of luck ({log})"
    assert failed in messages.splitlines()
    assert "Traceback" in log.read_text()
    assert failed in (out / "table.md").read_text()

    # the runs by themselves, as a comparison of their own
    code, printed, messages = command("compare", *(runs / name for name in names), "--out", place / "own")
    assert (code, messages) == (0, "")
    assert printed.startswith("# 4 runs\n")
    named = [row.split(" | ")[0] for row in printed.splitlines() if row.startswith("| ")][1:]
    assert named == ["| fedavg, learning-rate 0.2", "| fedpm, learning-rate 0.1"]
