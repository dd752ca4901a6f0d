"""Read finished runs from their folders, and group runs that differ only in the seed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedgates.compare.study import ONLY_SCENARIO
from fedgates.config.names import DATA_DIGEST, SYNTHETIC
from fedgates.errors import ConfigError
from fedgates.runs.best_round import stopped
from fedgates.runs.config_file import read_config
from fedgates.runs.round_log import RoundLog
from fedgates.runs.totals import Line, has_quorum

NOT_COMPARED = frozenset({"output-dir", "resume", "trackers", "keep-best", "server.decoders"})
"""Keys of ``config.json`` that do not affect the result of a run."""


@dataclass(frozen=True)
class Run:
    """A finished run: its ``config.json`` and the lines of its ``rounds.jsonl``."""

    path: Path
    config: Mapping[str, Any]
    lines: Sequence[Line]

    @property
    def seed(self) -> int:
        """Seed of the run."""
        seed: int = self.config["seed"]
        return seed


@dataclass(frozen=True)
class Group:
    """Runs that differ only in the seed."""

    scenario: str
    method: str
    runs: tuple[Run, ...]


def read_run(folder: Path) -> Run:
    """Return the finished run in a folder.

    Raises
    ------
    ConfigError
        Key `run`: `folder` is not the folder of a run, its ``rounds.jsonl`` is damaged, or the run has not finished. A run that
        stopped early counts as finished.
    """
    config, lines = read_config(folder), RoundLog(folder).read()
    wanted, done = config["num-server-rounds"], max((line["round"] for line in lines if has_quorum(line)), default=0)
    if done != wanted and not stopped(lines, config):
        raise ConfigError("run", str(folder), f"a finished run; it has {done} of {wanted} rounds")
    return Run(folder, config, lines)


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """Group runs that differ only in the seed; each group is named by the keys in which it differs from the others.

    Raises
    ------
    ConfigError
        Key `run`: two runs have the same configuration and seed, or different data under the same name, or two groups would
        have the same name.
    """
    groups: dict[str, list[Run]] = {}
    runs = list(runs)
    _expect_same_data(runs)
    for run in runs:
        mine = groups.setdefault(json.dumps(_compared(run), sort_keys=True), [])
        same = [other for other in mine if other.seed == run.seed]
        if same:
            raise ConfigError("run", str(run.path), f"a run with another configuration or seed than {same[0].path}")
        mine.append(run)
    configs = [_compared(of_group[0]) for of_group in groups.values()]
    keys = dict.fromkeys(key for config in configs for key in config)
    differing = [key for key in keys if len({json.dumps(c[key]) for c in configs if key in c}) > 1]
    named: dict[str, Group] = {}
    for config, of_group in zip(configs, groups.values(), strict=True):
        name = _name(config, differing)
        if name in named:  # the groups differ only in keys that one of them lacks, like runs of two versions
            name = f"{name} ({of_group[0].path.name})"
        named[name] = Group(ONLY_SCENARIO, name, tuple(sorted(of_group, key=lambda run: run.seed)))
    if len(named) < len(groups):
        raise ConfigError("run", str(next(iter(groups.values()))[0].path), "runs whose folders have different names")
    return list(named.values())


def _expect_same_data(runs: Iterable[Run]) -> None:
    """Raise a ConfigError if two runs used different data under the same name; runs of old versions have no digest."""
    first: dict[str, Run] = {}
    for run in runs:
        config = run.config
        if config.get(DATA_DIGEST):
            source = [config["dataset"]]
            if config["dataset"] in SYNTHETIC:
                drawn = {key: value for key, value in config.items() if key.startswith("synthetic.")}
                seed = config.get("data.seed", -1)
                source += [run.seed if seed < 0 else seed, drawn]
            other = first.setdefault(json.dumps(source, sort_keys=True), run)
            if other.config[DATA_DIGEST] != config[DATA_DIGEST]:
                digests = f"digest {other.config[DATA_DIGEST]}, not {config[DATA_DIGEST]}"
                raise ConfigError("run", str(run.path), f"a run on the data of {other.path} ({config['dataset']}: {digests})")


def _compared(run: Run) -> dict[str, Any]:
    return {key: value for key, value in run.config.items() if key not in NOT_COMPARED | {"seed", DATA_DIGEST}}


def _name(config: Mapping[str, Any], differing: Sequence[str]) -> str:
    strategy = str(config.get("strategy", "run"))
    return ", ".join([strategy, *(f"{key} {config[key]}" for key in differing if key in config and key != "strategy")])
