"""The report at the end of a run: curves, summary and page, each of which may fail without the others."""

import pytest
from page_folders import CONFIG, line, write_folder

from fedgates.report import ReportCallback

SIZE = 1000


@pytest.fixture
def end(tmp_path, caplog):
    """Return a function that ends a run with a report and returns the logged messages."""
    caplog.set_level("INFO", logger="fedgates")
    folder = write_folder(tmp_path, [line(1), line(2)], CONFIG)

    def end(*, finished=True):
        callback = ReportCallback(folder, "fedpm", SIZE)
        callback.on_start(None, 1, resumed=False)
        callback.on_round_end(line(2), None)
        assert not caplog.messages
        callback.on_end(None, finished=finished)
        return caplog.messages

    return end


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_has_curves_a_summary_and_a_page_whether_it_finished_or_not(tmp_path, end, finished):
    summary, results = end(finished=finished)
    assert "fedpm, 2 rounds" in summary
    assert results == f"results: {tmp_path}"
    assert {"curves.png", "report.html"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("failing", "name", "written"),
    [
        ("draw_curves", "curves", {"report.html"}),
        ("summary_table", "summary", {"curves.png", "report.html"}),
        ("write_page", "report", {"curves.png"}),
    ],
)
def test_a_part_that_fails_is_one_warning_and_the_others_are_made(tmp_path, end, monkeypatch, failing, name, written):
    def fail(*_, **__):
        raise OSError("the disk\nis full")

    monkeypatch.setattr(f"fedgates.report.callback.{failing}", fail)
    messages = end()
    assert [message for message in messages if message.startswith("no ")] == [f"no {name}: OSError: the disk is full"]
    assert {path.name for path in tmp_path.iterdir()} - {"config.json", "rounds.jsonl"} == written
