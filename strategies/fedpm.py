"""FedPM: sparse random networks, with the density penalty.

Isik, Pase, Gunduz, Weissman, Zorzi: Sparse Random Networks for Communication-Efficient Federated Learning, ICLR 2023,
arXiv 2209.15328. Mestoukirdi, Esrafilian, Gesbert, Li, Gresset: Sparser Random Networks Exist: Enforcing
Communication-Efficient Federated Learning via Regularization, arXiv 2309.10834.

The network's weights ``w in {-c_l, +c_l}^d`` are random and frozen; what is learned is the probability mask ``theta``. In a
round a client starts from scores ``s = logit(clip(theta, eps, 1 - eps))`` and takes Adam steps on

    CE(f(x; m * w), y) + lambda * mean(sigmoid(s)),    m ~ Bernoulli(sigmoid(s)) afresh each batch, straight-through to s,

then sends one ``m ~ Bernoulli(sigmoid(s))``. The server holds a Beta posterior a gate, ``alpha += sum m``,
``beta += K - sum m``, back to ``lambda0`` every `reset-every` rounds, and broadcasts its mode
``theta = (alpha - 1) / (alpha + beta - 2)``. With lambda = 0 this is FedPM; lambda > 0 expels gates that do not matter.

The authors' released code differs from their text: frozen magnitudes e/sqrt(fan_in) instead of sqrt(2/fan_in), the
straight-through gradient multiplied by theta, eps = .01, scores that start from N(0, 1), and a prior reset every round. Each
is a key here. Ours decided: identity straight-through, eps = .001, theta starts at .5, reset every ceil(1/participation)
rounds (which of the two wins depends on how far clients train, `benchmarks/README.md`); the state is the integer votes and
trials, so theta is the same in whatever order masks arrive. A round without a quorum changes nothing, so if it was to reset the
prior, the older votes stay until the next reset.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedgates import keys
from fedgates.config import RunConfig, choice, number, text
from fedgates.flower import GateStrategy
from fedgates.gates import Gates, sample, sample_with
from fedgates.network import Network
from fedgates.state import Update, Votes, pack
from fedgates.training import Task, backward, batches, predict, score

EVALUATIONS = ("threshold", "sample", "mean", "ensemble")


def _are_evaluations(value: str) -> bool:
    names = value.split(",")
    return "threshold" in names and set(names) <= set(EVALUATIONS) and len(names) == len(set(names))


@dataclass(frozen=True)
class FedPMConfig(RunConfig):
    """The keys FedPM adds."""

    weight_scale: str = choice("kaiming", "kaiming", "released", "density")
    straight_through: str = choice("identity", "identity", "released")
    eps: float = number(0.001, 1e-6, 0.499)
    prior: float = number(1.0, 1, 1e6)
    reset_every: int = number(0, 0, 1_000_000_000)
    score_init: str = choice("half", "half", "normal")
    evaluations: str = text(
        "threshold,sample,mean", _are_evaluations, "threshold, then any of sample, mean, ensemble, separated by commas"
    )
    ensemble_size: int = number(8, 1, 1000)

    unused = frozenset({"target_density", "entropy_bonus", "value_type"})


class FedPM(GateStrategy[FedPMConfig, Votes]):
    """FedPM with the density penalty; see the module's text."""

    Config = FedPMConfig
    sends = "mask"
    samples = True

    def __init__(self, config: FedPMConfig, network: Network) -> None:
        super().__init__(config, network)
        self.gates = Gates(network, config.seed, config.weight_scale)
        self.digest = self.gates.digest

    @property
    def reset_every(self) -> int:
        """Rounds between resets of the prior: the key, or ceil(1 / participation)."""
        return self.config.reset_every or math.ceil(1 / self.config.fraction_train - 1e-9)

    def initial_state(self) -> Votes:
        """No trial yet."""
        return Votes(np.zeros(self.network.size, dtype=np.uint32), trials=0)

    def theta(self, state: Votes) -> Tensor:
        """The probability mask, ``[d]`` float32: the mode of each gate's Beta posterior, or the start if nothing is known."""
        extra = self.config.prior - 1
        if state.trials == 0:
            return self._initial_theta()
        theta = state.votes.astype(np.float32)
        theta += np.float32(extra)
        theta /= np.float32(state.trials + 2 * extra)
        return torch.from_numpy(theta).to(self.network.device)

    def _initial_theta(self) -> Tensor:
        size, device = self.network.size, self.network.device
        if self.config.score_init == "half":
            return torch.full((size,), 0.5, device=device)
        uniform = (keys.words(size, self.config.seed, "scores") >> np.uint64(11)) * 2.0**-53
        normal = torch.special.ndtri(torch.from_numpy(uniform).clamp_(1e-12, 1 - 1e-12))
        return torch.sigmoid(normal).to(device, torch.float32)

    # --- the client's rule

    def local_update(self, state: Votes, task: Task) -> Update:
        """Train the scores on the client's own images, then sample the mask that is sent."""
        config, network = self.config, self.network
        scores = self.theta(state).clamp_(config.eps, 1 - config.eps).logit_()
        scores.grad = network.gradient
        optimizer = torch.optim.Adam([scores], lr=config.learning_rate, fused=True)
        sampler = task.generator(config.seed, "masks", network.device)
        losses = []
        for batch in batches(task, config):
            self.gates.load_sample(scores, sampler)
            losses.append(backward(network, task, batch, config.precision))
            self.gates.straight_through(scores, config.straight_through, config.density_penalty)
            optimizer.step()
        theta = scores.sigmoid_()
        coins = keys.coins(network.size, config.seed, server_round=task.server_round, client=task.client)
        return Update(
            mask=pack(sample_with(theta, coins)),
            theta=theta.cpu().numpy(),
            num_examples=len(task.y),
            metrics={"loss": float(torch.stack(losses).mean())},
        )

    # --- the server's rule

    def aggregate(self, state: Votes, updates: Iterable[Update], server_round: int) -> Votes:
        """Add the masks' votes, bit by bit as they come; forget earlier rounds' first when the prior is reset."""
        fresh = (server_round - 1) % self.reset_every == 0
        votes, trials = (np.zeros_like(state.votes), 0) if fresh else (state.votes.copy(), state.trials)
        for update in updates:
            votes += update.gates(state.size)
            trials += 1
        return Votes(votes, trials)

    def evaluate(self, state: Votes, x: Tensor, y: Tensor, server_round: int) -> dict[str, float]:
        """Accuracy and loss of the thresholded mask; accuracy of the other evaluations asked for.

        ``accuracy_sample`` is of one sampled mask, ``accuracy_mean`` of the mean network ``w * theta``,
        ``accuracy_ensemble`` of the mean prediction of `ensemble-size` sampled masks.
        """
        theta = self.theta(state)
        names = self.config.evaluations.split(",")
        draw = keys.generator(self.config.seed, "evaluate", server_round=server_round, device=self.network.device)
        mask = threshold(theta)
        accuracy, loss = score(self._predict(mask, x), y)
        found = {"accuracy": accuracy, "loss": loss, "density_threshold": float(mask.double().mean())}
        if "sample" in names:
            found["accuracy_sample"] = score(self._predict(sample(theta, draw), x), y)[0]
        if "mean" in names:
            found["accuracy_mean"] = score(self._predict(theta, x), y)[0]
        if "ensemble" in names:
            members = [self._predict(sample(theta, draw), x) for _ in range(self.config.ensemble_size)]
            found["accuracy_ensemble"] = score(torch.stack(members).mean(0), y)[0]
        return found

    def _predict(self, gate: Tensor, x: Tensor) -> Tensor:
        self.gates.load(gate)
        return predict(self.network, x, self.config.precision)


def threshold(theta: Tensor) -> Tensor:
    """The mask of the gates more likely kept than not: ``theta > .5``, bool ``[d]``."""
    return theta > 0.5
