"""Finished runs, read from their folders, and which of them differ in nothing but the seed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedgates.compare.study import ONLY_SCENARIO
from fedgates.errors import ConfigError
from fedgates.runs.listing import config_of, rounds

Line = Mapping[str, Any]
NOT_COMPARED = frozenset({"output-dir", "resume", "trackers"})
"""Keys of ``config.json`` that say where a run lies, not what it is."""


@dataclass(frozen=True)
class Run:
    """One finished run: its ``config.json`` and the lines of its ledger."""

    path: Path
    config: Mapping[str, Any]
    lines: Sequence[Line]

    @property
    def seed(self) -> int:
        """Its seed."""
        seed: int = self.config["seed"]
        return seed


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed."""

    scenario: str
    method: str
    runs: tuple[Run, ...]


def read_run(folder: Path) -> Run:
    """Read a run's folder.

    Raises
    ------
    ConfigError
        It is no run's folder, its ledger is damaged, or the run has not finished.
    """
    config, lines = config_of(folder), rounds(folder)
    asked, done = config["num-server-rounds"], max((line["round"] for line in lines if line.get("quorum", True)), default=0)
    if done != asked:
        raise ConfigError("run", str(folder), f"a finished run; it has {done} of its {asked} rounds")
    return Run(folder, config, lines)


def by_what_differs(runs: Iterable[Run]) -> list[Group]:
    """Runs as groups that differ in nothing but the seed, each named by what it has that others have not.

    Raises
    ------
    ConfigError
        Two of them have everything in common, the seed too: a repetition says nothing about spread.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        mine = groups.setdefault(json.dumps(_compared(run), sort_keys=True), [])
        same = [other for other in mine if other.seed == run.seed]
        if same:
            raise ConfigError("run", str(run.path), f"a run of its own, not one like {same[0].path}, seed and all")
        mine.append(run)
    configs = [_compared(of_group[0]) for of_group in groups.values()]
    keys = dict.fromkeys(key for config in configs for key in config)
    differing = [key for key in keys if len({json.dumps(c[key]) for c in configs if key in c}) > 1]
    named: dict[str, Group] = {}
    for config, of_group in zip(configs, groups.values(), strict=True):
        name = _name(config, differing)
        if name in named:  # they differ in keys alone that one of them has not, as runs of two versions do
            name = f"{name} ({of_group[0].path.name})"
        named[name] = Group(ONLY_SCENARIO, name, tuple(sorted(of_group, key=lambda run: run.seed)))
    if len(named) < len(groups):
        raise ConfigError("run", str(next(iter(groups.values()))[0].path), "runs whose folders have different names")
    return list(named.values())


def _compared(run: Run) -> dict[str, Any]:
    return {key: value for key, value in run.config.items() if key not in NOT_COMPARED | {"seed"}}


def _name(config: Mapping[str, Any], differing: Sequence[str]) -> str:
    strategy = str(config.get("strategy", "run"))
    return ", ".join([strategy, *(f"{key} {config[key]}" for key in differing if key in config and key != "strategy")])
