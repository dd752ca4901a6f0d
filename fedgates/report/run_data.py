"""The data of a report: the files in the folder of a run, read once. Damaged parts are left out and named."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from fedgates.config import CLIENTS, DATA_DIGEST
from fedgates.config.app import as_pair
from fedgates.errors import ConfigError
from fedgates.model_file import Contents, read_contents
from fedgates.report.samples import Sample, read_samples
from fedgates.runs.best_round import stopped
from fedgates.runs.config_file import read_defaults, read_software, read_usable_config
from fedgates.runs.confusion import Confusion, read_confusion
from fedgates.runs.folder import CONFIG, MODEL, MODEL_BEST, PREDICTIONS, ROUNDS
from fedgates.runs.round_log import read_rounds
from fedgates.runs.totals import Line, Metric, TotalBytes, has_quorum, headline_metric, network_size, total_bytes
from fedgates.util.text import one_line

T = TypeVar("T")

_LOCATION = frozenset({"output-dir", "resume", CLIENTS, DATA_DIGEST})
"""Keys about where a run is stored, and those that are not in the run config."""
_MAX_PROBLEMS = 8


@dataclass(frozen=True)
class RunData:
    """All data of a page."""

    folder: Path
    under_way: bool
    """Whether the run is still running."""
    config: Mapping[str, Any]
    """The usable values of ``config.json``."""
    defaults: Mapping[str, Any]
    """The default of each key."""
    lines: Sequence[Line]
    """Every attempt at every round."""
    software: Mapping[str, str]
    """Versions and commits of the process that started or last resumed the run."""
    model: Contents | None
    best_model: Contents | None
    """The model of the best round (`keep-best`)."""
    samples: Sequence[Sample]
    confusion: Confusion | None
    """The confusion matrix of the last evaluation on the server's test set."""
    problems: Sequence[str]
    """A line for each part that could not be read."""

    @property
    def num_rounds(self) -> int | None:
        """Number of rounds in the configuration; None if unknown."""
        return self.config.get("num-server-rounds")

    @cached_property
    def last_round(self) -> int:
        """The last round with a quorum; 0 if there is none."""
        return max((line["round"] for line in self.rounds), default=0)

    @property
    def ended_early(self) -> bool:
        """Whether the run ended before its last round for another reason than early stopping."""
        missing = self.num_rounds is not None and self.last_round < self.num_rounds
        return missing and not self.under_way and not self.stopped

    @cached_property
    def stopped(self) -> str:
        """The reason for early stopping; empty if the run did not stop early."""
        return stopped(self.lines, self.config)

    @cached_property
    def rounds(self) -> list[Line]:
        """The attempts with a quorum, one for each round."""
        return [line for line in self.lines if has_quorum(line)]

    @cached_property
    def measured(self) -> list[Line]:
        """The rounds in which the metric was measured."""
        return [line for line in self.rounds if line.get(self.metric.key) is not None]

    @cached_property
    def size(self) -> int:
        """Number of parameters of the network; 0 if unknown."""
        return network_size(self.lines) or (sum(layer.size for layer in self.model.facts.layers) if self.model else 0)

    @cached_property
    def total(self) -> TotalBytes:
        """Bytes of the run, and those of dense FedAvg."""
        return total_bytes(self.lines, self.size)

    @cached_property
    def metric(self) -> Metric:
        """The headline metric."""
        return headline_metric(self.lines)

    @cached_property
    def changed(self) -> list[str]:
        """Keys whose value differs from the default, or whose default is unknown, without those of the run's location."""
        return [key for key in self.config if key not in _LOCATION and self.config[key] != self.defaults.get(key)]

    def command(self, *, resume: bool = False) -> str:
        """Return the shell command that repeats or, with `resume`, resumes the run; keys with default values are left out."""
        parts, clients = ["uv run flwr run . --stream"], self.config.get(CLIENTS)
        if clients is not None:
            parts.append(f"--federation-config {shlex.quote(f'num-supernodes={clients} client-resources-num-cpus=1')}")
        pairs = [as_pair(key, self.config[key]) for key in self.changed] + [as_pair("resume", str(self.folder))] * resume
        if pairs:
            parts.append(f"--run-config {shlex.quote(' '.join(pairs))}")
        return " \\\n  ".join(parts)


def load_run_data(folder: Path, *, under_way: bool = False) -> RunData:
    """Return the data in the folder of a run.

    Parameters
    ----------
    folder : Path
        The folder of a run, finished or not.
    under_way : bool
        Whether the run is still running.

    Raises
    ------
    ConfigError
        `folder` is not the folder of a run; names `run`.
    """
    if not any((folder / name).is_file() for name in (CONFIG, ROUNDS)):
        raise ConfigError("run", str(folder), f"the folder of a run, with its {CONFIG} or {ROUNDS}")
    config, problems = read_usable_config(folder)
    log = read_rounds(folder)
    problems += log.problems[:_MAX_PROBLEMS]
    if len(log.problems) > _MAX_PROBLEMS:
        problems.append(f"{ROUNDS}: {len(log.problems) - _MAX_PROBLEMS:,} more lines")
    return RunData(
        folder=folder.resolve(),
        under_way=under_way,
        config=config,
        defaults=read_defaults(folder),
        lines=log.lines,
        software=read_software(folder),
        model=_read(read_contents, folder / MODEL, problems),
        best_model=_read(read_contents, folder / MODEL_BEST, problems) if config.get("keep-best") is True else None,
        samples=_read(read_samples, folder / PREDICTIONS, problems) or [],
        confusion=_read(read_confusion, folder, problems),
        problems=problems,
    )


def _read(read: Callable[[Path], T], path: Path, problems: list[str]) -> T | None:
    """Return what `read` finds; None if the file is missing or damaged. The damage is added to `problems`."""
    try:
        return read(path) if path.exists() else None
    except ValueError as error:
        problems.append(one_line(error))
        return None
