"""Callback that passes the rounds of a run to its trackers."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fedgates.config import split_trackers
from fedgates.errors import ConfigError
from fedgates.runs.callback import Callback
from fedgates.runs.round_log import RoundLog
from fedgates.runs.totals import Line, has_quorum, total_bytes
from fedgates.trackers.base import Run, Tracker
from fedgates.trackers.named import KEY, tracker_class
from fedgates.types import Value
from fedgates.util.text import error_line, without_secrets

log = logging.getLogger("fedgates")


class TrackerError(RuntimeError):
    """Raised if a tracker failed after it was opened."""


class TrackerCallback(Callback):
    """Callback that passes the rounds of a run to its trackers.

    Trackers receive only attempts with a quorum. The total of megabytes includes attempts without a quorum and, in a resumed
    run, all earlier rounds.

    Parameters
    ----------
    trackers : str
        Value of the key `trackers`: names separated by commas, each optionally followed by "=" and a destination.
    folder : Path
        The folder of the run.
    config : mapping
        The configuration of the run, with keys in kebab-case.
    lenient : bool
        Whether to drop a tracker that fails, with a warning, instead of raising :class:`TrackerError`.
    """

    def __init__(self, trackers: str, folder: Path, config: Mapping[str, Value], *, lenient: bool = True) -> None:
        self._trackers, self._folder, self._config, self._lenient = trackers, folder, config, lenient
        self._opened: dict[str, Tracker] = {}
        self._bytes = 0

    def on_start(self, server: Any, first_round: int, *, resumed: bool) -> None:  # noqa: ANN401, ARG002
        """Open the trackers.

        Raises
        ------
        ConfigError
            Key `trackers`: a tracker cannot be opened. Trackers that are already open are closed.
        """
        self._bytes = total_bytes(RoundLog(self._folder).read(), 0).both if resumed else 0
        try:
            for name, where in split_trackers(self._trackers):
                self._open(name, Run(self._folder, self._config, first_round, resumed, where))
        except BaseException:
            self._close(finished=False)
            raise

    def on_round_end(self, record: Line, server: Any) -> None:  # noqa: ANN401, ARG002
        """Pass a line of ``rounds.jsonl`` to the trackers if the attempt had a quorum."""
        self._bytes += total_bytes([record], 0).both
        if has_quorum(record):
            for name in list(self._opened):
                with self._guarded(name):
                    self._opened[name].log({**record, "megabytes": self._bytes / 1e6})

    def on_end(self, server: Any, *, finished: bool) -> None:  # noqa: ANN401, ARG002
        """Close the trackers."""
        self._close(finished=finished)

    def _open(self, name: str, run: Run) -> None:
        make = tracker_class(name)
        try:
            self._opened[name] = make(run)
        except (Exception, SystemExit) as error:
            message = without_secrets(error_line(error))
            raise ConfigError(KEY, name, f"a tracker that can be reached; {message}") from error

    def _close(self, *, finished: bool) -> None:
        for name in list(self._opened):
            with self._guarded(name):
                self._opened[name].close(finished=finished)
        self._opened.clear()

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        """Context manager that drops a tracker that raises anything, or raises a TrackerError if not lenient."""
        try:
            yield
        except (Exception, SystemExit) as error:
            failed, message = self._opened.pop(name), without_secrets(error_line(error))
            with suppress(Exception, SystemExit):
                failed.close(finished=False)
            if not self._lenient:
                raise TrackerError(f"tracker {name}: {message}") from error
            log.warning("tracker %s: %s; the run continues without it", name, message)
