"""python benchmarks/coupled_masks.py --data-dir DIR: ablation of coupled masks, with variants that brought no gain.

Federations run in this process without Flower (benchmarks/tune.py). The defaults were chosen on seeds 1 to 3; the studies
report other seeds.
"""

import argparse
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from fedgates.strategies.coupled_masks import CoupledMasks
from torch import Tensor
from tune import last_round

from fedgates import rng
from fedgates.compare import machine, markdown
from fedgates.compare.tables import spread
from fedgates.methods.training import Task
from fedgates.nn.gates import sample_with
from fedgates.types import Update, Votes

SEEDS = (1, 2, 3)
RESULT = Path(__file__).resolve().parent / "results" / "coupled_masks.md"
TWO_CLASSES = {"partition": "classes", "fraction-train": 0.2}
CNN = "MNIST, cnn, 2 classes, 4 of 20"
SCENARIOS = {
    "digits, 2 classes, 4 of 20": (20, {**TWO_CLASSES, "num-server-rounds": 30}),
    "MNIST, IID, 10 of 10": (10, {"dataset": "mnist", "data.samples-per-client": 60, "num-server-rounds": 15}),
    CNN: (
        20,
        {**TWO_CLASSES, "dataset": "mnist", "data.samples-per-client": 60, "num-server-rounds": 15, "model": "cnn"},
    ),
}


class Sampled(CoupledMasks):
    """Variant in which clients train with a sampled mask per batch and straight-through gradients, as in FedPM."""

    def train(self, scores: Tensor, task: Task) -> float:
        """Train as in the base class, but with a sampled mask instead of the mean network."""
        sampler = task.generator(self.config.seed, "masks")
        self.gates.load_mean = lambda scores: self.gates.load_sample(scores, sampler)
        return super().train(scores, task)


class Uncoupled(CoupledMasks):
    """Variant in which the untrained mask has other coins than the client's mask, so that sampling noise does not cancel."""

    def aggregate(self, state: Votes, updates: Iterable[Update], server_round: int) -> Votes:
        """Add ``m - m0`` with independent samples."""
        theta, found = self.clipped_theta(state), list(updates)
        trials = state.trials or 2
        votes = state.votes.astype(np.int64) if state.trials else np.full(state.size, trials // 2)
        for update in found:
            coins = rng.coins(state.size, self.config.seed + 1, server_round=server_round, client=update.client)
            votes += update.gates(state.size).astype(np.int64) - sample_with(theta, coins)
        return replace(state, votes=np.clip(votes, 0, trials).astype(np.uint32), trials=trials)


class Growing(CoupledMasks):
    """Variant in which T starts at 2 and doubles after each third of the run."""

    def aggregate(self, state: Votes, updates: Iterable[Update], server_round: int) -> Votes:
        """Return the votes after a round, with twice as many trials if a third of the run is over."""
        new = super().aggregate(state, updates, server_round)
        due = server_round % max(1, self.config.num_server_rounds // 3) == 0
        return replace(new, votes=new.votes * 2, trials=new.trials * 2) if due else new


class Nearer(CoupledMasks):
    """Variant in which theta stays at least .1 away from 0 and 1, so that no gate gets stuck."""

    def clipped_theta(self, state: Votes) -> Tensor:
        """Return theta clipped to [.1, .9]."""
        return self.theta(state).clamp_(0.1, 0.9)


VARIANTS = {
    "defaults": {},
    "sampled masks in training": {"strategy": "coupled_masks:Sampled"},
    "steps not clipped": {"coupled-masks.max-step": 1e6},
    "neither": {"strategy": "coupled_masks:Sampled", "coupled-masks.max-step": 1e6},
    "no logit adjustment": {"coupled-masks.class-prior": 0.0},
    "masks not coupled": {"strategy": "coupled_masks:Uncoupled"},
    "rho 500": {"coupled-masks.score-learning-rate": 500.0},
    "rho 2000": {"coupled-masks.score-learning-rate": 2000.0},
    "T 2": {"coupled-masks.trials": 2},
    "T 4": {"coupled-masks.trials": 4},
    "T 10": {"coupled-masks.trials": 10},
    "T growing from 2 to 8": {"strategy": "coupled_masks:Growing", "coupled-masks.trials": 2},
    "eps .1": {"strategy": "coupled_masks:Nearer"},
}
OF_TRAINING = ("defaults", "sampled masks in training", "steps not clipped", "neither")
"""Variants that also run with the convolutional network."""


def main() -> None:
    """Run every variant in every scenario with every seed, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    shared = {"strategy": "coupled-masks", "gates.evaluations": "threshold", "data-dir": arguments.data_dir}
    pairs = [(variant, scenario) for variant in VARIANTS for scenario in SCENARIOS if scenario != CNN or variant in OF_TRAINING]
    jobs = [
        ({**shared, **SCENARIOS[scenario][1], **VARIANTS[variant], "seed": seed}, SCENARIOS[scenario][0])
        for variant, scenario in pairs
        for seed in SEEDS
    ]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(arguments.workers) as pool:
        accuracies = [found["accuracy"] for found in pool.map(last_round, jobs)]
    cells = {pair: spread(accuracies[len(SEEDS) * i : len(SEEDS) * (i + 1)]) for i, pair in enumerate(pairs)}
    rows = [[variant, *(cells.get((variant, scenario), "") for scenario in SCENARIOS)] for variant in VARIANTS]
    text = [
        "# Coupled masks: what each part contributes",
        "",
        "`python benchmarks/coupled_masks.py --data-dir DIR`",
        "",
        f"Accuracy after the last round, %, mean and standard deviation over seeds {', '.join(map(str, SEEDS))}.",
        "",
        *markdown(["variant", *SCENARIOS], rows),
        "",
        machine(),
        "",
    ]
    RESULT.write_text("\n".join(text), encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
