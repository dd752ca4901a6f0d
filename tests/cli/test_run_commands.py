"""`fedgates runs`, `report`, `cost` and `data`."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from command_line import command

from fedgates.cost import FRAMING, device_round, seconds
from fedgates.disk import locked
from fedgates.ledger import Ledger
from fedgates.run_list import find, follow, rounds

ROOT = Path(__file__).resolve().parents[2]


# --- runs


def test_runs_are_listed(capsys, trained):
    code, out, _ = command(capsys, "runs", "--folder", trained.parent)
    assert code == 0
    header, row = out.splitlines()
    assert header.split()[:2] == ["run", "method"]
    assert row.split()[:4] == [trained.name, "fedpm", "digits", "8/8"]
    code, out, _ = command(capsys, "runs", "--folder", trained.parent, "--json")
    (found,) = json.loads(out)
    lines = Ledger(trained).read()
    assert found["bytes"] == sum(line["uplink_bytes"] + line["downlink_bytes"] for line in lines)
    assert (found["metric"], found["reached"]) == ("accuracy", lines[-1]["accuracy"])
    assert found["model_bytes"] == (trained / "model.fedgates").stat().st_size


def test_where_there_is_no_run_the_list_is_empty(capsys, tmp_path):
    (tmp_path / "other").mkdir()
    assert command(capsys, "runs", "--folder", tmp_path, "--json") == (0, "[]\n", "")
    code, _, err = command(capsys, "runs", "--folder", tmp_path / "absent")
    assert (code, err) == (2, f"fedgates: --folder = '{tmp_path}/absent': expected a folder; the first run makes it\n")


@pytest.mark.parametrize("damage", [b"null\n", b"[]\n", b"{}\n", b"no json\n", b'{"round": null}\n', b"\xff\xfe\n"])
def test_a_damaged_run_is_passed_over_and_named_where_it_is_asked_for(capsys, trained, tmp_path, damage):
    (tmp_path / "sound").symlink_to(trained)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text((trained / "config.json").read_text())
    (tmp_path / "bad" / "rounds.jsonl").write_bytes(damage)
    code, out, _ = command(capsys, "runs", "--folder", tmp_path, "--json")
    assert code == 0
    assert [each["name"] for each in json.loads(out)] == ["sound"]
    for name in ("report", "cost"):
        code, out, err = command(capsys, name, tmp_path / "bad")
        assert (code, out) == (2, "")
        assert err == f"fedgates: run = '{tmp_path}/bad': expected a run whose rounds.jsonl has a round in each line\n"


def test_the_last_run_is_the_one_that_started_last_whatever_was_looked_at_since(tmp_path, trained):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text((trained / "config.json").read_text())
        time.sleep(0.02)
    (tmp_path / "first" / "report.html").write_text("")
    assert find("last", tmp_path) == tmp_path / "second"


# --- report


def test_a_report_tells_the_run_and_writes_its_page(capsys, trained):
    (trained / "report.html").unlink(missing_ok=True)
    code, out, err = command(capsys, "report", trained)
    assert code == 0, err
    assert "fedpm, 8 rounds" in out
    assert f"written: {trained / 'report.html'}" in out
    assert (trained / "report.html").read_text().lower().startswith("<!doctype html>")


@pytest.mark.parametrize("name", ["report", "cost"])
def test_what_is_no_run_is_a_line(capsys, tmp_path, name):
    code, out, err = command(capsys, name, tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith(f"fedgates: run = '{tmp_path}': expected a run's folder, the name of one in ")


@pytest.mark.parametrize("until", [8, 5])
def test_a_run_is_followed_until_its_last_round_or_its_processes_end(trained, tmp_path, until):
    lines = Ledger(trained).path.read_text().splitlines(keepends=True)
    (tmp_path / "config.json").write_text((trained / "config.json").read_text())
    ledger = tmp_path / "rounds.jsonl"

    def write():
        with locked(tmp_path / ".lock"):
            started.set()
            for line in lines[:until]:
                with ledger.open("a") as file:
                    file.write(line)
                time.sleep(0.05)

    started, writer = threading.Event(), threading.Thread(target=write)
    writer.start()
    started.wait()
    seen = [len(found) for found in follow(tmp_path, pause=0.01)]
    writer.join()
    assert seen[-1] == until
    assert seen == sorted(set(seen))
    assert len(seen) > 2


# --- cost


def test_cost_is_bytes_over_speed(capsys, trained):
    code, out, _ = command(capsys, "cost", trained, "--up", 10, "--down", 40, "--slower", 5, "--json")
    assert code == 0
    found = json.loads(out)
    lines = Ledger(trained).read()
    up = sum(line["uplink_bytes"] for line in lines) / 80
    down = sum(line["downlink_bytes"] for line in lines) / 80
    assert (found["up"], found["down"]) == pytest.approx((up, down))
    assert found["longest_down"] == max(line["downlink_bytes"] for line in lines) / 10
    assert found["parameters"] == 85_002
    (link,) = found["links"]
    assert link["payloads"] == pytest.approx(8 * up / 10_000 + 8 * down / 40_000)
    assert link["framing"] == pytest.approx(8 * FRAMING / 10_000 + 8 * FRAMING / 40_000)
    assert link["computing"] == pytest.approx(5 * sum(line["client_seconds"] for line in lines) / 8, rel=1e-3)
    assert link["dense"] == pytest.approx(4 * 85_002 * (8 / 10_000 + 8 / 40_000))


def test_what_is_sent_to_evaluate_costs_too(trained):
    line = rounds(trained)[0]
    evaluating = {**line, "clients_evaluating": 5, "evaluation_downlink_bytes": 1000}
    plain, found = device_round([line]), device_round([evaluating])
    assert found.down == plain.down + 100
    assert (plain.messages, found.messages) == (1, 1.5)
    assert seconds(found, 8, 8).framing == pytest.approx(1.5 * seconds(plain, 8, 8).framing)


def test_cost_as_a_table(capsys, trained):
    code, out, _ = command(capsys, "cost", trained)
    assert code == 0
    assert "85,002 parameters" in out
    assert len([line for line in out.splitlines() if line.startswith("| ")]) == 2 + 4


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--down", 3], "--down needs --up"),
        (["--up", 0], "is not in the range"),
        (["--up", "nan"], "expected numbers"),
        (["--slower", "inf"], "expected numbers"),
    ],
)
def test_speeds_that_cannot_be_used(capsys, trained, arguments, reason):
    code, _, err = command(capsys, "cost", trained, *arguments)
    assert code == 2
    assert reason in err


# --- data


def test_data_says_what_each_client_would_hold(capsys, tmp_path):
    arguments = [
        "data",
        "--clients",
        5,
        "--app",
        ROOT,
        "--run-config",
        'partition="classes" seed=3',
        "--out",
        tmp_path / "out",
    ]
    code, out, err = command(capsys, *arguments, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["held"] == sum(map(sum, found["clients"]))
    assert [sum(n > 0 for n in row) for row in found["clients"]] == [2] * 5
    assert (tmp_path / "out" / "labels.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = command(capsys, *arguments[:-2])
    assert code == 0
    assert out.splitlines()[-1].startswith(f"digits: {found['held']:,} of 1,437 training examples held by 5 clients")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("partition=classes", "run-config = 'partition=classes': expected pairs such as partition=\"classes\" seed=3, in TOML"),
        ('partitoin="classes"', "partitoin = 'classes': expected a known key; did you mean partition?"),
        ('partition="shards"', "partition = 'shards': expected one of iid, dirichlet, classes"),
        ('dataset="devices:8x8x1:10"', "dataset = 'devices:8x8x1:10': expected a data set that is here"),
    ],
)
def test_data_that_cannot_be_divided_so(capsys, config, reason):
    code, out, err = command(capsys, "data", "--app", ROOT, "--run-config", config)
    assert (code, out) == (2, "")
    assert err.startswith(f"fedgates: {reason}")
    assert len(err.splitlines()) == 1


def test_data_of_what_is_no_app(capsys, tmp_path):
    code, _, err = command(capsys, "data", "--app", tmp_path)
    assert (code, err) == (2, f"fedgates: app = '{tmp_path}': expected the folder of a Flower app, with its pyproject.toml\n")


# --- all of them


def test_what_nobody_thought_of_is_a_line_too(capsys, monkeypatch, tmp_path):
    def unlucky(_):
        raise RuntimeError("out of\nluck")

    monkeypatch.setattr("fedgates.run_list.entries", unlucky)
    assert command(capsys, "runs", "--folder", tmp_path) == (1, "", "fedgates: RuntimeError: out of luck\n")


def test_help_needs_nothing_heavy():
    for name in ("runs", "report", "cost", "data", "inspect", "predict", "export", "compare"):
        code = f"""
import sys
from fedgates.cli import main
try:
    main([{name!r}, "--help"])
except SystemExit as end:
    print(end.code, {{"torch", "flwr", "numpy", "matplotlib"}} & {{*sys.modules}})
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.stderr == ""
        assert f"Example: fedgates {name} " in done.stdout
        assert done.stdout.splitlines()[-1] == "0 set()"
