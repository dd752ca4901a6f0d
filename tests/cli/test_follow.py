"""`fedgates report` of a run under way: followed in terminals of two sizes and in a pipe, stopped, and its page meanwhile."""

import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from command_line import command

from fedgates.cli import follow
from fedgates.cli.follow import write_current_page
from fedgates.runs.folder import is_running
from fedgates.runs.listing import read_entry
from fedgates.runs.round_log import RoundLog
from fedgates.util.files import locked

pytestmark = pytest.mark.slow  # runs go on beside the command

AS_IN_A_TERMINAL = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""Whoever was started in the background by a shell without job control ignores SIGINT, and so do its children."""
FOLLOW = (sys.executable, "-c", f"{AS_IN_A_TERMINAL}; from fedgates.cli import main; main()", "report", "--follow")
ESCAPES = re.compile(r"\x1b\[[?0-9;]*[a-zA-Z]")


class Running:
    """A run under way: this process holds its folder, and writes lines on request."""

    def __init__(self, path, trained):
        path.mkdir()
        shutil.copy(trained / "config.json", path)
        self.path, self._done = path, ExitStack()
        self._lines = (trained / "rounds.jsonl").read_text().splitlines(keepends=True)
        self._done.enter_context(locked(path / ".lock"))

    def write(self, *rounds):
        with (self.path / "rounds.jsonl").open("a") as file:
            file.writelines(self._lines[server_round - 1] for server_round in rounds)

    def end(self):
        self._done.close()

    @property
    def page(self):
        target = self.path / "report.html"
        return target.read_text() if target.exists() else ""


@pytest.fixture
def running(tmp_path, trained):
    run = Running(tmp_path / "run", trained)
    yield run
    run.end()


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# --- in a pipe


def test_in_a_pipe_each_round_is_a_line_as_it_ends(running):
    running.write(1, 2)
    with subprocess.Popen([*FOLLOW, running.path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        printed = [process.stdout.readline() for _ in range(2)]
        running.write(3, 4, 5)
        printed += [process.stdout.readline() for _ in range(3)]
        running.write(6, 7, 8)
        printed += [process.stdout.readline() for _ in range(3)]
        time.sleep(1)
        assert process.poll() is None  # all rounds have ended, but the run still writes what it leaves
        running.end()
        rest, complaints = process.communicate(timeout=30)
    assert [line.split()[:2] for line in printed] == [["round", f"{i}/8"] for i in range(1, 9)]
    assert printed[0].endswith(" left, start included\n")
    assert all(line.endswith(" left\n") for line in printed[1:])
    assert (process.returncode, complaints) == (0, "")
    assert "coupled-masks, 8 rounds" in rest
    assert "\x1b" not in "".join([*printed, rest])


def test_rounds_that_a_resumed_run_repeats_are_printed_again(running):
    running.write(1, 2, 3)
    with subprocess.Popen([*FOLLOW, running.path], stdout=subprocess.PIPE, text=True) as process:
        printed = [process.stdout.readline() for _ in range(3)]
        until(lambda: running.page)  # the first page takes longer than the log is shorter
        RoundLog(running.path).forget_after(1)
        time.sleep(1.2)
        running.write(2, 3)
        printed += [process.stdout.readline() for _ in range(2)]
        running.end()
        rest, _ = process.communicate(timeout=30)
    assert [line.split()[1] for line in printed] == [f"{i}/8" for i in (1, 2, 3, 2, 3)]
    assert '3 of 8 rounds done, ended early; to resume: resume="/' in rest


# --- in a terminal


def terminal(columns, rows):
    """Both ends of a terminal of this size."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    return ours, theirs


class Screen:
    """What a command writes to a terminal."""

    def __init__(self, arguments, columns, rows):
        self._end, theirs = terminal(columns, rows)
        environment = {k: v for k, v in os.environ.items() if k not in {"COLUMNS", "LINES", "NO_COLOR"}} | {"TERM": "xterm"}
        self.process = subprocess.Popen(
            arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)
        os.set_blocking(self._end, False)
        self.written = ""

    @property
    def text(self):
        try:
            while part := os.read(self._end, 65536):
                self.written += part.decode()
        except OSError:  # nothing more yet, or the other end is closed
            pass
        return self.written

    @property
    def views(self):
        """Each picture of the run, without what moves the cursor."""
        return [ESCAPES.sub("", part).replace("\r", "") for part in re.split(r"(?:\x1b\[2K\x1b\[1A)+\x1b\[2K", self.text)]

    def close(self):
        self.process.wait(30)
        last = self.text
        os.close(self._end)
        return last


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 12), (20, 5)])
def test_a_terminal_shows_the_last_rounds_and_none_of_its_rows_is_too_long(running, columns, rows):
    running.write(1, 2, 3)
    screen = Screen([*FOLLOW, running.path], columns, rows)
    until(lambda: "3/8" in screen.text)
    running.write(*range(4, 9))
    until(lambda: "8/8" in screen.text)
    running.end()
    written = screen.close()
    assert screen.process.returncode == 0
    assert "coupled-masks, 8 rounds" in written
    shown = [view.splitlines() for view in screen.views[:-1]]
    assert all(len(row) <= columns for view in shown for row in view)
    assert all(len(view) < rows for view in shown)
    assert len([row for row in shown[-1] if "/8 " in row]) == min(8, rows - 4)
    assert any(row.startswith("last round ended ") for row in shown[0])
    assert written.index("the run has ended") < written.index("coupled-masks, 8 rounds")


def test_ctrl_c_ends_the_view_and_restores_the_terminal(running):
    running.write(1)
    screen = Screen([*FOLLOW, running.path], 80, 24)
    until(lambda: "1/8" in screen.text)
    os.killpg(screen.process.pid, signal.SIGINT)
    written = screen.close()
    assert screen.process.returncode == 130
    assert ESCAPES.sub("", written).splitlines()[-1] == "fedgates: stopped following; the run continues"
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")  # the cursor is there again
    assert is_running(running.path)


# --- the page meanwhile


def test_the_page_is_updated_and_marked_as_running(running):
    running.write(1)
    screen = Screen([*FOLLOW, running.path], 80, 24)
    until(lambda: "Running: round 1 of 8 has ended" in running.page)
    assert '<meta http-equiv="refresh"' in running.page
    running.write(2, 3)
    until(lambda: "Running: round 3 of 8 has ended" in running.page)
    running.end()
    screen.close()
    assert "Ended early, after round 3 of 8." in running.page
    assert '<meta http-equiv="refresh"' not in running.page


def test_the_last_page_is_not_marked_as_running(running, monkeypatch):
    running.write(1)
    real = follow.write_page

    def slow(path, **how):
        written = real(path, **how)
        running.end()
        return written

    monkeypatch.setattr(follow, "write_page", slow)
    write_current_page(running.path)
    assert "Ended early, after round 1 of 8." in running.page
    assert sorted(path.name for path in running.path.iterdir()) == [".lock", "config.json", "report.html", "rounds.jsonl"]


def test_report_says_that_a_run_is_running(capsys, running):
    running.write(1, 2)
    assert "2 of 8 rounds done, running" in command(capsys, "report", running.path)[1]
    assert command(capsys, "runs", "--folder", running.path.parent)[1].splitlines()[1].split()[3:5] == ["2/8,", "running"]
    assert read_entry(running.path).under_way
    running.end()
    assert '2 of 8 rounds done, ended early; to resume: resume="/' in command(capsys, "report", running.path)[1]
    assert not read_entry(running.path).under_way


def test_looking_at_a_run_needs_no_right_to_write_and_is_in_nobodys_way(running):
    lock = running.path / ".lock"
    lock.chmod(0o444)
    assert is_running(running.path)
    running.end()
    with ThreadPoolExecutor(8) as pool:  # others look at the same moment
        assert not any(pool.map(is_running, [running.path] * 400))
    assert not is_running(running.path / "nowhere")
    assert not (running.path / "nowhere").exists()
