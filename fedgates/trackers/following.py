"""A run's rounds, told to its trackers as they end; one that fails is left out."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from fedgates.config import split_trackers
from fedgates.errors import ConfigError
from fedgates.runs.round_log import RoundLog
from fedgates.runs.totals import Line, moved
from fedgates.trackers.base import Run, Tracker, without_secrets
from fedgates.trackers.named import KEY, tracker_class
from fedgates.types import Value
from fedgates.util.text import error_line

log = logging.getLogger("fedgates")


class TrackerError(RuntimeError):
    """A tracker failed while it was told something."""


@contextmanager
def following(
    trackers: str,
    folder: Path,
    config: Mapping[str, Value],
    first_round: int = 1,
    *,
    resumed: bool = False,
    lenient: bool = True,
) -> Iterator[Callable[[Line], None]]:
    """Open the trackers that `trackers` names; gives what is to be called with each line that has gone into the ledger.

    Parameters
    ----------
    trackers : str
        The key's value: names separated by commas, each with "=" and where to, if wanted.
    folder : Path
        The run's.
    config : mapping
        The run's, kebab-case.
    first_round : int
        The one that is told next.
    resumed : bool
        Whether the folder has lines that were told before.
    lenient : bool
        Leave out a tracker that fails later, with a warning, instead of raising.

    Raises
    ------
    ConfigError
        One cannot be opened; names `trackers`.
    TrackerError
        One fails later, and that is not to be borne.
    """
    opened: dict[str, Tracker] = {}
    total = moved(RoundLog(folder).read(), 0).both if resumed else 0
    finished = False

    def tell(line: Line) -> None:
        nonlocal total
        total += moved([line], 0).both
        if line.get("quorum", True):
            for name in list(opened):
                with _failing(name, opened, lenient=lenient):
                    opened[name].tell({**line, "megabytes": total / 1e6})

    try:
        for name, where in split_trackers(trackers):
            made = tracker_class(name)
            try:
                opened[name] = made(Run(folder, config, first_round, resumed, where))
            except (Exception, SystemExit) as error:
                why = without_secrets(error_line(error))
                raise ConfigError(KEY, name, f"a tracker that can be reached; {why}") from error
        yield tell
        finished = True
    finally:
        for name in list(opened):
            with _failing(name, opened, lenient=lenient):
                opened[name].close(finished=finished)


@contextmanager
def _failing(name: str, opened: dict[str, Tracker], *, lenient: bool) -> Iterator[None]:
    """Leave a tracker out that fails, whatever it raises: it is not the run's. Where that is not to be borne, say so."""
    try:
        yield
    except (Exception, SystemExit) as error:
        failed, why = opened.pop(name), without_secrets(error_line(error))
        with suppress(Exception, SystemExit):
            failed.close(finished=False)
        if not lenient:
            raise TrackerError(f"tracker {name}: {why}") from error
        log.warning("tracker %s: %s; the run goes on without it", name, why)
