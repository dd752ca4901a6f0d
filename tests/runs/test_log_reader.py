"""Lines of a ledger as those who look at a run find them: read as they come, each checked."""

import json

import numpy as np
import pytest

from fedgates.runs.log_reader import LogReader, problem, read
from fedgates.runs.round_log import RoundLog, RoundRecord
from fedgates.types import Update, pack
from fedgates.util.files import write_atomically

LINE = {
    "round": 1,
    "seconds": 2.0,
    "uplink_bytes": 3_000,
    "downlink_bytes": 8_000,
    "clients_selected": 4,
    "clients_counted": 3,
    "clients_rejected": 0,
    "clients_failed": 1,
}


def append(folder, *texts):
    with (folder / "rounds.jsonl").open("a", encoding="utf-8") as file:
        file.write("".join(texts))


def line(server_round):
    return json.dumps({**LINE, "round": server_round}) + "\n"


def rounds_of(lines):
    return [one["round"] for one in lines.sound]


def test_each_look_reads_what_was_written_since(tmp_path):
    lines = LogReader(tmp_path)
    assert not lines.look()
    append(tmp_path, line(1))
    assert lines.look()
    assert not lines.look()
    append(tmp_path, line(2), line(3)[:20])
    assert lines.look()
    assert rounds_of(lines) == [1, 2]
    append(tmp_path, line(3)[20:])
    assert lines.look()
    assert rounds_of(lines) == [1, 2, 3]
    assert not lines.problems


def test_only_what_was_appended_is_read(tmp_path, monkeypatch):
    append(tmp_path, *map(line, range(1, 1001)))
    lines = read(tmp_path)
    append(tmp_path, line(1001))
    read_again = []
    monkeypatch.setattr("fedgates.runs.log_reader.json.loads", lambda text, **_: read_again.append(text) or dict(LINE))
    assert lines.look()
    assert read_again == [line(1001).encode().removesuffix(b"\n")]


def test_a_run_that_takes_lines_back_is_read_anew(tmp_path):
    append(tmp_path, *map(line, range(1, 6)))
    lines = read(tmp_path)
    RoundLog(tmp_path).forget_after(3)
    assert lines.look()
    assert rounds_of(lines) == [1, 2, 3]
    append(tmp_path, line(4))
    assert lines.look()
    assert rounds_of(lines) == [1, 2, 3, 4]


def test_a_file_written_anew_and_longer_is_read_anew(tmp_path):
    append(tmp_path, line(1))
    lines = read(tmp_path)
    write_atomically(tmp_path / "rounds.jsonl", "".join(map(line, (7, 8, 9))).encode())
    assert lines.look()
    assert rounds_of(lines) == [7, 8, 9]


def test_a_damaged_line_is_named_and_the_others_are_there(tmp_path):
    append(tmp_path, line(1), "{\n", line(2), line(3).replace("3000", '"many"'), "\n", "NaN\n", line(4))
    found = read(tmp_path)
    assert rounds_of(found) == [1, 2, 4]
    assert found.problems == [
        "rounds.jsonl, line 2: no JSON object",
        'rounds.jsonl, line 4: uplink_bytes = "many": expected a whole number from 0 to 1,000,000,000,000,000,000',
        "rounds.jsonl, line 5: no JSON object",
        "rounds.jsonl, line 6: no JSON object",
    ]


def test_a_file_that_cannot_be_read_is_one_problem_until_it_can_be(tmp_path):
    (tmp_path / "rounds.jsonl").mkdir()
    lines = LogReader(tmp_path)
    assert lines.look()
    assert lines.problems == ["rounds.jsonl: Is a directory"]
    assert not lines.look()
    (tmp_path / "rounds.jsonl").rmdir()
    append(tmp_path, line(1))
    assert lines.look()
    assert (rounds_of(lines), lines.problems) == ([1], [])


SOUND = [
    {},
    {"accuracy": None, "loss": 1e30, "r2": -1e9, "density": 1, "uplink_bpp": 64.0, "quorum": False, "attempt": 3},
    {"uplink": {}, "downlink": {"votes": {"messages": 1, "bytes": 0}}, "rejected": {"3": "stale"}, "theta_histogram": [0, 5]},
    {"client_evaluations": {"0": {"examples": 5, "loss": 0.5}, "1": {"examples": 0, "loss": -1.0, "accuracy": 1.0}}},
    {"somebody's own": {"any": ["thing"]}, "another": "text"},
]


@pytest.mark.parametrize("changes", SOUND, ids=str)
def test_sound_lines(changes):
    assert problem({**LINE, **changes}) is None


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("round", 0, "round = 0: expected a whole number from 1 to 1,000,000,000"),
        ("round", True, "round = true: expected a whole number"),
        ("round", 10**12, "round = 1000000000000: expected"),
        ("seconds", None, "seconds = null: expected a number of seconds"),
        ("seconds", -1.0, "seconds = -1.0: expected"),
        ("seconds", float("nan"), "seconds = NaN: expected"),
        ("uplink_bytes", 10**400, "uplink_bytes = 1000000000000000000000000000000000000000"[:50]),
        ("uplink_bytes", 3000.0, "uplink_bytes = 3000.0: expected a whole number"),
        ("clients_counted", -1, "clients_counted = -1: expected"),
        ("accuracy", "0.5", 'accuracy = "0.5": expected a number from 0 to 1, or null'),
        ("accuracy", 1.5, "accuracy = 1.5: expected a number from 0 to 1, or null"),
        ("accuracy_sample", [0.5], "accuracy_sample = a list: expected a number from 0 to 1, or null"),
        ("loss", 1e200, "loss = 1e+200: expected a number, or null"),
        ("loss", float("inf"), "loss = Infinity: expected a number, or null"),
        ("density", False, "density = false: expected a number from 0 to 1"),
        ("downlink_bpp", -2, "downlink_bpp = -2: expected a number from 0 to a thousand million, or null"),
        ("quorum", None, "quorum = null: expected true or false"),
        ("quorum", 1, "quorum = 1: expected true or false"),
        ("attempt", 0, "attempt = 0: expected a whole number from 1"),
        ("uplink", None, "uplink = null: expected messages and bytes of each sort of payload"),
        ("uplink", {"mask": 5}, "uplink = an object: expected messages and bytes of each sort of payload"),
        ("uplink", {"mask": {"messages": 0, "bytes": 5}}, "uplink = an object: expected messages and bytes"),
        ("uplink", {"mask": {"messages": 1}}, "uplink = an object: expected messages and bytes"),
        ("rejected", ["stale"], "rejected = a list: expected a reason for each client"),
        ("failed", {"1": None}, "failed = an object: expected a reason for each client"),
        ("theta_histogram", {}, "theta_histogram = an object: expected a list of counts"),
        ("theta_histogram", [1, -1], "theta_histogram = a list: expected a list of counts"),
        ("theta_histogram", [0] * 1001, "theta_histogram = a list: expected a list of counts"),
        ("client_evaluations", {"0": {"examples": 5}}, "client_evaluations = an object: expected examples and loss of each"),
        ("client_evaluations", {"0": {"examples": 5, "loss": None}}, "client_evaluations = an object: expected examples"),
        ("client_seconds", "fast\x1b[2J\u202e", r'client_seconds = "fast\u001b[2J\u202e": expected'),
    ],
)
def test_values_that_cannot_be(key, value, says):
    found = problem({**LINE, key: value})
    assert found is not None
    assert found.startswith(says)
    assert found.isprintable()
    assert len(found) < 200


@pytest.mark.parametrize("key", LINE)
def test_keys_without_which_a_line_is_no_round(key):
    assert problem({name: value for name, value in LINE.items() if name != key}) == f"no {key}"


@pytest.mark.parametrize("value", [None, [], 5, "{}"])
def test_what_is_no_line_at_all(value):
    assert problem(value) == "no JSON object"


def test_what_a_run_writes_is_sound():
    silent = RoundRecord(1, 100)
    assert problem(silent.line(1.0, {})) is None
    tally = RoundRecord(2, 100, attempt=2)
    tally.sent(0, "votes", 36)
    tally.received("mask, packed", 49)
    told = {"loss": 1e9, "accuracy": 1.0, "seconds": 0.1}
    tally.count(Update(mask=pack(np.ones(100, dtype=bool)), num_examples=5, metrics=told))
    tally.reject(1, "stale")
    tally.fail(2, "gone")
    tally.sent_to_evaluate(0, "votes", 36)
    tally.evaluations = {0: (5, {"loss": 0.5, "accuracy": 0.2})}
    tally.theta_histogram = [100]
    assert problem(json.loads(json.dumps(tally.line(1.0, {"accuracy": 0.5, "loss": 1e30, "client_accuracy": 0.2})))) is None
