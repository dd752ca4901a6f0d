"""python benchmarks/tune.py benchmarks/tuning/NAME.toml: choose the settings of a study's methods.

Each method has the same number of settings, and the seeds differ from those that the study reports. A tuning file has the
study, the seeds, and the settings of each method as tables of keys that override the study's::

    study = "../study/scarce_linear.toml"
    seeds = [1, 2, 3]

    [[settings.fediht]]
    learning-rate = 2.0

    [[settings.fediht]]
    learning-rate = 2.5

The best setting has the best mean of the study's metric after the last round. `scenario` selects one of several scenarios of a
study. Federations run in this process without Flower, with the same states as on the loopback grid; only the last round is
evaluated. The table is written next to the file. --workers N sets the number of parallel runs; a shorter trial with --seeds or
--rounds writes nothing.
"""

import argparse
import os
import sys
import tomllib
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fedgates.compare import machine, markdown, read_study  # noqa: E402  # found by the line above
from fedgates.compare.tables import format_value, is_share, spread  # noqa: E402
from fedgates.config import flatten, merged  # noqa: E402
from fedgates.errors import ConfigError  # noqa: E402

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Tuning:
    """Contents of a validated tuning file: for each method, the keys shared by all its settings, and the settings."""

    title: str
    metric: str
    columns: tuple[str, ...]
    clients: int
    seeds: tuple[int, ...]
    methods: Mapping[str, tuple[Settings, list[Settings]]]


def read_tuning(path: Path) -> Tuning:
    """Read and validate a tuning file.

    Raises
    ------
    ConfigError
        A method or scenario is not in the study, a seed is one that the study reports, or methods have different numbers of
        settings.
    """
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    study = read_study(path.parent / raw["study"])
    scenario = raw.get("scenario", next(iter(study.scenarios)))
    if scenario not in study.scenarios:
        raise ConfigError("scenario", scenario, f"one of {', '.join(study.scenarios)}")
    if set(raw["seeds"]) & set(study.seeds):
        raise ConfigError("seeds", raw["seeds"], f"seeds that the study does not report, not {list(study.seeds)}")
    counts = {name: len(settings) for name, settings in raw["settings"].items()}
    if len(set(counts.values())) != 1:
        raise ConfigError("settings", counts, "the same number of settings for each method")
    shared = merged(study.config, study.scenarios[scenario])
    clients = int(shared.pop("clients", study.clients))
    methods = {}
    for name, settings in raw["settings"].items():
        if name not in study.methods:
            raise ConfigError(f"settings.{name}", name, f"one of the study's methods, {', '.join(study.methods)}")
        methods[name] = merged(shared, study.methods[name]), [flatten(setting) for setting in settings]
    columns = tuple(key for key in study.question.columns or () if key != study.question.metric)
    return Tuning(study.question.title, study.question.metric, columns, clients, tuple(raw["seeds"]), methods)


def last_round(job: tuple[Settings, int]) -> dict[str, float]:
    """Run a federation and return the metrics of its last state; empty if training diverged."""
    import torch

    from fedgates import data
    from fedgates.federation import Client, Server
    from fedgates.federation.client_data import partition_data
    from fedgates.methods.registry import build, configure

    torch.set_num_threads(1)
    raw, count = job
    kind, config = configure(raw)
    dataset = data.load_once(config)
    method = build(kind, config, dataset.problem)
    if dataset.support is not None and len(dataset.support) == method.network.size:
        method.support = dataset.support
    server: Server[Any] = Server(method, dataset.problem)
    clients = {name: Client(method, name, partition_data(config, name, count)) for name in range(count)}
    nodes = {name: name for name in clients}
    try:
        for number in range(1, config.num_server_rounds + 1):
            server.close_round([clients[request.client].reply(request) for request in server.open_round(number, nodes)])
    except FloatingPointError:
        return {}
    return server.evaluate(*data.to_tensors(dataset.test, "cpu"))


def main() -> None:
    """Run every setting of every method with every seed, and print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seeds", type=int, nargs="+", help="other seeds than the file's")
    parser.add_argument("--rounds", type=int, help="another number of rounds than the study's")
    arguments = parser.parse_args()
    tuning = read_tuning(arguments.file)
    seeds = arguments.seeds or tuning.seeds
    trial = {"num-server-rounds": arguments.rounds} if arguments.rounds else {}
    each = [(name, setting) for name, (_, settings) in tuning.methods.items() for setting in settings]
    jobs = [
        (merged(tuning.methods[name][0], setting, trial, {"seed": seed}), tuning.clients)
        for name, setting in each
        for seed in seeds
    ]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    found: list[dict[str, float]] = []
    with ProcessPoolExecutor(arguments.workers) as pool:
        for metrics in pool.map(last_round, jobs):
            found.append(metrics)
            print(f"  {len(found)}/{len(jobs)} runs", file=sys.stderr, flush=True)
    groups = [found[i : i + len(seeds)] for i in range(0, len(found), len(seeds))]
    text = report(tuning, list(seeds), each, groups, arguments.file)
    print(text)
    if not (arguments.seeds or arguments.rounds):
        arguments.file.with_suffix(".md").write_text(text, encoding="utf-8")


def report(
    tuning: Tuning,
    seeds: list[int],
    each: list[tuple[str, Settings]],
    groups: list[list[dict[str, float]]],
    file: Path,
) -> str:
    """Return one table per method, with the best setting in bold."""
    sign = -1 if tuning.metric.endswith("loss") else 1
    count = len(each) // len(tuning.methods)
    lines = [f"# Tuning: {tuning.title}", "", f"`python benchmarks/tune.py benchmarks/tuning/{file.name}`", ""]
    text = (
        f"{count} settings per method; mean and standard deviation of the last round's metrics over seeds "
        f"{', '.join(map(str, seeds))}, which the study does not report. The best mean of {tuning.metric} is in bold."
    )
    lines += [text, ""]
    for name in tuning.methods:
        mine = [(setting, runs) for (method, setting), runs in zip(each, groups, strict=True) if method == name]
        keys = list(dict.fromkeys(key for setting, _ in mine for key in setting))
        scores = [sign * mean(run[tuning.metric] for run in runs) if all(runs) else -np.inf for _, runs in mine]
        rows = []
        for (setting, runs), score in zip(mine, scores, strict=True):
            cells = [_spread(runs, key) for key in (tuning.metric, *tuning.columns)]
            if score == max(scores) > -np.inf:
                cells[0] = f"**{cells[0]}**"
            rows.append([*(setting.get(key, "") for key in keys), *cells])
        heading = f"{tuning.metric}{', %' * is_share(tuning.metric)}"
        lines += [f"## {name}", "", *markdown([*keys, heading, *tuning.columns], rows), ""]
    return "\n".join([*lines, machine(), ""])


def _spread(runs: list[dict[str, float]], key: str) -> str:
    if not all(key in run for run in runs):
        return "diverged" if not all(runs) else "-"
    values = [run[key] for run in runs]
    if len(values) == 1:
        return format_value(values[0], key)
    return spread(values) if is_share(key) else spread(values, 3, 1)


if __name__ == "__main__":
    main()
