"""Experiment trackers: a run's rounds, told to TensorBoard, Weights & Biases or MLflow as they end. Off by default.

A tracker is told what stands in ``rounds.jsonl`` and has no part in the run: one that fails is left out, and the run goes on.
Each has a file here, which is imported, and its package with it, where `trackers` names it, and nowhere else.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from fedgates.config import ConfigError, RunConfig, Value, parse, split_trackers
from fedgates.ledger import Ledger
from fedgates.references import find
from fedgates.run_list import rounds
from fedgates.text import error_line
from fedgates.totals import Line, moved
from fedgates.trackers.base import Run, Tracker, numbers, without_secrets

log = logging.getLogger("fedgates")
_KEY = "trackers"
_OURS = {
    "tensorboard": "fedgates.trackers.tensorboard:TensorBoard",
    "wandb": "fedgates.trackers.weights_and_biases:WeightsAndBiases",
    "mlflow": "fedgates.trackers.mlflow_run:MLflow",
}


class TrackerError(RuntimeError):
    """A tracker failed while it was told something."""


def check(trackers: str) -> None:
    """Import what trackers need.

    Raises
    ------
    ConfigError
        A package is not installed, or somebody's own tracker cannot be imported; names `trackers`.
    """
    for name, _ in split_trackers(trackers):
        _class(name)


def retell(trackers: str, folder: Path) -> int:
    """Tell trackers a run from its folder, from the first round on; how many rounds there were.

    Raises
    ------
    ConfigError
        There are no such trackers, it is no run's folder, or a tracker cannot be opened.
    TrackerError
        One fails.
    """
    parse(RunConfig, {_KEY: trackers})
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError("run", str(folder), "a run's folder, with its config.json") from None
    lines, folder = rounds(folder), folder.resolve()
    with following(trackers, folder, config, lenient=False) as tell:
        for line in lines:
            tell(line)
    return len(lines)


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
    total = moved(Ledger(folder).read(), 0).both if resumed else 0
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
            made = _class(name)
            try:
                opened[name] = made(Run(folder, config, first_round, resumed, where))
            except (Exception, SystemExit) as error:
                why = without_secrets(error_line(error))
                raise ConfigError(_KEY, name, f"a tracker that can be reached; {why}") from error
        yield tell
        finished = True
    finally:
        for name in list(opened):
            with _failing(name, opened, lenient=lenient):
                opened[name].close(finished=finished)


def _class(name: str) -> Callable[[Run], Tracker]:
    try:
        found = find(_KEY, _OURS.get(name, name))
    except ConfigError as error:
        if name in _OURS and isinstance(error.__cause__, ImportError):
            missing = error_line(error.__cause__)
            raise ConfigError(_KEY, name, f"a package that is installed, as by uv sync --extra {name}; {missing}") from None
        raise
    if not callable(found):
        raise ConfigError(_KEY, name, "a class, or another callable")
    return cast("Callable[[Run], Tracker]", found)


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


__all__ = ["Run", "Tracker", "TrackerError", "check", "following", "numbers", "retell"]
