"""Coupled masks: voting on the changes that training makes to a mask, for data that are uneven over clients.

This method is not from a paper. FedPM (:mod:`fedgates.strategies.fedpm`) is less accurate than dense FedAvg if clients have few
classes, for two reasons. Adam moves each gate by about its learning rate even if the gradient is small, so clients overwrite
each other's changes; and each round draws new sampling noise ``theta (1 - theta) / K`` for all gates. Here the state consists
of the votes v of T virtual trials:

    theta = clip(v / T, eps, 1 - eps),    v = T / 2 at the start, T even, eps = .001
    client: s = logit(theta); SGD, s <- clip(s - clip(rho * g * w * theta_s (1 - theta_s), -b, b), -7, 7), theta_s = sigmoid(s),
            on CE(f(x; theta_s * w) + log((n_c + p) / (n + C p)), y) with g its gradient with respect to theta_s * w;
            sends m_k = [u_k < theta_s]
    server: v <- clip(v + sum_k (m_k - m0_k), 0, T),    m0_k = [u_k < theta]

The coins u_k are uniform random numbers that are a function of (seed, round, client). The server can therefore compute
``m0_k``, the mask that the client would have sent without training. Because both masks use the same coins (common random
numbers, a control variate), their difference has the mean ``E[m_k - m0_k] = theta_s - theta``, and gates that training did not
move contribute no noise. Votes are integers, one client moves a gate by at most one vote, and the order of masks does not
matter. A round moves theta by K / T times the clients' mean change.

Clients train the mean network, whose gradient is exact, instead of sampling a mask for each batch as in FedPM. A step moves a
score by at most b = .5; without this limit, convolutions, whose gradients are sums over positions, would need another rho than
linear layers. `server.trim` drops the largest and the smallest differences ``m_k - m0_k`` at each gate. Flipped bits and the
masks of `uplink` "sampled" are not coupled to the coins, so these settings are rejected.

The defaults are for about 30 rounds. With T = 2, a gate at 0 or 1 hardly moves again: after 90 rounds on digits, 2 classes per
client, 4 of 20 clients, they reach 90.6 +- 1.3 %, and T = 4 with rho 2000 and p = 5 reaches 93.8 +- 1.5 % (FedAvg 94.6 +- .9,
benchmarks/study/uneven_long). benchmarks/results/coupled_masks.md shows what each part contributes, and what was tried without
gain.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedgates import rng
from fedgates.config import MaskConfig, Table, key
from fedgates.errors import ConfigError
from fedgates.methods import MaskMethod, Together, train_together
from fedgates.methods.training import Task
from fedgates.methods.trimming import trimmed
from fedgates.nn.gates import sample_with
from fedgates.nn.network import Network
from fedgates.nn.optimizers import SGD
from fedgates.types import Update, Votes

_EPS = 0.001
"""Theta is clipped to [eps, 1 - eps], so that every gate can move."""
_LARGEST_SCORE = 7.0
"""Scores stay within +-7: theta within .0009 and .9991."""


class CoupledMasksTable(Table):
    """Coupled masks."""

    trials: int = key(
        0,
        "Virtual trials T, an even number: a client's vote moves theta by 1 / T; the method's default is half the clients of"
        " the first round, rounded up to an even number.",
        ge=0,
        le=1_000_000,
        method_default=0,
        example=4,
    )
    score_learning_rate: float = key(1000.0, "Step size rho of SGD on the scores.", gt=0)
    max_step: float = key(0.5, "Largest change of a score in a step of SGD; larger ones are clipped.", gt=0)
    class_prior: float = key(
        0.5, "Pseudo-count p of the logit adjustment by the client's own class counts; 0 trains without.", ge=0, le=1_000_000
    )


class CoupledMasksConfig(MaskConfig):
    """Keys of coupled masks."""

    coupled_masks: CoupledMasksTable = CoupledMasksTable()

    # flipped bits and masks sampled by the codec are not coupled to the coins
    unused = MaskConfig.unused | {
        "learning-rate",
        "logit-adjustment",
        "privacy.flip-probability",
        "wire.sampled-extra-bits",
    }

    default_learning_rate = 0.0
    rate_key = "coupled-masks.score-learning-rate"

    @property
    def initial_rate(self) -> float:
        """Step size rho of the first round."""
        return self.coupled_masks.score_learning_rate

    @property
    def class_prior(self) -> float:
        """Pseudo-count p of the logit adjustment; 0 without adjustment."""
        return 0.0 if self.loss else self.coupled_masks.class_prior


CoupledMasksCfg = TypeVar("CoupledMasksCfg", bound=CoupledMasksConfig)


class CoupledMasks(Together[CoupledMasksCfg, Votes], MaskMethod[CoupledMasksCfg], Generic[CoupledMasksCfg]):
    """Coupled masks, described in the module docstring; the state before the first round has no trials, and theta is .5.

    Raises
    ------
    ConfigError
        `coupled-masks.trials` is odd.
    """

    Config = CoupledMasksConfig

    def __init__(self, config: CoupledMasksCfg, network: Network) -> None:
        super().__init__(config, network)
        if config.coupled_masks.trials % 2:
            expected = "an even number, so that theta starts at .5; or 0"
            raise ConfigError("coupled-masks.trials", config.coupled_masks.trials, expected)

    @property
    def draws_coins(self) -> bool:
        """Always True, because the server computes the untrained masks from the clients' coins."""
        return True

    def expected_state(self, state: Votes, rounds: Sequence[tuple[int, Sequence[int]]]) -> Votes:
        """Return the state with the trials that the first round sets; without training, no vote changes."""
        return self._begun(state, len(rounds[0][1])) if rounds else state

    def start_theta(self, state: Votes, server_round: int) -> Tensor:  # noqa: ARG002
        """Return theta clipped to [eps, 1 - eps], ``[d]``, from which clients start and with which they are compared."""
        return self.theta(state).clamp_(_EPS, 1 - _EPS)

    def default_trials(self, clients: int) -> int:
        """Return the number of trials T for `coupled-masks.trials` 0, given the number of clients in the first round.

        T is half the number of clients, rounded up to an even number. With given weights it is at least the T at which one vote
        moves a gate from `gates.initial-theta` to 1.
        """
        least = 2 * round(0.5 / (1 - self.config.gates.initial_theta)) if self.gates.has_given else 0
        return max(half_of(clients), least)

    def initial_votes(self, trials: int) -> NDArray[np.int64]:
        """Return the votes before the first round, ``[d]``: T times the initial theta, rounded."""
        theta = self.initial_theta().cpu().numpy().astype(np.float64)
        return np.rint(theta * trials).astype(np.int64)

    # --- the client's rule

    def train_clients(self, state: Votes, tasks: Sequence[Task]) -> tuple[Tensor, list[float]]:
        """Train the scores on each client's examples; return theta, ``[copies, d]``, and the mean losses."""
        theta = self.start_theta(state, tasks[0].server_round)
        start = theta.logit()
        scores = start.repeat(len(tasks), 1)
        losses = self.train(scores, tasks)
        for own in scores:  # one row at a time fits the cache
            own.copy_(torch.where(own == start, theta, own.sigmoid()))  # sigmoid(logit(theta)) would round
        return scores, losses

    def client_update(self, state: Votes, trained: Tensor, task: Task, loss: float) -> Update:  # noqa: ARG002
        """Return an update with the mask sampled from theta with the client's coins."""
        return self.sample_update(trained, task, loss)

    def train(self, scores: Tensor, tasks: Sequence[Task]) -> list[float]:
        """Run SGD on scores ``[copies, d]``, in place, with the mean network ``w * theta``; return the mean losses."""
        config, network = self.config, self.network
        rate = config.rate(tasks[0].server_round)
        sgd = SGD(scores, network.gradient, learning_rate=rate)
        longest = config.coupled_masks.max_step / rate

        def convert() -> None:
            self.gates.straight_through(scores)  # exact for the mean network
            network.gradient.clamp_(-longest, longest)

        def clamp() -> None:
            scores.clamp_(-_LARGEST_SCORE, _LARGEST_SCORE)

        return train_together(
            network,
            tasks,
            config,
            sgd,
            before_forward=lambda: self.gates.load_mean(scores),
            after_backward=convert,
            after_step=clamp,
        )

    # --- the server's rule

    def aggregate(self, state: Votes, updates: Iterable[Update], server_round: int) -> Votes:
        """Add the difference between each client's mask and its untrained mask to the votes, clipped to [0, T]."""
        theta = self.start_theta(state, server_round)
        more, fewer, masks = np.zeros_like(state.votes), np.zeros_like(state.votes), 0
        for update in updates:
            coins = rng.cached_coins(state.size, self.config.seed, server_round=server_round, client=update.client)
            trained, untrained = update.gates(state.size).view(np.bool_), sample_with(theta, coins)
            more += trained & ~untrained
            fewer += untrained & ~trained
            masks += 1
        begun = self._begun(state, masks)
        gained, lost = (trimmed(counts, masks, self.config.server.trim)[0] for counts in (more, fewer))
        votes = begun.votes.astype(np.int64) + gained - lost
        return replace(begun, votes=np.clip(votes, 0, begun.trials).astype(np.uint32))

    def _begun(self, state: Votes, clients: int) -> Votes:
        """Return the state, with trials and votes initialised for `clients` clients if it is the first round."""
        if state.trials:
            return state
        trials = self.config.coupled_masks.trials or self.default_trials(clients)
        return replace(state, votes=self.initial_votes(trials).astype(np.uint32), trials=trials)


def half_of(clients: int) -> int:
    """Return half the clients of a round, rounded up to an even number; at least 2.

    Examples
    --------
    >>> [half_of(clients) for clients in (1, 4, 10)]
    [2, 2, 6]
    """
    return max(2, 2 * math.ceil(clients / 4))
