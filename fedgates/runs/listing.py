"""Find runs in a folder, read their results, and follow a running one."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedgates.config import folder
from fedgates.config.names import OUTPUT_DIR
from fedgates.errors import ConfigError
from fedgates.runs.best_round import stopped
from fedgates.runs.config_file import read_config
from fedgates.runs.folder import CONFIG, MODEL, is_running
from fedgates.runs.round_log import LogReader, read_rounds
from fedgates.runs.totals import Line, has_quorum, headline_metric, last_value, total_bytes
from fedgates.util.text import one_line

_NOT_FIGURES = frozenset({"round", "attempt", "seconds", "uplink_bytes", "downlink_bytes", "evaluation_downlink_bytes"})
LAST = "last"
"""Name that refers to the newest run."""


@dataclass(frozen=True)
class Entry:
    """Summary of a run after its last round."""

    name: str
    strategy: str
    dataset: str
    seed: int
    rounds: int
    """Number of completed rounds."""
    of_rounds: int
    """Number of rounds in the configuration (`num-server-rounds`)."""
    metric: str
    """Key of the headline metric: accuracy or r2, or, without test data, client_accuracy or a loss."""
    reached: float | None
    """Value of the headline metric after the last evaluated round; None without an evaluation."""
    bytes: int
    """Bytes in both directions, over all clients and rounds."""
    bytes_up: int
    """Bytes from clients."""
    bytes_down: int
    """Bytes to clients."""
    seconds: float
    """Total duration of all rounds."""
    model_bytes: int | None
    """Size of ``model.fedgates``; None if there is no such file."""
    under_way: bool
    """Whether the run is in progress."""
    stopped: str
    """Reason why the run stopped early, or an empty string."""
    problems: tuple[str, ...]
    """A message for each invalid line of ``rounds.jsonl``; these lines are ignored."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Other numbers in ``rounds.jsonl``, each from the last round that has it."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Values in the run's ``config.json``."""

    @property
    def progress(self) -> str:
        """Name and progress of the run, for error messages of commands that need more rounds."""
        return f"{one_line(self.name, 80)} has {self.rounds} of {self.of_rounds} rounds{self.status}"

    @property
    def status(self) -> str:
        """Suffix for the number of rounds: ", running", ", stopped early", or empty."""
        return ", running" if self.under_way else ", stopped early" if self.stopped else ""


def list_runs(base: Path) -> Iterator[Entry]:
    """Yield the runs in a folder, oldest first; subfolders that are not runs are skipped."""
    if not base.is_dir():
        return
    for path in _by_start(base):
        try:
            yield read_entry(path)
        except ConfigError:
            continue


def _by_start(base: Path) -> list[Path]:
    """Return the folders with a config, ordered by its modification time: when the run started or was last resumed."""
    configs = [path for path in (folder / CONFIG for folder in base.iterdir()) if path.is_file()]
    return [path.parent for path in sorted(configs, key=lambda path: (path.stat().st_mtime, path))]


def read_entry(path: Path) -> Entry:
    """Return the summary of the run in a folder.

    Raises
    ------
    ConfigError
        Key `run`: `path` is not the folder of a run.
    """
    config = read_config(path)
    log = read_rounds(path)
    rounds = [line for line in log.lines if has_quorum(line)]
    metric = headline_metric(rounds)
    total = total_bytes(log.lines, 0)
    model = path / MODEL
    return Entry(
        path.absolute().name,
        config["strategy"],
        config["dataset"],
        seed=config["seed"],
        rounds=max((line["round"] for line in rounds), default=0),
        of_rounds=config["num-server-rounds"],
        metric=metric.key,
        reached=last_value(rounds, metric),
        bytes=total.both,
        bytes_up=total.up,
        bytes_down=total.down,
        seconds=round(sum(line["seconds"] for line in log.lines), 3),
        model_bytes=model.stat().st_size if model.is_file() else None,
        under_way=is_running(path),
        stopped=stopped(log.lines, config),
        problems=tuple(log.problems),
        figures=_figures(rounds),
        settings=config,
    )


def _figures(rounds: Sequence[Line]) -> dict[str, float]:
    """Return the numbers in lines, each from the last line that has it, except those that the entry has as sums."""
    return {
        key: value for line in rounds for key, value in line.items() if type(value) in {int, float} and key not in _NOT_FIGURES
    }


def find_run(name: str, base: Path | None = None) -> Path:
    """Return the folder of a run.

    Parameters
    ----------
    name : str
        The path of the folder or of a file in it, the name of a run in `base`, or "last" for the newest run in `base`.
    base : Path, optional
        Folder of runs; by default the default of `output-dir`.

    Raises
    ------
    ConfigError
        Key `run`: there is no such run.
    """
    base = folder(OUTPUT_DIR) if base is None else base
    if name == LAST:
        paths = _by_start(base) if base.is_dir() else []
        if not paths:
            raise ConfigError("run", name, f"at least one run in {base}")
        return paths[-1]
    with suppress(OSError, RuntimeError):  # the name is not a valid path, or has ~ of an unknown user
        for path in (Path(name).expanduser(), base / name) if name else ():
            path = path.parent if path.is_file() else path  # noqa: PLW2901
            if (path / CONFIG).is_file():
                return path
    raise ConfigError("run", name, f'the folder of a run, the name of a run in {base}, or "{LAST}"')


def follow_rounds(path: Path, pause: float = 0.5) -> Iterator[tuple[LogReader, bool, bool]]:
    """Yield, every `pause` seconds, the reader of a run's log, whether the log has changed, and whether the run has ended.

    The iteration stops once the run has ended. If the run is resumed and drops lines, the reader drops them as well.
    """
    reader = LogReader(path)
    while True:
        ended = not is_running(path)
        yield reader, reader.update(), ended
        if ended:
            return
        time.sleep(pause)
