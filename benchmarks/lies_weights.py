"""python benchmarks/lies_weights.py: accuracy of methods that send weights if some of 10 clients lie.

Digits, IID, all clients in every round, FedAvg and Top-K (1 % of the weights). A liar trains like the other clients, but then
sends

- huge: 1e30 for every value;
- flipped: ten times its change in the opposite direction;
- zeros: zeros, and a number of examples of two billion.

Seeds 4 to 6. `server.max-norm` 4 was chosen on seeds 1 to 3: in eight rounds no honest change exceeded 2.9 times the median.
"""

import logging
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
from flwr.app import Message
from lies import method, percent, work_quietly
from sweep import ROOT, arguments, spread, table

from fedgates.errors import QuorumError
from fedgates.flower.app import load_app
from fedgates.flower.loopback import LoopbackGrid
from fedgates.flower.records import METRICS, STATE, UPDATE, from_record, to_record
from fedgates.flower.server_app import run_on_grid
from fedgates.methods.registry import AnyMethod
from fedgates.types import Update, Value, Weights

CLIENTS, FIRST_SEED = 10, 4
METHODS: dict[str, dict[str, Value]] = {
    "fedavg": {"strategy": "fedavg"},
    "topk": {"strategy": "topk", "density.target": 0.01},
}
LIES = ("huge", "flipped", "zeros")
DEFENCES: dict[str, dict[str, Value]] = {
    "defaults": {},
    "trim .3": {"server.trim": 0.3},
    "max-norm 4": {"server.max-norm": 4.0},
    "max-norm 4, max-examples 1": {"server.max-norm": 4.0, "server.max-examples": 1.0},
}


class Case(NamedTuple):
    """Settings of a run except the seed."""

    method: str
    defence: str
    lie: str
    liars: int


class Lying(LoopbackGrid):
    """Grid in which the first clients send a lie instead of each update."""

    method: AnyMethod
    case: Case

    def deliver(self, message: Message) -> Message | None:
        """Return the client's answer, with a lie in it if the client is a liar."""
        reply, client = super().deliver(message), message.metadata.dst_node_id - min(self.contexts)
        if reply is None or reply.has_error() or message.metadata.message_type != "train" or client >= self.case.liars:
            return reply
        codec = self.method.codec
        known = codec.unpack_state(from_record(message.content.array_records[STATE]))
        update = codec.unpack_update(from_record(reply.content.array_records[UPDATE]), known, client)
        reply.content[UPDATE] = to_record(codec.pack_update(lied(self.case.lie, update, known.state), known, client))
        if self.case.lie == "zeros":
            reply.content.metric_records[METRICS]["num-examples"] = 2**31 - 1
        return reply


def lied(lie: str, honest: Update, state: Weights) -> Update:
    """Return what a liar sends instead of its trained update `honest`."""
    values = np.zeros(0, np.float32) if honest.values is None else honest.values
    if lie == "zeros":
        return replace(honest, values=np.zeros_like(values))
    if lie == "huge":
        return replace(honest, values=np.full_like(values, 1e30))
    start = state.values if honest.mask is None else np.zeros_like(values)  # Top-K sends changes
    return replace(honest, values=start - 10 * (values - start))


def run(job: tuple[Case, int, int]) -> float | None:
    """Return the accuracy after the last round of a run with a seed; None if the run ended early."""
    case, rounds, seed = job
    work_quietly(logging.CRITICAL)
    app = load_app(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        raw: dict[str, Value] = {**app.config, **METHODS[case.method], **DEFENCES[case.defence], "seed": seed}
        raw |= {"num-server-rounds": rounds, "output-dir": folder}
        grid = Lying(app.client, raw, CLIENTS)
        grid.method, grid.case = method(tuple(raw.items())), case
        try:
            accuracy: float = run_on_grid(grid, raw).round_log.read()[-1]["accuracy"]
        except QuorumError:
            return None
    return accuracy


def shown(accuracies: list[float | None]) -> str:
    """Return mean and standard deviation as text, or the number of runs that ended early."""
    ended = sum(accuracy is None for accuracy in accuracies)
    return f"{ended} of {len(accuracies)} runs ended" if ended else spread([a for a in accuracies if a is not None])


def main() -> None:
    """Run all cases, and print the table."""
    args = arguments(__doc__ or "", seeds=3, rounds=20)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = [("none", 0), *product(LIES, (1, 3))]
    cases = [Case(name, defence, lie, liars) for name in METHODS for lie, liars in rows for defence in DEFENCES]
    jobs = [(case, args.rounds, FIRST_SEED + seed) for case in cases for seed in range(args.seeds)]
    found = dict[Case, list[float | None]]()
    with ProcessPoolExecutor(args.workers) as pool:
        for done, (job, accuracy) in enumerate(zip(jobs, pool.map(run, jobs), strict=True), 1):
            print(f"  {done}/{len(jobs)} runs", file=sys.stderr, flush=True)
            found.setdefault(job[0], []).append(accuracy)
    table(
        "Clients that lie to methods that send weights",
        f"python benchmarks/lies_weights.py --seeds {args.seeds} --rounds {args.rounds}",
        f"Digits, {CLIENTS} clients, IID, all in every round. Test accuracy after round {args.rounds}, in percent; mean and "
        f"standard deviation over seeds {FIRST_SEED} to {FIRST_SEED + args.seeds - 1}.",
        ["method", "lie", "liars", *DEFENCES],
        [
            [name, lie, percent(liars / CLIENTS), *(shown(found[Case(name, defence, lie, liars)]) for defence in DEFENCES)]
            for name in METHODS
            for lie, liars in rows
        ],
    )


if __name__ == "__main__":
    main()
