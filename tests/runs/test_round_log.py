"""``rounds.jsonl``: written, read strictly, and read while it grows."""

import json
import math

import pytest

from fedgates.errors import ConfigError
from fedgates.runs.round_log import FILE_NAME, LogReader, RoundLog, read_rounds
from fedgates.util.files import write_atomically

LINE = {
    "round": 1,
    "seconds": 2.0,
    "accuracy": 0.5,
    "loss": 1.0,
    "density": 0.5,
    "uplink_bytes": 3_000,
    "downlink_bytes": 8_000,
    "uplink_bpp": 1.0,
    "downlink_bpp": 2.0,
    "entropy_bpp": 1.0,
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


def rounds_of(reader):
    return [one["round"] for one in reader.lines]


def test_an_update_reads_what_was_appended(tmp_path):
    reader = LogReader(tmp_path)
    assert not reader.update()
    append(tmp_path, line(1))
    assert reader.update()
    assert not reader.update()
    append(tmp_path, line(2), line(3)[:20])
    assert reader.update()
    assert rounds_of(reader) == [1, 2]
    append(tmp_path, line(3)[20:])
    assert reader.update()
    assert rounds_of(reader) == [1, 2, 3]
    assert not reader.problems


def test_only_what_was_appended_is_read(tmp_path, monkeypatch):
    append(tmp_path, *map(line, range(1, 1001)))
    reader = read_rounds(tmp_path)
    append(tmp_path, line(1001))
    read_again = []
    monkeypatch.setattr("fedgates.runs.round_log.json.loads", lambda text, **_: read_again.append(text) or dict(LINE))
    assert reader.update()
    assert read_again == [line(1001).encode().removesuffix(b"\n")]


def test_a_log_that_drops_lines_is_read_again(tmp_path):
    append(tmp_path, *map(line, range(1, 6)))
    reader = read_rounds(tmp_path)
    RoundLog(tmp_path).forget_after(3)
    assert reader.update()
    assert rounds_of(reader) == [1, 2, 3]
    append(tmp_path, line(4))
    assert reader.update()
    assert rounds_of(reader) == [1, 2, 3, 4]


def test_a_replaced_longer_file_is_read_again(tmp_path):
    append(tmp_path, line(1))
    reader = read_rounds(tmp_path)
    write_atomically(tmp_path / "rounds.jsonl", "".join(map(line, (7, 8, 9))).encode())
    assert reader.update()
    assert rounds_of(reader) == [7, 8, 9]


def test_a_damaged_line_is_named_and_left_out(tmp_path):
    append(tmp_path, line(1), "{\n", line(2), line(3).replace("3000", '"many"'), "\n", "NaN\n", line(4))
    reader = read_rounds(tmp_path)
    assert rounds_of(reader) == [1, 2, 4]
    assert reader.problems == [
        "rounds.jsonl, line 2: not a JSON object",
        'rounds.jsonl, line 4: uplink_bytes = "many": expected a whole number from 0 to 1,000,000,000,000,000,000',
        "rounds.jsonl, line 5: not a JSON object",
        "rounds.jsonl, line 6: not a JSON object",
    ]


def test_a_file_that_cannot_be_read_is_one_problem_until_it_can_be(tmp_path):
    (tmp_path / "rounds.jsonl").mkdir()
    reader = LogReader(tmp_path)
    assert reader.update()
    assert reader.problems == ["rounds.jsonl: Is a directory"]
    assert not reader.update()
    (tmp_path / "rounds.jsonl").rmdir()
    append(tmp_path, line(1))
    assert reader.update()
    assert (rounds_of(reader), reader.problems) == ([1], [])


# --- the strict reader, and the writer


def whole(server_round, **changes):
    return {**LINE, "round": server_round, **changes}


def test_each_line_is_json(tmp_path):
    log = RoundLog(tmp_path)
    assert log.read() == []
    for server_round in (1, 2):
        log.append(whole(server_round, failed={"3": "two\nlines, ü"}))
    assert (tmp_path / FILE_NAME).name == "rounds.jsonl"
    assert [json.loads(line)["round"] for line in (tmp_path / FILE_NAME).read_text().splitlines()] == [1, 2]
    assert RoundLog(tmp_path).read() == [whole(r, failed={"3": "two\nlines, ü"}) for r in (1, 2)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_and_leaves_the_file_unchanged(tmp_path, value):
    log = RoundLog(tmp_path)
    log.append(whole(1))
    with pytest.raises(ValueError, match="not JSON compliant"):
        log.append(whole(2, loss=value))
    assert log.read() == [whole(1)]


@pytest.mark.parametrize("cut", [1, 3, 12])
def test_a_truncated_last_line_is_left_out(tmp_path, cut):
    log = RoundLog(tmp_path)
    for server_round in (1, 2):
        log.append(whole(server_round))
    log.path.write_bytes(log.path.read_bytes()[:-cut])
    assert log.read() == [whole(1)]
    log.forget_after(1)
    log.append(whole(2, again=True))
    assert log.read() == [whole(1), whole(2, again=True)]


@pytest.mark.parametrize(("after", "left"), [(0, []), (2, [1, 2]), (3, [1, 2, 3]), (9, [1, 2, 3])])
def test_forget_after(tmp_path, after, left):
    log = RoundLog(tmp_path)
    for server_round in (1, 2, 3):
        log.append(whole(server_round, loss=1 / 3))
    log.forget_after(after)
    assert log.read() == [whole(r, loss=1 / 3) for r in left]
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_forget_after_without_a_file(tmp_path):
    RoundLog(tmp_path).forget_after(3)
    assert RoundLog(tmp_path).read() == []


def test_a_damaged_line_is_an_error_in_strict_reading(tmp_path):
    append(tmp_path, line(1), '{"round": \n', line(3))
    expected = r"expected a run with a valid rounds\.jsonl; rounds\.jsonl, line 2: not a JSON object$"
    with pytest.raises(ConfigError, match=f"^run = .*: {expected}"):
        RoundLog(tmp_path).read()
    with pytest.raises(ConfigError, match=f"^resume = .*: {expected}"):
        RoundLog(tmp_path).forget_after(1)
