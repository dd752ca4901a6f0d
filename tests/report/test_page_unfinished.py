"""Pages of runs that are under way, and of those that ended early: they say so, and claim no end's result."""

import shlex

import pytest
from flwr.common.config import parse_config_args
from page_folders import CONFIG, line, page_of, write_folder, write_model

from fedgates.report import write_page
from fedgates.report.run_data import gather
from fedgates.report.settings import command


def refreshes(page):
    return [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "refresh"]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "Still running: no round has ended yet. This page"),
        ([line(1), line(2)], "Still running: round 2 of 3 has ended, and what follows is as of then. This page"),
        (
            [line(1), line(2, quorum=False), line(2, quorum=False, attempt=2)],
            "what follows is as of then. Round 2 was tried 2 times, and too few replies counted. This page",
        ),
        ([line(1), line(2), line(3)], "Still running: all 3 rounds have ended, and it is writing what it leaves. This page"),
    ],
)
def test_a_run_under_way(tmp_path, lines, says):
    page = page_of(write_folder(tmp_path, lines, CONFIG), under_way=True)
    assert says in page.says
    assert refreshes(page) == ["5"]
    assert "Ended early" not in page.says
    assert "resume=" not in page.text
    assert ("Moved so far, both ways" in page.says) == bool(lines)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "Ended early, before the first of its 3 rounds. The commands at the end go on with it."),
        ([line(1), line(2)], "Ended early, after round 2 of 3. The commands at the end go on with it."),
        (
            [line(1), line(2, quorum=False)],
            "Ended early, after round 1 of 3. Round 2 was tried 1 time, and too few replies counted. The commands",
        ),
    ],
)
def test_a_run_that_ended_early(tmp_path, lines, says):
    folder = write_folder(tmp_path, lines, CONFIG | {"seed": 7, "resume": "/elsewhere"})
    page = page_of(folder)
    assert says in page.says
    assert not refreshes(page)
    assert "To go on with it:" in page.says
    words = shlex.split(command(gather(folder), resume=True).replace("\\\n", ""))
    asked = parse_config_args(words[words.index("--run-config") + 1 :])
    assert (asked["resume"], asked["seed"]) == (str(tmp_path), 7)


@pytest.mark.parametrize("config", [CONFIG, CONFIG | {"num-server-rounds": 2}, None])
def test_a_run_that_reached_its_end_has_nothing_of_it(tmp_path, config):
    page = page_of(write_folder(tmp_path, [line(1), line(2), line(3)], config))
    assert "Still running" not in page.says
    assert "Ended early" not in page.says
    assert "To go on with it" not in page.says
    assert not refreshes(page)


def test_the_tab_says_how_far_it_is(tmp_path):
    folder = write_folder(tmp_path, [line(1)], CONFIG)
    assert "<title>fedpm on digits, round 1 of 3 – fedgates</title>" in write_page(folder, under_way=True).read_text()  # noqa: RUF001
    folder = write_folder(tmp_path, [line(1), line(2), line(3)], CONFIG)
    assert "<title>fedpm on digits – fedgates</title>" in write_page(folder).read_text()  # noqa: RUF001


def test_a_run_under_way_whose_config_says_no_rounds(tmp_path):
    page = page_of(write_folder(tmp_path, [line(1)]), under_way=True)
    assert "Still running: round 1 has ended, and what follows is as of then." in page.says


def test_a_model_of_an_earlier_round_is_called_so(tmp_path):
    write_folder(tmp_path, [line(i) for i in range(1, 5)], CONFIG | {"num-server-rounds": 9})
    write_model(tmp_path)  # after round 3; the run was resumed since then
    page = page_of(tmp_path, under_way=True)
    assert "its 1,000 parameters in float32: 4.00 kB, of round 3" in page.says
    assert "Density of each layer of the model after round 3" in page.says


def test_the_page_of_a_run_that_has_ended_in_the_meantime_replaces_the_older_one(tmp_path):
    folder = write_folder(tmp_path, [line(1)], CONFIG)
    write_page(folder, under_way=True)
    write_page(folder)
    assert "Still running" not in (folder / "report.html").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "report.html", "rounds.jsonl"]
