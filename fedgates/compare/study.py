"""Study files: scenarios, methods and seeds; every combination is one run."""

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from fedgates.config import flatten, merged
from fedgates.errors import ConfigError
from fedgates.runs.totals import is_loss
from fedgates.types import Value

Config = Mapping[str, Value]
ONLY_SCENARIO = "default"
"""Name of the only scenario in a study without [scenarios]."""
_KEYS = ("title", "clients", "seeds", "targets", "metric", "columns", "curves", "config", "scenarios", "methods")
_MAX_NAME = 100
"""Largest number of characters of a name, which is also the name of a folder."""
_SET_BY_STUDY = {
    "seed": "no seed here; set the key `seeds` of the study",
    "output-dir": "no output-dir here; use --runs",
    "resume": "no resume here; a study starts its runs from the beginning",
}


@dataclass(frozen=True)
class Question:
    """Content of a comparison: metric, targets, columns and curves.

    Attributes
    ----------
    title : str
        Title of the table.
    metric : str
        The key of ``rounds.jsonl`` to compare; larger is better, except for losses.
    targets : tuple of float
        Values of the metric; the table shows the rounds and bytes needed to reach each.
    columns, curves : tuple of str, optional
        Additional keys of ``rounds.jsonl`` for the table and for figures against rounds. The table shows values of the last
        round, or averages over rounds for keys with the prefix ``mean_``. None selects the density.
    """

    title: str
    metric: str = "accuracy"
    targets: tuple[float, ...] = ()
    columns: tuple[str, ...] | None = None
    curves: tuple[str, ...] | None = None

    @property
    def smaller_is_better(self) -> bool:
        """Whether the metric is a loss."""
        return is_loss(self.metric)


@dataclass(frozen=True)
class Job:
    """One run of a study; `config` overrides the app's config, and `folder` is relative to the study's folder."""

    scenario: str
    method: str
    seed: int
    clients: int
    config: Config = field(hash=False)
    folder: PurePath

    def __str__(self) -> str:
        return " / ".join([*([self.scenario] if self.scenario != ONLY_SCENARIO else []), self.method, f"seed {self.seed}"])


@dataclass(frozen=True)
class Study:
    """Contents of a validated study file; values of run config keys are validated later, by the app."""

    question: Question
    seeds: tuple[int, ...]
    clients: int
    config: Config
    scenarios: Mapping[str, Config]
    methods: Mapping[str, Config]

    def jobs(self) -> list[Job]:
        """Return all runs in the order of the file; a method's keys override those of a scenario."""
        jobs = []
        for scenario, changes in self.scenarios.items():
            shared = merged(self.config, changes)
            clients = int(shared.pop("clients", self.clients))
            for method, own in self.methods.items():
                folder = PurePath(slug(scenario), slug(method))
                jobs += [
                    Job(scenario, method, seed, clients, merged(shared, own, {"seed": seed}), folder / f"seed{seed}")
                    for seed in self.seeds
                ]
        return jobs


def read_study(path: Path) -> Study:
    """Read and validate a study file.

    Raises
    ------
    ConfigError
        The file cannot be read, or one of its keys or values is invalid.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError("study", str(path), f"a readable TOML file ({getattr(error, 'strerror', None) or error})") from None
    for key, value in raw.items():
        if key not in _KEYS:
            raise ConfigError(key, value, f"a key of a study file, one of {', '.join(_KEYS)}")
    question = Question(
        title=_text("title", raw.get("title", path.stem)),
        metric=_text("metric", raw.get("metric", "accuracy")),
        targets=_distinct("targets", raw.get("targets", []), (int, float), "numbers"),
        columns=_distinct("columns", raw["columns"], (str,), "keys of rounds.jsonl") if "columns" in raw else None,
        curves=_distinct("curves", raw["curves"], (str,), "keys of rounds.jsonl") if "curves" in raw else None,
    )
    seeds = _distinct("seeds", raw.get("seeds", [1]), (int,), "whole numbers")
    if not seeds:
        raise ConfigError("seeds", [], "at least one seed")
    methods = _tables("methods", raw.get("methods", {}))
    if not methods:
        raise ConfigError("methods", {}, "at least one table [methods.NAME]")
    scenarios = _tables("scenarios", raw.get("scenarios", {})) or {ONLY_SCENARIO: {}}
    for name, scenario in scenarios.items():
        if "clients" in scenario:
            _clients(f"scenarios.{name}.clients", scenario["clients"])
    clients = _clients("clients", raw.get("clients", 10))
    return Study(question, seeds, clients, _config("config", raw.get("config", {})), scenarios, methods)


def slug(name: str) -> str:
    """Convert a name to the name of a folder: characters other than letters, digits and ``._=+-`` become dashes."""
    plain = "".join(c if c.isalnum() or c in "._=+" else "-" for c in name)
    return "-".join(part for part in plain.split("-") if part).strip(".-")


def _tables(key: str, value: object) -> dict[str, Config]:
    if not isinstance(value, dict):
        raise ConfigError(key, value, f"tables [{key}.NAME]")
    names: dict[str, str] = {}
    for name in value:
        folder = slug(name)
        if not 1 <= len(folder) <= _MAX_NAME:
            raise ConfigError(key, name, f"a name with at least one letter or digit, of at most {_MAX_NAME} characters")
        if folder in names:
            raise ConfigError(key, name, f"a name whose folder, {folder}, differs from that of {names[folder]!r}")
        names[folder] = name
    return {name: _config(f"{key}.{name}", table) for name, table in value.items()}


def _config(key: str, value: object) -> Config:
    if not isinstance(value, dict):
        raise ConfigError(key, value, f"a table [{key}] of run config keys")
    config = flatten(value)
    for name, found in config.items():
        if name in _SET_BY_STUDY:
            raise ConfigError(f"{key}.{name}", found, _SET_BY_STUDY[name])
        if name == "clients" and not key.startswith("scenarios."):
            raise ConfigError(f"{key}.clients", found, "no clients here; set them for the study or for a scenario")
        if not isinstance(found, (bool, int, float, str)):
            raise ConfigError(f"{key}.{name}", found, "true or false, a number or a text")
    return config


def _clients(key: str, value: object) -> int:
    if type(value) is not int or value < 1:
        raise ConfigError(key, value, "a whole number of at least 1")
    return value


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ConfigError(key, value, "a text of one line")
    return value


def _distinct(key: str, value: object, kinds: Iterable[type], noun: str) -> tuple[Any, ...]:
    if not isinstance(value, list) or any(
        type(v) not in kinds or v == "" or (isinstance(v, float) and not math.isfinite(v)) for v in value
    ):
        raise ConfigError(key, value, f"a list of {noun}")
    if len(set(value)) < len(value):
        raise ConfigError(key, value, f"a list of {noun} without duplicates")
    return tuple(value)
