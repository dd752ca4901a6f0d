"""python benchmarks/personal.py: accuracy with a personal last layer for clients with 2 classes each.

Digits, 20 clients, of which 4 train in each round, with all their examples or with few. After the last round, every client
evaluates on the held-out fifth of its examples. The rows of a method are:

- shared: the shared network, on all ten classes;
- shared, limited to own classes: the more probable of the two classes in the client's training examples;
- personal last layer: the layer stays on the client and is trained for 3 epochs when a state arrives;
- fully local: each client trains the whole network alone, for as many epochs as the federation trains a client on average
  (E = rounds * share of clients * local epochs), or as many as with a personal layer in total (2 E + 3).

--methods takes names separated by commas.
"""

import argparse
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from statistics import mean
from typing import Any

import torch
from sweep import Line, arguments, spread, sweep, table

from fedgates import data
from fedgates.federation import partition_data
from fedgates.methods.registry import AnyMethod, build, configure
from fedgates.methods.training import Task
from fedgates.types import Problem, Update, Value

CLIENTS, SHARE, LOCAL_EPOCHS = 20, 0.2, 3
SAMPLES, FEW = "data.samples-per-client", 25
BASE: Mapping[str, Value] = {
    "partition": "classes",
    "data.classes-per-client": 2,
    "fraction-train": SHARE,
    "fraction-evaluate": 1.0,
    "local-epochs": LOCAL_EPOCHS,
}


def local(job: tuple[str, int, int, int]) -> list[float]:
    """Return the accuracies of clients that train alone, given method, examples per client, epochs and seed."""
    strategy, samples, epochs, seed = job
    torch.set_num_threads(1)
    raw = {**BASE, SAMPLES: samples, "strategy": strategy, "seed": seed, "local-epochs": epochs}
    method = build(*configure(raw), Problem.of_images((1, 8, 8), 10))
    found = []
    for client in range(CLIENTS):
        examples = partition_data(method.config, client, CLIENTS)
        task = Task(*data.to_tensors(examples.train, method.network.device), server_round=1, client=client)
        weights = trained(method, method.local_update(method.initial_state(), task))
        found.append(method.score(weights, *data.to_tensors(examples.held_out, method.network.device))["accuracy"])
    return found


def trained(method: AnyMethod, update: Update) -> torch.Tensor:
    """Return the weights that a client trained; for sampled masks, the frozen weights times the thresholded mask."""
    if update.theta is None:
        return method.weights(method.aggregate(method.initial_state(), [replace(update, client=0)], 1))
    theta = torch.from_numpy(update.theta).to(method.network.device)
    return method.gates.frozen * (theta > 0.5)  # type: ignore[attr-defined,no-any-return]


def accuracies(lines: list[Line], key: str) -> list[float]:
    """Return the metrics of each client after the last round.

    Raises
    ------
    ValueError
        A client did not evaluate.
    """
    found = lines[-1]["client_evaluations"]
    if len(found) != CLIENTS:
        raise ValueError(f"{len(found)} of {CLIENTS} clients evaluated")
    return [one[key] for one in found.values()]


def row(method: str, name: str, runs: list[list[float]], moved: str) -> list[Any]:
    """Return a row of the table, given the accuracies of each seed's clients."""
    return [method, name, spread([mean(each) for each in runs]), spread([min(each) for each in runs]), moved]


def megabytes(runs: list[list[Line]]) -> str:
    """Return the megabytes to and from the clients that train."""
    totals = [sum(line["uplink_bytes"] + line["downlink_bytes"] for line in lines) / 1e6 for lines in runs]
    return f"{mean(totals):.2f}"


def table_of(samples: int, args: argparse.Namespace) -> tuple[str, list[str], list[list[Any]]]:
    """Run everything for one table, and return its text, header and rows."""
    methods, seeds = args.methods.split(","), range(args.first_seed, args.first_seed + args.seeds)
    base = {**BASE, SAMPLES: samples, "num-server-rounds": args.rounds}
    arms = [(method, personal) for method in methods for personal in ("none", "last")]
    lines = sweep([({**base, "strategy": m, "personal": p, "seed": s}, CLIENTS) for m, p in arms for s in seeds], args.workers)
    federated = {arm: lines[i * args.seeds : (i + 1) * args.seeds] for i, arm in enumerate(arms)}
    average = round(args.rounds * SHARE * LOCAL_EPOCHS)
    alone = [(method, epochs) for method in methods for epochs in (average, 2 * average + 3)]
    with ProcessPoolExecutor(args.workers) as pool:
        means = list(pool.map(local, [(method, samples, epochs, seed) for method, epochs in alone for seed in seeds]))
    rows = []
    for method in methods:
        shared, personal = federated[method, "none"], federated[method, "last"]
        limited = [accuracies(each, "own_class_accuracy") for each in shared]
        rows += [
            row(method, "shared", [accuracies(each, "accuracy") for each in shared], megabytes(shared)),
            row(method, "shared, limited to own classes", limited, megabytes(shared)),
            row(method, "personal last layer", [accuracies(each, "accuracy") for each in personal], megabytes(personal)),
        ]
        for i, (of, epochs) in enumerate(alone):
            if of == method:
                mine = means[i * args.seeds : (i + 1) * args.seeds]
                rows.append(row(method, f"fully local, {epochs} epochs", mine, "0"))
    held = f"{samples} examples each" if samples else "all their examples (72 on average)"
    text = (
        f"Digits, mlp, {CLIENTS} clients of 2 classes with {held}, four fifths of them to train. {round(SHARE * CLIENTS)} "
        f"clients train each round, {args.rounds} rounds of {LOCAL_EPOCHS} local epochs: {average} epochs a client on average, "
        f"and {average + 3} of the personal layer. Accuracy on a client's own held-out examples after the last round, in "
        f"percent: mean over clients, and the worst client; mean and standard deviation over seeds {seeds[0]} to {seeds[-1]}. "
        "MB: payloads both ways of clients that train."
    )
    return text, ["method", "network", "accuracy", "worst client", "MB"], rows


def main() -> None:
    """Run all methods, and print the tables."""
    args = arguments(__doc__ or "", methods="fedpm,fedavg", first_seed=4, seeds=5, rounds=30)
    command = f"--methods {args.methods} --first-seed {args.first_seed} --seeds {args.seeds} --rounds {args.rounds}"
    parts = [part for samples in (0, FEW) for part in table_of(samples, args)]
    table("A personal last layer", f"python benchmarks/personal.py {command}", *parts)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
