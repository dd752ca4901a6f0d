"""python benchmarks/lies.py: accuracy of FedPM on digits if some of 20 clients lie in every round, and the effect of `trim`.

A liar trains like the other clients, but then replaces its mask:

- inverse: all bits inverted;
- random: fair random bits;
- ones: all bits 1, the same for all liars.

Lies are coded with the codec of the run, so that they are accepted like honest masks; if one is not, the benchmark fails.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from flwr.app import Message
from numpy.typing import NDArray
from sweep import ROOT, Line, arguments, spread, table

from fedgates import rng
from fedgates.flower.app import load_app
from fedgates.flower.loopback import LoopbackGrid
from fedgates.flower.records import STATE, UPDATE, from_record, to_record
from fedgates.flower.server_app import run_on_grid
from fedgates.methods.registry import AnyMethod, build, configure
from fedgates.types import Problem, Value, pack

Gates = NDArray[np.uint8]
LIES = ("inverse", "random", "ones")
SHARES = (0.1, 0.2, 0.3)
TRIMS = (0.0, 0.1, 0.2, 0.3)
ENDS = (TRIMS[0], TRIMS[-1])
PARTITIONS: dict[str, dict[str, Value]] = {
    "IID": {},
    "Dirichlet, .1": {"partition": "dirichlet", "dirichlet-alpha": 0.1},
    "2 classes per client": {"partition": "classes", "classes-per-client": 2},
}


class Case(NamedTuple):
    """Settings of a federation except the seed; all clients take part in every round."""

    config: tuple[tuple[str, Value], ...]
    clients: int
    liars: int
    lie: str


def case(config: Mapping[str, Value], clients: int = 20, share: float = 0.0, lie: str = "") -> Case:
    """Return a case in which a share of the clients lies."""
    return Case(tuple(sorted(config.items())), clients, round(share * clients), lie)


class Lying(LoopbackGrid):
    """Grid in which some clients send a lie instead of each mask."""

    method: AnyMethod
    liars: frozenset[int]
    lie: str

    def deliver(self, message: Message) -> Message | None:
        """Return the client's answer, with a lie in it if the client is a liar."""
        reply, client = super().deliver(message), message.metadata.dst_node_id - min(self.contexts)
        if reply is None or message.metadata.message_type != "train" or client not in self.liars:
            return reply
        codec = self.method.codec
        known = codec.unpack_state(from_record(message.content.array_records[STATE]))
        honest = codec.unpack_update(from_record(reply.content.array_records[UPDATE]), known, client)
        gates = lied(self.lie, honest.gates(known.state.size), self.method.config.seed, known.server_round, client)
        update = replace(honest, mask=pack(gates.view(np.bool_)))
        reply.content[UPDATE] = to_record(codec.pack_update(update, known, client))
        return reply


def lied(lie: str, honest: Gates, seed: int, server_round: int, client: int) -> Gates:
    """Return what a liar sends instead of its trained mask `honest`, 0 and 1 ``[d]``."""
    if lie == "inverse":
        return 1 - honest
    if lie == "random":
        return rng.bits(len(honest), seed, "lies", server_round=server_round, client=client)
    return np.ones_like(honest)


def work_quietly(level: int) -> None:
    """Log nothing below a level, and use one thread, because several runs are executed in parallel."""
    log = logging.getLogger("fedgates")
    log.addHandler(logging.NullHandler())  # prevents the app from adding a handler that prints
    log.setLevel(level)
    torch.set_num_threads(1)


def run(job: tuple[Case, int]) -> list[Line]:
    """Run one federation with a seed, and return its rounds.

    Raises
    ------
    ValueError
        A round did not count every client.
    """
    of, seed = job
    work_quietly(logging.ERROR)
    app = load_app(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        raw = {
            **app.config,
            "evaluations": "threshold",
            **dict(of.config),
            "seed": seed,
            "output-dir": folder,
        }
        grid = Lying(app.client, raw, of.clients)
        grid.method = method(tuple(raw.items()))
        grid.liars = frozenset(np.argsort(rng.words(of.clients, seed, "liars"))[: of.liars].tolist())
        grid.lie = of.lie
        lines = run_on_grid(grid, raw).round_log.read()
    if any(line["clients_counted"] != of.clients for line in lines):
        raise ValueError(f"{job}: a round did not count every client")
    return lines


@lru_cache(maxsize=1)
def method(raw: tuple[tuple[str, Value], ...]) -> AnyMethod:
    """Return the run's method for the digits, whose codec the liars use."""
    return build(*configure(dict(raw), load_app(ROOT).server.methods), Problem.of_images((1, 8, 8), 10))


def federations(cases: Iterable[Case], seeds: int, workers: int) -> dict[Case, list[list[Line]]]:
    """Run each case with each seed, `workers` in parallel with one thread each, and return their rounds."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    different = list(dict.fromkeys(cases))
    jobs = [(of, seed) for of in different for seed in range(1, seeds + 1)]
    found = dict[Case, list[list[Line]]]()
    with ProcessPoolExecutor(workers) as pool:
        for done, ((of, _), lines) in enumerate(zip(jobs, pool.map(run, jobs), strict=True), 1):
            print(f"  {done}/{len(jobs)} runs", file=sys.stderr, flush=True)
            found.setdefault(of, []).append(lines)
    return found


def accuracy(runs: list[list[Line]]) -> str:
    """Return mean and standard deviation of the last round's accuracy over seeds."""
    return spread([lines[-1]["accuracy"] for lines in runs])


def main() -> None:
    """Run all cases, and print the tables."""
    args = arguments(__doc__ or "", seeds=3, rounds=20)

    def fedpm(trim: float, share: float = 0.0, lie: str = "", partition: str = "IID") -> Case:
        return case(
            {"strategy": "fedpm", "num-server-rounds": args.rounds, "trim": trim, **PARTITIONS[partition]}, 20, share, lie
        )

    masks = {("none", 0.0): [fedpm(trim) for trim in ENDS]}
    masks |= {(lie, share): [fedpm(trim, share, lie) for trim in ENDS] for lie in LIES for share in SHARES}
    values = {share: [fedpm(trim, share, "inverse" if share else "") for trim in TRIMS] for share in (0.0, SHARES[-1])}
    honest = {name: [fedpm(trim, partition=name) for trim in ENDS] for name in PARTITIONS}
    cells = [each for rows in (masks, values, honest) for row in rows.values() for each in row]
    runs = federations(cells, args.seeds, args.workers)

    def accuracies(cells: Iterable[Case]) -> list[str]:
        return [accuracy(runs[of]) for of in cells]

    table(
        "Clients that lie, and trimmed votes",
        f"python benchmarks/lies.py --seeds {args.seeds} --rounds {args.rounds}",
        f"FedPM on digits, 20 clients, IID, all in every round. Test accuracy of the thresholded mask after round "
        f"{args.rounds}, in percent; mean and standard deviation over {args.seeds} seeds. Every lie was counted.",
        ["lie", "liars", *(f"trim {trim:g}" for trim in ENDS)],
        [[lie, percent(share), *accuracies(row)] for (lie, share), row in masks.items()],
        "## Values of `trim`\n\nLiars send the inverse of the masks that they trained.",
        ["liars", *(f"trim {trim:g}" for trim in TRIMS)],
        [[percent(share), *accuracies(row)] for share, row in values.items()],
        "## Cost of `trim` without liars\n\nHonest clients with different classes disagree as well.",
        ["partition", *(f"trim {trim:g}" for trim in ENDS)],
        [[name, *accuracies(row)] for name, row in honest.items()],
    )


def percent(share: float) -> str:
    """Return a share in percent, as text."""
    return f"{100 * share:.0f} %"


if __name__ == "__main__":
    main()
