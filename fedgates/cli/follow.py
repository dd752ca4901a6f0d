"""A run told while it goes on: its last rounds in the terminal, and its page."""

import time
from contextlib import suppress
from pathlib import Path

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from fedgates.ledger import FILE_NAME
from fedgates.page import write_page
from fedgates.report import Clock
from fedgates.run_list import entry, follow, under_way
from fedgates.text import one_line
from fedgates.view import view

_PAGE_EVERY, _SHARE = 5.0, 0.05
"""Seconds between two pages at least, and the share of the time that may go into writing them."""


def show(path: Path) -> None:
    """Show a run until it ends: the last rounds and the time left; where there is no terminal, each round as it ends."""
    console, page = Console(highlight=False), _Page(path)
    of_rounds = entry(path).of_rounds
    if not console.is_terminal or console.is_dumb_terminal:
        _print(path, Clock(of_rounds), page)
        return
    with Live(console=console, auto_refresh=False) as live:
        for lines, changed, over in follow(path):
            last = "the run has ended" if over else _last_row(path)
            rows = view(lines.sound, of_rounds, one_line(path.name), last, *console.size)
            live.update(Text(rows, no_wrap=True, overflow="ellipsis"), refresh=True)
            page.keep(changed=changed)


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


def _print(path: Path, clock: Clock, page: _Page) -> None:
    told = 0
    for lines, changed, _ in follow(path):
        told = min(told, len(lines.sound))  # a run that is resumed takes lines back
        for line in lines.sound[told:]:
            typer.echo(clock.line(line))
        told = len(lines.sound)
        page.keep(changed=changed)


def _last_row(path: Path) -> str:
    """For how long nothing has come, so that a long round does not look like a standstill."""
    try:
        ended = (path / FILE_NAME).stat().st_mtime
    except OSError:
        return "no round has ended yet; Ctrl-C ends this view, not the run"
    minutes, seconds = divmod(max(0, round(time.time() - ended)), 60)
    return f"last round ended {minutes}:{seconds:02d} ago; Ctrl-C ends this view, not the run"
