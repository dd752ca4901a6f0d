"""`fedgates runs`, `report` and `cost`, and what all commands share."""

import csv
import errno
import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from command_line import command, refused

from fedgates.config import DEFAULT_STRATEGY
from fedgates.runs.cost import FRAMING, device_round, round_seconds
from fedgates.runs.listing import find_run, follow_rounds
from fedgates.runs.round_log import RoundLog
from fedgates.util.files import locked

ROOT = Path(__file__).resolve().parents[2]


# --- runs


def test_runs_lists_the_runs_in_a_folder(capsys, trained):
    code, out, _ = command(capsys, "runs", "--folder", trained.parent)
    assert code == 0
    header, row = out.splitlines()
    assert header.split()[:2] == ["run", "method"]
    assert row.split()[:4] == [trained.name, DEFAULT_STRATEGY, "digits", "8/8"]
    code, out, _ = command(capsys, "runs", "--folder", trained.parent, "--json")
    (found,) = json.loads(out)
    lines = RoundLog(trained).read()
    assert found["bytes"] == sum(line["uplink_bytes"] + line["downlink_bytes"] for line in lines)
    assert (found["metric"], found["reached"]) == ("accuracy", lines[-1]["accuracy"])
    assert found["model_bytes"] == (trained / "model.fedgates").stat().st_size


def test_runs_are_selected_and_sorted(capsys, trained, tmp_path):
    config = json.loads((trained / "config.json").read_text())
    for name, epochs in (("a", 1), ("b", 3), ("c", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({**config, "local-epochs": epochs}))
        (tmp_path / name / "rounds.jsonl").write_text((trained / "rounds.jsonl").read_text())
    some = ("runs", "--folder", tmp_path, "--where", "local-epochs>1", "--where", "strategy=" + config["strategy"])
    code, out, err = command(capsys, *some, "--sort", "local-epochs", "--reverse", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, err, [row["name"] for row in rows]) == (0, "", ["b", "c"])
    assert float(rows[0]["accuracy"]) == RoundLog(trained).read()[-1]["accuracy"]
    _, out, _ = command(capsys, *some, "--sort", "local-epochs")
    assert [row.split()[0] for row in out.splitlines()] == ["run", "c", "b"]
    _, out, _ = command(capsys, *some, "--reverse", "--json")
    assert sorted(row["name"] for row in json.loads(out)) == ["b", "c"]
    for bad in (("--sort", "x"), ("--where", "x"), ("--where", "x=1"), ("--csv", "--json")):
        assert refused(capsys, *some, *bad)


def test_the_list_of_an_empty_folder(capsys, tmp_path):
    (tmp_path / "other").mkdir()
    assert command(capsys, "runs", "--folder", tmp_path, "--json") == (0, "[]\n", "")
    code, _, err = command(capsys, "runs", "--folder", tmp_path)
    assert (code, err) == (0, f"fedgates: no runs in {tmp_path}; runs of a study are in its subfolders SCENARIO/METHOD\n")
    code, _, err = command(capsys, "runs", "--folder", tmp_path / "absent")
    assert (code, err) == (
        2,
        f"fedgates: --folder = '{tmp_path}/absent': expected an existing folder; the first run creates it\n",
    )


@pytest.mark.parametrize(
    ("damage", "wrong"),
    [
        (b"null\n", "not a JSON object"),
        (b"[]\n", "not a JSON object"),
        (b"{}\n", "round is missing"),
        (b"no json\n", "not a JSON object"),
        (b'{"round": null}\n', "round = null: expected a whole number from 1 to 1,000,000,000"),
        (b"\xff\xfe\n", "not a JSON object"),
        (b"[" * 100_000 + b"\n", "not a JSON object"),
    ],
)
def test_every_command_names_a_damaged_log(capsys, trained, tmp_path, damage, wrong):
    (tmp_path / "sound").symlink_to(trained)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text((trained / "config.json").read_text())
    (tmp_path / "bad" / "rounds.jsonl").write_bytes(damage)
    named = f"left out, because it cannot be read: rounds.jsonl, line 1: {wrong}\n"
    code, out, err = command(capsys, "runs", "--folder", tmp_path, "--json")
    assert (code, err) == (0, f"fedgates: bad: {named}")
    assert {each["name"]: each["rounds"] for each in json.loads(out)} == {"sound": 8, "bad": 0}
    code, out, err = command(capsys, "report", tmp_path / "bad")
    assert (code, err) == (0, f"fedgates: {named}")
    assert "0 of 8 rounds done, ended early" in out
    code, out, err = command(capsys, "cost", tmp_path / "bad")
    assert (code, out) == (2, "")
    expected = f"a run with a valid rounds.jsonl; rounds.jsonl, line 1: {wrong}"
    assert err == f"fedgates: run = '{tmp_path}/bad': expected {expected}\n"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("", ", with a readable config.json"),
        ("[]", ", with a readable config.json"),
        ("[" * 100_000, ", with a readable config.json"),
        ("{}", "; strategy in its config.json is not text"),
        ('{"seed": 1}', "; strategy in its config.json is not text"),
        ('{"strategy": 1, "dataset": 2, "seed": "x"}', "; strategy in its config.json is not text"),
        ('{"strategy": "a", "dataset": "b", "seed": "x"}', "; seed in its config.json is not a whole number"),
    ],
)
def test_a_folder_without_a_valid_config_is_skipped_in_the_list_and_refused_by_report(capsys, tmp_path, config, why):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text(config)
    assert command(capsys, "runs", "--folder", tmp_path, "--json") == (0, "[]\n", "")
    code, out, err = command(capsys, "report", tmp_path / "bad")
    assert (code, out) == (2, "")
    assert err == f"fedgates: run = '{tmp_path}/bad': expected the folder of a run{why}\n"


def test_names_in_the_list_cannot_move_the_cursor(capsys, trained, tmp_path):
    (tmp_path / "run\x1b[2J").mkdir()
    config = json.loads((trained / "config.json").read_text()) | {"strategy": "x\x1b[2J\n\u202e", "dataset": "y" * 500}
    (tmp_path / "run\x1b[2J" / "config.json").write_text(json.dumps(config))
    code, out, _ = command(capsys, "runs", "--folder", tmp_path)
    assert code == 0
    assert len(out.splitlines()) == 2
    assert out.replace("\n", "").isprintable()
    assert len(out) < 500


def test_last_is_the_run_that_started_last(tmp_path, trained):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text((trained / "config.json").read_text())
        time.sleep(0.02)
    (tmp_path / "first" / "report.html").write_text("")
    assert find_run("last", tmp_path) == tmp_path / "second"


def test_the_error_for_a_run_without_a_model_has_its_progress(capsys, monkeypatch, trained, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = tmp_path / "fedgates" / "runs" / "a-run"
    run.mkdir(parents=True)
    (run / "config.json").write_text((trained / "config.json").read_text())
    (tmp_path / "image.png").write_text("")
    (run / "rounds.jsonl").write_text("")
    has = "a-run has 0 of 8 rounds"
    expected = f"fedgates: MODEL = 'last': expected a run with a model.fedgates; {has}"
    for arguments in (["inspect", "last"], ["predict", "last", tmp_path / "image.png"], ["export", "last", "--to", "onnx"]):
        assert command(capsys, *arguments) == (2, "", f"{expected}\n")
        with locked(run / ".lock"):
            assert command(capsys, *arguments) == (2, "", f"{expected}, running\n")
    expected = f"fedgates: run = 'a-run': expected a run with at least one reply from a client; {has}\n"
    assert command(capsys, "cost", "a-run") == (2, "", expected)


@pytest.mark.slow
def test_runs_are_compared_by_name(capsys, monkeypatch, trained, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fedgates" / "runs").mkdir(parents=True)
    (tmp_path / "fedgates" / "runs" / "a-run").symlink_to(trained)
    for name in ("last", "a-run"):
        code, out, err = command(capsys, "compare", name, "--json")
        assert (code, err) == (0, "written: comparison\n")
        assert json.loads(out) == json.loads((tmp_path / "comparison" / "results.json").read_text())
        code, out, err = command(capsys, "compare", name)
        assert (code, err) == (0, "")
        assert out.startswith(f"# 1 run\n\n`fedgates compare {name}`\n")
        assert "written: comparison" in out
    code, out, err = command(capsys, "compare", "b-run")
    assert (code, out) == (2, "")
    where = f"{tmp_path}/fedgates/runs"
    assert err == f"fedgates: run = 'b-run': expected the folder of a run, the name of a run in {where}, or \"last\"\n"


# --- report


def test_report_prints_the_summary_and_writes_the_page(capsys, trained):
    (trained / "report.html").unlink(missing_ok=True)
    code, out, err = command(capsys, "report", trained)
    assert code == 0, err
    assert f"{DEFAULT_STRATEGY}, 8 rounds" in out
    assert f"written: {trained / 'report.html'}" in out
    assert (trained / "report.html").read_text().lower().startswith("<!doctype html>")


def test_report_prints_the_summary_if_the_page_cannot_be_written(capsys, monkeypatch, trained):
    def forbidden(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("fedgates.cli.follow.write_page", forbidden)  # root may write anywhere
    unwritten = "fedgates: the page cannot be written (Read-only file system)\n"
    code, out, err = command(capsys, "report", trained)
    assert (code, err) == (1, unwritten)
    assert f"{DEFAULT_STRATEGY}, 8 rounds" in out
    assert "written" not in out
    code, out, err = command(capsys, "report", trained, "--json")
    assert (code, err) == (1, unwritten)
    assert json.loads(out)["page"] is None


def test_report_follow_json_prints_only_json_to_stdout(capsys, trained):
    code, out, err = command(capsys, "report", trained, "--follow", "--json")
    assert code == 0
    assert json.loads(out)["rounds"] == 8
    assert [row.split()[:2] for row in err.splitlines()] == [["round", f"{i}/8"] for i in range(1, 9)]


@pytest.mark.parametrize("name", ["report", "cost"])
def test_a_folder_that_is_no_run_is_one_line(capsys, tmp_path, name):
    code, out, err = command(capsys, name, tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith(f"fedgates: run = '{tmp_path}': expected the folder of a run, the name of a run in ")


@pytest.mark.parametrize("until", [8, 5])
def test_a_run_is_followed_until_its_process_has_ended(trained, tmp_path, until):
    lines = RoundLog(trained).path.read_text().splitlines(keepends=True)
    (tmp_path / "config.json").write_text((trained / "config.json").read_text())
    ledger = tmp_path / "rounds.jsonl"

    def write():
        with locked(tmp_path / ".lock"):
            started.set()
            for line in lines[:until]:
                with ledger.open("a") as file:
                    file.write(line)
                time.sleep(0.05)
            time.sleep(0.2)  # the run writes what it leaves

    started, writer = threading.Event(), threading.Thread(target=write)
    writer.start()
    started.wait()
    seen = [(len(log.lines), changed, ended) for log, changed, ended in follow_rounds(tmp_path, pause=0.01)]
    writer.join()
    counts = [count for count, changed, _ in seen if changed]
    assert counts[-1] == until
    assert counts == sorted(set(counts))
    assert len(counts) > 2
    assert [ended for *_, ended in seen] == [False] * (len(seen) - 1) + [True]


# --- cost


def test_cost_is_bytes_over_speed(capsys, trained):
    code, out, _ = command(capsys, "cost", trained, "--up", 10, "--down", 40, "--slower", 5, "--json")
    assert code == 0
    found = json.loads(out)
    lines = RoundLog(trained).read()
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


def test_cost_includes_messages_to_evaluate(trained):
    line = RoundLog(trained).read()[0]
    evaluating = {**line, "clients_evaluating": 5, "evaluation_downlink_bytes": 1000}
    plain, found = device_round([line]), device_round([evaluating])
    assert found.down == plain.down + 100
    assert (plain.messages, found.messages) == (1, 1.5)
    assert round_seconds(found, 8, 8).framing == pytest.approx(1.5 * round_seconds(plain, 8, 8).framing)


def test_there_is_no_cost_without_messages_or_replies(trained):
    line = RoundLog(trained).read()[0]
    assert device_round([]) is None
    assert device_round([{**line, "clients_selected": 0}]) is None
    assert device_round([{**line, "clients_counted": 0, "clients_rejected": 0}]) is None


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
        (["--up", "nan"], "expected finite numbers"),
        (["--slower", "inf"], "expected finite numbers"),
    ],
)
def test_invalid_speeds(capsys, trained, arguments, reason):
    code, _, err = command(capsys, "cost", trained, *arguments)
    assert code == 2
    assert reason in err


# --- all of them


def test_an_unexpected_error_is_one_line(capsys, monkeypatch, tmp_path):
    def unlucky(_):
        raise RuntimeError("out of\nluck")

    monkeypatch.setattr("fedgates.runs.listing.list_runs", unlucky)
    assert command(capsys, "runs", "--folder", tmp_path) == (1, "", "fedgates: RuntimeError: out of luck\n")


ARGUMENTS = {
    "report": "A run: its folder, its",
    "cost": "A run: its folder, its",
    "predict": "Images, arrays or a table.",
} | dict.fromkeys(("inspect", "export"), "A model.fedgates, or a run")


@pytest.mark.slow
def test_help_needs_nothing_heavy():
    for name in ("run", "new", "config", "runs", "report", "cost", "data", "inspect", "predict", "export", "compare"):
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
        assert ARGUMENTS.get(name, "") in " ".join(done.stdout.split())
        assert done.stdout.splitlines()[-1] == "0 set()"
