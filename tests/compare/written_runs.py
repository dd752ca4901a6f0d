"""Runs' folders written by hand."""

import json

from fedgates.compare import Group, read_run

COUNTS = {"clients_selected": 4, "clients_counted": 4, "clients_rejected": 0, "clients_failed": 0}


def line(server_round, **changes):
    """A line of rounds.jsonl: 45 bytes both ways, 5 of them to clients that evaluate."""
    return {
        "round": server_round,
        "accuracy": 0.5,
        "loss": 1.0,
        "density": 0.4,
        "uplink_bytes": 10,
        "downlink_bytes": 30,
        "evaluation_downlink_bytes": 5,
        "uplink_bpp": 0.2,
        "downlink_bpp": 2.0,
        "entropy_bpp": 0.9,
        "seconds": 1.0,
        **COUNTS,
        **changes,
    }


def rounds(key="accuracy", *values, **changes):
    """A line for each of some values of a key."""
    return [line(i, **{key: value}, **changes) for i, value in enumerate(values, 1)]


def write_run(folder, lines, seed=1, **config):
    """A finished run's folder; `config` has underscores for dashes."""
    folder.mkdir(parents=True)
    own = {"strategy": "fedpm", "dataset": "digits", "seed": seed, "num_server_rounds": len(lines)}
    whole = {**own, "output_dir": str(folder.parent), **config}
    (folder / "config.json").write_text(json.dumps({k.replace("_", "-"): v for k, v in whole.items()}))
    (folder / "rounds.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return folder


def group(folder, *of_runs, scenario="default", method="fedpm"):
    """A group of runs with seeds 1, 2, ..., each given by its lines."""
    names = [folder / scenario / method / f"seed{seed}" for seed in range(1, len(of_runs) + 1)]
    runs = [write_run(name, lines, seed) for seed, (name, lines) in enumerate(zip(names, of_runs, strict=True), 1)]
    return Group(scenario, method, tuple(map(read_run, runs)))
