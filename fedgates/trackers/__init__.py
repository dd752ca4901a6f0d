"""Experiment trackers: a run's rounds, told to TensorBoard, Weights & Biases or MLflow as they end. Off by default.

A tracker is told what stands in ``rounds.jsonl`` and has no part in the run: one that fails is left out, and the run goes on.
Each has a file here, which is imported, and its package with it, where `trackers` names it, and nowhere else.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from fedgates.config import ConfigError, RunConfig, Value, parse, split_trackers
from fedgates.ledger import Ledger
from fedgates.references import find
from fedgates.run_list import rounds
from fedgates.text import error_line
from fedgates.totals import Line, moved
from fedgates.trackers.base import Run, Tracker, numbers

log = logging.getLogger("fedgates")
_KEY = "trackers"
_OURS = {
    "tensorboard": "fedgates.trackers.tensorboard:TensorBoard",
    "wandb": "fedgates.trackers.weights_and_biases:WeightsAndBiases",
    "mlflow": "fedgates.trackers.mlflow_run:MLflow",
}


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
    """
    parse(RunConfig, {_KEY: trackers})
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError("run", str(folder), "a run's folder, with its config.json") from None
    lines = rounds(folder)
    check(trackers)
    with following(trackers, folder, config, 1) as tell:
        for line in lines:
            tell(line)
    return len(lines)


@contextmanager
def following(trackers: str, folder: Path, config: Mapping[str, Value], first_round: int) -> Iterator[Callable[[Line], None]]:
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
        The one that is done next.

    Raises
    ------
    ConfigError
        One cannot be opened; names `trackers`. Those that fail later are left out, with a warning.
    """
    opened: dict[str, Tracker] = {}
    total = moved(Ledger(folder).read(), 0).both if first_round > 1 else 0
    finished = False

    def tell(line: Line) -> None:
        nonlocal total
        total += moved([line], 0).both
        if line.get("quorum", True):
            for name in list(opened):
                with _left_out_if_it_fails(name, opened):
                    opened[name].tell({**line, "megabytes": total / 1e6})

    try:
        for name, where in split_trackers(trackers):
            made = _class(name)
            try:
                opened[name] = made(Run(folder, config, first_round, where))
            except Exception as error:
                raise ConfigError(_KEY, name, f"a tracker that can be reached; {error_line(error)}") from error
        yield tell
        finished = True
    finally:
        for name in list(opened):
            with _left_out_if_it_fails(name, opened):
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
def _left_out_if_it_fails(name: str, opened: dict[str, Any]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  # whatever it is, it is not the run's
        log.warning("tracker %s: %s; the run goes on without it", name, error_line(error))
        del opened[name]


__all__ = ["Run", "Tracker", "check", "following", "numbers", "retell"]
