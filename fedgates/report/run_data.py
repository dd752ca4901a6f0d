"""What a run's folder tells, read once. What is missing is left out; what is damaged is left out and named."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fedgates
from fedgates.config import CLIENTS, RunConfig, to_dict
from fedgates.errors import ConfigError
from fedgates.report.files import Sample, json_object, read_samples
from fedgates.report.model_file import ModelFile, read_model
from fedgates.runs import totals
from fedgates.runs.log_reader import read, shown
from fedgates.runs.round_log import FILE_NAME
from fedgates.runs.totals import Line, Metric, Moved
from fedgates.util.text import one_line

CONFIG, MODEL, PREDICTIONS = "config.json", "model.fedgates", "predictions.json"
_WHERE = frozenset({"output-dir", "resume", CLIENTS})
"""Keys that say where a run lies, not what it is, and the one that is no key of the run config."""
_ROUNDS, _TARGET = "num-server-rounds", "target-density"
_FITS: dict[str, Callable[[Any], bool]] = {
    _ROUNDS: lambda value: type(value) is int and value >= 0,
    _TARGET: lambda value: type(value) in {int, float} and 0 <= value <= 1,
    CLIENTS: lambda value: value is None or (type(value) is int and value >= 0),
}
"""Whether a value is one to compute with."""
_MOST_PROBLEMS = 8


@dataclass(frozen=True)
class RunData:
    """All that the page is made from."""

    folder: Path
    under_way: bool
    """Whether a process is still at the run."""
    config: Mapping[str, Any]
    defaults: Mapping[str, Any]
    lines: Sequence[Line]
    """Every attempt of every round."""
    model: ModelFile | None
    samples: Sequence[Sample]
    problems: Sequence[str]
    """What could not be read."""

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.name

    @property
    def asked(self) -> int | None:
        """How many rounds the run was to have; None where nothing says."""
        return self.config.get(_ROUNDS)

    @property
    def target(self) -> float:
        """The density that was asked for, or 0."""
        return self.config.get(_TARGET) or 0.0

    @cached_property
    def done(self) -> int:
        """The last round that counted."""
        return max((line["round"] for line in self.rounds), default=0)

    @cached_property
    def repeated(self) -> int:
        """How often the round after that was tried, in vain."""
        return sum(line["round"] > self.done for line in self.lines)

    @property
    def ended_early(self) -> bool:
        """Whether nobody is at it any more, and rounds are missing."""
        return not self.under_way and self.asked is not None and self.done < self.asked

    @cached_property
    def rounds(self) -> list[Line]:
        """The attempts that counted, one a round."""
        return [line for line in self.lines if line.get("quorum", True)]

    @cached_property
    def size(self) -> int:
        """The network's parameters d; 0 where nothing says."""
        return totals.parameters(self.lines) or (self.model.parameters if self.model else 0)

    @cached_property
    def moved(self) -> Moved:
        """Bytes, and dense FedAvg's."""
        return totals.moved(self.lines, self.size)

    @cached_property
    def metric(self) -> Metric:
        """What the run is judged by."""
        return totals.metric(self.lines)

    @cached_property
    def changed(self) -> list[str]:
        """Keys that differ from their default, or have none that is known here; but for those that say where the run lies."""
        return [key for key in self.config if key not in _WHERE and self.config[key] != self.defaults.get(key)]


def gather(folder: Path, defaults: Mapping[str, Any] | None = None, *, under_way: bool = False) -> RunData:
    """Read a run's folder.

    Parameters
    ----------
    folder : Path
        As a run left it, whether it has ended or not.
    defaults : mapping, optional
        Default of each key of the configuration. By default the app's beside this package, and those that every method shares.
    under_way : bool
        Whether a process is still at the run.

    Raises
    ------
    ConfigError
        It is no run's folder.
    """
    if not any((folder / name).is_file() for name in (CONFIG, FILE_NAME)):
        raise ConfigError("run", str(folder), f"a run's folder, with its {CONFIG} or {FILE_NAME}")
    problems: list[str] = []
    return RunData(
        folder=folder.resolve(),
        under_way=under_way,
        config=_config(folder / CONFIG, problems),
        defaults=_app_defaults() if defaults is None else defaults,
        lines=_lines(folder, problems),
        model=read_model(folder / MODEL, problems),
        samples=read_samples(folder / PREDICTIONS, problems),
        problems=problems,
    )


def _app_defaults() -> dict[str, Any]:
    """``[tool.flwr.app.config]`` of the app that this package lies in, where it does, over those of every method."""
    shared: dict[str, Any] = to_dict(RunConfig())
    try:
        described = tomllib.loads((Path(fedgates.__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
        return {**shared, **described["tool"]["flwr"]["app"]["config"]}
    except (OSError, ValueError, KeyError, TypeError):
        return shared


def _config(path: Path, problems: list[str]) -> dict[str, Any]:
    """The configuration without values that no run has, and those that the page would compute with and cannot."""
    config = json_object(path, problems)
    wrong = [key for key, value in config.items() if not _fits(key, value)]
    problems += [f"{CONFIG}: {one_line(key, 40)} = {shown(config[key])}" for key in wrong[:_MOST_PROBLEMS]]
    if len(wrong) > _MOST_PROBLEMS:
        problems.append(f"{CONFIG}: {len(wrong) - _MOST_PROBLEMS:,} more keys")
    return {key: value for key, value in config.items() if _fits(key, value)}


def _fits(key: str, value: object) -> bool:
    return not isinstance(value, dict | list) and (key not in _FITS or _FITS[key](value))


def _lines(folder: Path, problems: list[str]) -> list[dict[str, Any]]:
    found = read(folder)
    problems += found.problems[:_MOST_PROBLEMS]
    if len(found.problems) > _MOST_PROBLEMS:
        problems.append(f"{FILE_NAME}: {len(found.problems) - _MOST_PROBLEMS:,} more lines")
    return found.sound
