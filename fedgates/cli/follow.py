"""A run told while it goes on: its last rounds in the terminal, and its page."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from fedgates.report import write_page
from fedgates.report.terminal import view
from fedgates.runs.listing import entry, follow, under_way
from fedgates.runs.round_log import FILE_NAME
from fedgates.runs.summary import Clock
from fedgates.runs.totals import Line
from fedgates.util.text import one_line

_Tell = Callable[[Sequence[Line], bool], None]
"""Takes the lines so far, and whether the run has ended."""
_PAGE_EVERY, _SHARE = 5.0, 0.05
"""Seconds between two pages at least, and the share of the time that may go into writing them."""


def show(path: Path, *, stderr: bool = False) -> None:
    """Show a run until it ends: the last rounds and the time left; where there is no terminal, each round as it ends."""
    console, page = Console(highlight=False, stderr=stderr), _Page(path)
    plain = not console.is_terminal or console.is_dumb_terminal
    with _lines(path, stderr=stderr) if plain else _view(path, console) as tell:
        for lines, changed, over in follow(path):
            tell(lines.sound, over)
            page.keep(changed=changed)


@contextmanager
def _lines(path: Path, *, stderr: bool) -> Iterator[_Tell]:
    """Each round is a line; those that a resumed run does again are told again."""
    clock, told = Clock(entry(path).of_rounds), 0

    def tell(lines: Sequence[Line], over: bool) -> None:  # noqa: ARG001, FBT001  # as a view's
        nonlocal told
        for line in lines[told:]:
            typer.echo(clock.line(line), err=stderr)
        told = len(lines)

    yield tell


@contextmanager
def _view(path: Path, console: Console) -> Iterator[_Tell]:
    """A picture of the last rounds, drawn again and again."""
    of_rounds = entry(path).of_rounds
    with Live(console=console, auto_refresh=False) as live:

        def tell(lines: Sequence[Line], over: bool) -> None:  # noqa: FBT001
            last = "the run has ended" if over else _last_row(path)
            rows = view(lines, of_rounds, one_line(path.name), last, *console.size)
            live.update(Text(rows, no_wrap=True, overflow="ellipsis"), refresh=True)

        yield tell


def write_current_page(path: Path) -> Path:
    """Write a run's page, and again if the run has ended in the meantime: else an older page would replace the last one."""
    while True:
        now = under_way(path)
        written = write_page(path, under_way=now)
        if under_way(path) == now:
            return written


class _Page:
    """The page of a run under way, written when there is something new, but not all the time."""

    def __init__(self, path: Path) -> None:
        self._path, self._next, self._stale = path, 0.0, False

    def keep(self, *, changed: bool) -> None:
        started = time.monotonic()
        self._stale |= changed
        if not self._stale or started < self._next:
            return
        with suppress(OSError):  # the folder may be somebody else's; the end says so
            write_current_page(self._path)
        self._stale = False
        ended = time.monotonic()
        self._next = ended + max(_PAGE_EVERY, (ended - started) / _SHARE)


def _last_row(path: Path) -> str:
    """For how long nothing has come, so that a long round does not look like a standstill."""
    try:
        ended = (path / FILE_NAME).stat().st_mtime
    except OSError:
        return "no round has ended yet; Ctrl-C ends this view, not the run"
    minutes, seconds = divmod(max(0, round(time.time() - ended)), 60)
    return f"last round ended {minutes}:{seconds:02d} ago; Ctrl-C ends this view, not the run"
