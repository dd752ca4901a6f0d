"""Files of a run with one damaged value: the damage is named, the rest is shown, and every error is one line."""

import contextlib
import io
import json
import re

import pytest
from damaged_values import HOSTILE, damaged
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page_folders import CONFIG, CONFUSION, Page, full, line, page_of, predictions, write_folder

from fedgates.cli import main
from fedgates.runs.round_log import RoundLog

SOUND = {
    "config.json": CONFIG | {"target-density": 0.1, "resume": "", "software": {"torch": "2.5.1", "commit": "0" * 40}},
    "predictions.json": predictions((0, 1), (1, 1)),
    "confusion.json": CONFUSION,
}


def output_of(*arguments):
    """Run a command and return its exit code, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return full(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def lines(folder):
    return RoundLog(folder).read()


def write(folder, lines, name="", content=""):
    """Write an undamaged folder, then other contents into one of its files."""
    (folder / "report.html").unlink(missing_ok=True)
    write_folder(folder, lines, SOUND["config.json"], SOUND["predictions.json"], confusion=CONFUSION)
    if name:
        (folder / name).write_text(content)


def check(folder):
    """Run every command that reads a run: each must succeed or print one line with the error, and the page must be valid."""
    report, runs, cost = ("report", folder), ("runs", "--folder", folder.parent), ("cost", folder)
    for command in (report, (*report, "--follow", "--json"), runs, cost):
        code, out, err = output_of(*command)
        assert code in {0, 2}, (command, err)
        messages = [row for row in err.splitlines() if row.startswith("fedgates: ")]  # the others are rounds
        left_out = all(re.search("left out, because it cannot be read: |: no runs in ", row) for row in messages)
        assert len(messages) == (code == 2) or (code == 0 and left_out), command
        assert len("".join(messages)) < 1000
        assert (out + err).replace("\n", "").isprintable(), command
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert page.headings
    assert len(page.text) < 150_000


@given(data=st.data())
@settings(examples(150), suppress_health_check=list(HealthCheck))
def test_a_line_of_the_log(folder, lines, data):
    which = data.draw(st.integers(0, len(lines) - 1))
    bad = data.draw(damaged(lines[which]))
    write(folder, lines, "rounds.jsonl", "".join(json.dumps(bad if i == which else one) + "\n" for i, one in enumerate(lines)))
    check(folder)


@given(data=st.data(), name=st.sampled_from(sorted(SOUND)))
@settings(examples(100), suppress_health_check=list(HealthCheck))
def test_another_file(folder, lines, data, name):
    write(folder, lines, name, json.dumps(data.draw(damaged(SOUND[name]))))
    check(folder)


@given(
    data=st.binary(max_size=200) | st.sampled_from([b"[" * 100_000 + b"\n", b'{"round":' + b"9" * 5000 + b"}\n", b"\n" * 100])
)
@settings(examples(30), suppress_health_check=list(HealthCheck))
def test_a_log_of_anything(folder, lines, data):
    write(folder, lines)
    (folder / "rounds.jsonl").write_bytes(data)
    check(folder)


def test_a_damaged_line_is_named_by_each_command(tmp_path):
    bad = [line(1), line(2, uplink_bytes="many"), line(3, failed=["gone"])]
    folder = write_folder(tmp_path / "run", bad, CONFIG)
    wrong = 'rounds.jsonl, line 2: uplink_bytes = "many": expected a whole number from 0 to 1,000,000,000,000,000,000'
    left_out = f"left out, because it cannot be read: {wrong}, and 1 more"
    code, out, err = output_of("report", folder)
    assert (code, err) == (0, f"fedgates: {left_out}\n")
    assert "fedpm, 1 round " in out
    assert output_of("runs", "--folder", tmp_path)[2] == f"fedgates: run: {left_out}\n"
    code, out, err = output_of("cost", folder)
    assert (code, out) == (2, "")
    assert err == f"fedgates: run = '{folder}': expected a run with a valid rounds.jsonl; {wrong}\n"
    assert json.loads(output_of("runs", "--folder", tmp_path, "--json")[1])[0]["problems"][0] == wrong
    page = page_of(folder)
    assert f"Left out, because it cannot be read: {wrong}" in page.says
    assert "rounds.jsonl, line 3: failed = a list: expected an object with a reason for each client" in page.says
    assert "1 of 3 rounds in 2.00 s" in page.says


def test_many_damaged_lines_are_counted(tmp_path):
    page = page_of(write_folder(tmp_path, [line(1), *({"round": i} for i in range(2, 1000))], CONFIG))
    assert page.says.count("Left out") == 9
    assert "Left out, because it cannot be read: rounds.jsonl: 990 more lines" in page.says


def test_unusable_values_of_the_config_are_named(tmp_path):
    bad = {"num-server-rounds": "thirty", "target-density": -1, "simulated-clients": 2.5, "eps": [1], HOSTILE: {}}
    page = page_of(write_folder(tmp_path, [line()], CONFIG | bad))
    for problem in (
        'config.json: num-server-rounds = "thirty"',
        "config.json: density.target = -1",
        "config.json: simulated-clients = 2.5",
        "config.json: fedpm.eps = a list",
    ):
        assert f"Left out, because it cannot be read: {problem}" in page.says
    assert page.says.count("Left out") == 5
    assert "seed" in page.says


@pytest.mark.parametrize(
    ("software", "problems", "shown"),
    [
        ({"torch": "2.5.1", "flwr": 1.5, "commit": None}, ["software.flwr = 1.5", "software.commit = null"], ["torch"]),
        ({HOSTILE: ["1.0"], "python": "3.11.9"}, ["software.<script>alert(1)</script>"], ["python"]),
        (["torch"], ["software = a list"], []),
        (None, ["software = null"], []),
        ("torch 2.5.1", ['software = "torch 2.5.1"'], []),
    ],
)
def test_damaged_software_is_named_and_the_rest_of_it_is_shown(tmp_path, software, problems, shown):
    page = page_of(write_folder(tmp_path, [line()], CONFIG | {"software": software}))
    assert page.says.count("Left out") == len(problems)
    for problem in problems:
        assert f"Left out, because it cannot be read: config.json: {problem}" in page.says
    assert "All 6 keys" in page.says
    assert ("Software of the run" in page.says) == bool(shown)
    assert all(f"{name} {software[name]}" in page.says for name in shown)


def test_much_damaged_software_is_counted(tmp_path):
    software = {f"package-{i}": i for i in range(30)} | {f"sound-{i}": "1.0" for i in range(30)}
    page = page_of(write_folder(tmp_path, [line()], CONFIG | {"seed": [], "software": software}))
    assert page.says.count("Left out") == 9
    assert "Left out, because it cannot be read: config.json: 23 more keys" in page.says
    assert "sound-19 1.0 and 10 more" in page.says


@pytest.mark.slow
def test_a_text_of_a_megabyte_is_cut_everywhere(tmp_path):
    long = HOSTILE + "x" * 1_000_000
    config = CONFIG | dict.fromkeys(["strategy", "dataset", "model", "data-dir", long], long) | {"software": {long: long}}
    wrong = {"rejected": {long: long}, "failed": {"1": long}, "evaluation_failed": {"2": long}}
    found = {long: {"examples": 5, "accuracy": 0.5, "loss": 1.0}}
    lines = [
        line(i, uplink={long: {"messages": 3, "bytes": 30}}, client_evaluations=found, **wrong) | {long: long} for i in (1, 2)
    ]
    folder = write_folder(tmp_path / "run", lines, config, predictions((0, 1), classes=(long, long)))
    page = page_of(folder)
    assert len(page.text) < 60_000
    assert "The command is too long for this page; config.json has all of its values." in page.says
    for command in (("report", folder), ("runs", "--folder", tmp_path), ("cost", folder), ("report", folder, "--follow")):
        code, out, err = output_of(*command)
        assert (code, err) == (0, "")
        assert len(out) < 6_000
        assert out.replace("\n", "").isprintable()
