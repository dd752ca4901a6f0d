"""Pages of runs that are running or ended early show their progress."""

import shlex

import pytest
from flwr.common.config import parse_config_args
from page_folders import CONFIG, line, page_of, write_folder, write_model

from fedgates.report import write_page
from fedgates.report.run_data import load_run_data


def refreshes(page):
    return [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "refresh"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "Running: no round has ended yet. This page"),
        ([line(1), line(2)], "Running: round 2 of 3 has ended, and this page shows the state after it. This page"),
        (
            [line(1), line(2, quorum=False), line(2, quorum=False, attempt=2)],
            "this page shows the state after it. Round 2 missed its quorum 2 times. This page",
        ),
        (
            [line(1), line(2), line(3)],
            "Running: all 3 rounds have ended; the model and the report are being written. This page",
        ),
    ],
)
def test_a_running_run(tmp_path, lines, expected):
    page = page_of(write_folder(tmp_path, lines, CONFIG), under_way=True)
    assert expected in page.says
    assert refreshes(page) == ["5"]
    assert "Ended early" not in page.says
    assert "resume=" not in page.text
    assert ("Bytes so far, both ways" in page.says) == bool(lines)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "Ended early, before the first of 3 rounds. A command at the end of this page resumes it."),
        ([line(1), line(2)], "Ended early, after round 2 of 3. A command at the end of this page resumes it."),
        (
            [line(1), line(2, quorum=False)],
            "Ended early, after round 1 of 3. Round 2 missed its quorum 1 time. A command",
        ),
    ],
)
def test_a_run_that_ended_early(tmp_path, lines, expected):
    folder = write_folder(tmp_path, lines, CONFIG | {"seed": 7, "resume": "/elsewhere"})
    page = page_of(folder)
    assert expected in page.says
    assert not refreshes(page)
    assert "To resume it:" in page.says
    words = shlex.split(load_run_data(folder).command(resume=True).replace("\\\n", ""))
    settings = parse_config_args(words[words.index("--run-config") + 1 :])
    assert (settings["resume"], settings["seed"]) == (str(tmp_path), 7)


@pytest.mark.parametrize("config", [CONFIG, CONFIG | {"num-server-rounds": 2}, None])
def test_a_finished_run_has_no_status(tmp_path, config):
    page = page_of(write_folder(tmp_path, [line(1), line(2), line(3)], config))
    assert "Running:" not in page.says
    assert "Ended early" not in page.says
    assert "To resume it" not in page.says
    assert not refreshes(page)


def test_the_title_has_the_progress(tmp_path):
    folder = write_folder(tmp_path, [line(1)], CONFIG)
    assert "<title>fedpm on digits, round 1 of 3 – fedgates</title>" in write_page(folder, under_way=True).read_text()  # noqa: RUF001
    folder = write_folder(tmp_path, [line(1), line(2), line(3)], CONFIG)
    assert "<title>fedpm on digits – fedgates</title>" in write_page(folder).read_text()  # noqa: RUF001


def test_a_running_run_without_a_config(tmp_path):
    page = page_of(write_folder(tmp_path, [line(1)]), under_way=True)
    assert "Running: round 1 has ended, and this page shows the state after it." in page.says


def test_a_model_of_an_earlier_round_is_named_by_its_round(tmp_path):
    write_folder(tmp_path, [line(i) for i in range(1, 5)], CONFIG | {"num-server-rounds": 9})
    write_model(tmp_path)  # after round 3; the run was resumed since then
    page = page_of(tmp_path, under_way=True)
    assert "its 1,000 parameters in float32: 4.00 kB, of round 3" in page.says
    assert "Density of each layer of the model after round 3" in page.says


def test_the_page_of_a_finished_run_replaces_the_older_one(tmp_path):
    folder = write_folder(tmp_path, [line(1)], CONFIG)
    write_page(folder, under_way=True)
    write_page(folder)
    assert "Running:" not in (folder / "report.html").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "report.html", "rounds.jsonl"]
