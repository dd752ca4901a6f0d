"""FedPM: federated training of probability masks over random weights, with an optional density penalty.

Isik, Pase, Gunduz, Weissman, Zorzi: Sparse Random Networks for Communication-Efficient Federated Learning, ICLR 2023,
arXiv 2209.15328. Mestoukirdi, Esrafilian, Gesbert, Li, Gresset: Sparser Random Networks Exist: Enforcing
Communication-Efficient Federated Learning via Regularization, arXiv 2309.10834.

The network's weights ``w in {-c_l, +c_l}^d`` are random and frozen; training learns the probability mask ``theta``. In each
round, a client starts from scores ``s = logit(clip(theta, eps, 1 - eps))`` and takes Adam steps on

    CE(f(x; m * w), y) + lambda * mean(sigmoid(s)),    a new m ~ Bernoulli(sigmoid(s)) per batch, straight-through to s,

then sends one ``m ~ Bernoulli(sigmoid(s))``. The server keeps a Beta posterior for each gate, ``alpha += sum m``,
``beta += K - sum m``, resets it to ``lambda0`` every `fedpm.reset-every` rounds, and broadcasts its mode
``theta = (alpha - 1) / (alpha + beta - 2)``. With lambda = 0 this is FedPM; lambda > 0 removes gates that do not matter.

The authors' released code differs from the paper: frozen magnitudes e/sqrt(fan_in) instead of sqrt(2/fan_in), the
straight-through gradient multiplied by theta, eps = .01, scores that start from N(0, 1), and a prior reset every round. Each
is a config key here. Choices here: identity straight-through, eps = .001, theta starts at .5, reset every ceil(1/participation)
rounds (which reset is better depends on how long clients train, `benchmarks/README.md`). The state consists of integer votes
and trials, so theta does not depend on the order of masks. A round without a quorum changes nothing; if the prior was to be
reset in it, older votes stay until the next reset.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Generic, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from fedgates import rng
from fedgates.config import PENALTY_ONLY, DensityTable, MaskConfig, Table, key
from fedgates.methods import MaskMethod, Together, add_votes, train_together
from fedgates.methods.base import Spec
from fedgates.methods.training import Task
from fedgates.nn.optimizers import Adam
from fedgates.types import Update, Votes
from fedgates.wire.delta import Coupling


class FedPMTable(Table):
    """FedPM, and the methods that are based on it."""

    straight_through: Literal["identity", "authors-code"] = key(
        "identity", "Gradient of a mask with respect to theta: identity, or multiplied by theta as in the authors' code."
    )
    eps: float = key(
        0.001,
        "Theta is clipped to [eps, 1 - eps] before training; for one-bit-gates the eps of the last round.",
        ge=1e-6,
        le=0.499,
    )
    prior: float = key(1.0, "Both parameters lambda0 of the Beta prior of a gate.", ge=1, le=1_000_000)
    reset_every: int = key(
        0,
        "Rounds between resets of the prior; the method's default is ceil(1 / fraction-train), the authors' code has 1.",
        ge=0,
        le=1_000_000_000,
        method_default=0,
        example=1,
    )
    score_init: Literal["half", "normal"] = key("half", "Start: theta is 0.5 everywhere, or scores are drawn from N(0, 1).")


class FedPMConfig(MaskConfig):
    """Keys of FedPM."""

    density: DensityTable = DensityTable()
    fedpm: FedPMTable = FedPMTable()

    unused = MaskConfig.unused | PENALTY_ONLY


FedPMCfg = TypeVar("FedPMCfg", bound=FedPMConfig)


class FedPM(Together[FedPMCfg, Votes], MaskMethod[FedPMCfg], Generic[FedPMCfg]):
    """FedPM with the density penalty, described in the module docstring."""

    Config = FedPMConfig
    spec = Spec(samples=True)

    @property
    def reset_every(self) -> int:
        """Number of rounds between resets of the prior: the value of the key, or ceil(1 / participation)."""
        return self.config.fedpm.reset_every or math.ceil(1 / self.config.fraction_train - 1e-9)

    def theta(self, state: Votes) -> Tensor:
        """Return the probability mask, ``[d]`` float32: the mode of each gate's Beta posterior, or the initial theta."""
        extra = self.config.fedpm.prior - 1
        if state.trials == 0:
            return self.initial_theta()
        theta = self.estimated_votes(state)
        theta += np.float32(extra)
        theta /= np.float32(state.trials + 2 * extra)
        return torch.from_numpy(theta).to(self.network.device)

    def initial_theta(self) -> Tensor:
        """Return theta before the first round, ``[d]``; random for random weights if `fedpm.score-init` is "normal"."""
        theta = super().initial_theta()
        if self.config.fedpm.score_init == "half":
            return theta
        return theta.where(self.gates.given, normal_scores(len(theta), self.config.seed).to(theta.device).sigmoid_())

    def start_theta(self, state: Votes, server_round: int) -> Tensor:  # noqa: ARG002
        """Return theta clipped to [eps, 1 - eps], ``[d]``, so that scores are finite."""
        return self.theta(state).clamp_(self.config.fedpm.eps, 1 - self.config.fedpm.eps)

    @property
    def coupling(self) -> Coupling:
        """As in the base class, but without the initial state for "normal" scores, whose sigmoid depends on the machine."""
        found = super().coupling
        return found if self.config.fedpm.score_init == "half" else found._replace(initial=None)

    # --- the client's rule

    def train_clients(self, state: Votes, tasks: Sequence[Task]) -> tuple[Tensor, list[float]]:
        """Train the scores on each client's examples; return theta, ``[copies, d]``, and the mean losses."""
        scores = self.start_theta(state, tasks[0].server_round).logit_().repeat(len(tasks), 1)
        losses = self.train(scores, tasks)
        return scores.sigmoid_(), losses

    def client_update(self, state: Votes, trained: Tensor, task: Task, loss: float) -> Update:  # noqa: ARG002
        """Return an update with a mask sampled from theta."""
        return self.sample_update(trained, task, loss)

    def train(self, scores: Tensor, tasks: Sequence[Task]) -> list[float]:
        """Run Adam on scores ``[copies, d]`` in place, with a new mask for each batch; return the mean losses."""
        config, network = self.config, self.network
        optimizer = Adam(scores, network.gradient, learning_rate=config.rate(tasks[0].server_round))
        samplers = [task.generator(config.seed, "masks", network.device) for task in tasks]
        return train_together(
            network,
            tasks,
            config,
            optimizer,
            before_forward=lambda: self.gates.load_sample(scores, *samplers),
            after_backward=lambda: self.gates.straight_through(scores, config.fedpm.straight_through, config.density.penalty),
        )

    # --- the server's rule

    def aggregate(self, state: Votes, updates: Iterable[Update], server_round: int) -> Votes:
        """Add the masks' votes to the votes since the last reset of the prior."""
        return add_votes(state, updates, fresh=self.fresh(server_round), trim=self.config.server.trim)

    def fresh(self, server_round: int) -> bool:
        """Return whether the prior is reset before a round."""
        return (server_round - 1) % self.reset_every == 0


def normal_scores(size: int, seed: int) -> Tensor:
    """Return scores from N(0, 1), ``[size]`` float32; a function of the seed, the same on every machine."""
    scores: Tensor = torch.special.ndtri(torch.from_numpy(rng.uniform(size, seed, "scores")).clamp_(1e-12, 1 - 1e-12))
    return scores.to(torch.float32)
