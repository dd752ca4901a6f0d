"""What methods share whose clients send masks over frozen weights and whose server counts votes: all but the two rules."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedgates import rng
from fedgates.config import WEIGHT_SCALES, RunConfig, choice, number, text
from fedgates.flower.strategy import GateStrategy
from fedgates.methods.randomized_response import restored
from fedgates.methods.training import Task, predict, score
from fedgates.methods.trimming import trimmed
from fedgates.nn.gates import Gates, sample, sample_with
from fedgates.nn.network import Network
from fedgates.types import Update, UpdateKind, Votes, pack

EVALUATIONS = ("threshold", "sample", "mean", "ensemble")

_BINS = 20
"""Of the histogram of theta."""


def _are_evaluations(value: str) -> bool:
    names = value.split(",")
    return "threshold" in names and set(names) <= set(EVALUATIONS) and len(names) == len(set(names))


@dataclass(frozen=True)
class MaskConfig(RunConfig):
    """The keys of every method that sends masks."""

    weight_scale: str = choice("kaiming", *WEIGHT_SCALES)
    evaluations: str = text(
        "threshold,sample,mean", _are_evaluations, "threshold, then any of sample, mean, ensemble, separated by commas"
    )
    ensemble_size: int = number(8, 1, 1000)

    unused = frozenset({"target_density", "entropy_bonus", "value_type"})


MaskCfg = TypeVar("MaskCfg", bound=MaskConfig)


class MaskMethod(GateStrategy[MaskCfg, Votes], Generic[MaskCfg]):
    """A method whose clients send masks; it adds ``local_update`` and ``aggregate``, and may have a ``theta`` of its own.

    Attributes
    ----------
    gates : Gates
        The frozen weights, and how a mask or scores are put on them.
    """

    Config = MaskConfig
    sends: ClassVar[UpdateKind] = "mask"

    def __init__(self, config: MaskCfg, network: Network) -> None:
        super().__init__(config, network)
        self.gates = Gates(network, config.seed, config.weight_scale)
        self.digest = self.gates.digest

    def initial_state(self) -> Votes:
        """No trial yet."""
        return Votes(np.zeros(self.network.size, dtype=np.uint32), trials=0)

    def theta(self, state: Votes) -> Tensor:
        """The probability mask, ``[d]`` float32: the share of the trials that voted for each gate; .5 without trials."""
        if state.trials == 0:
            return torch.full((self.network.size,), 0.5, device=self.network.device)
        return torch.from_numpy(self.ones(state) / np.float32(state.trials)).to(self.network.device)

    def ones(self, state: Votes) -> NDArray[np.float32]:
        """How many of the trials had a one at each gate, ``[d]``: the votes; with `flip-probability` what they tell of that."""
        votes = state.votes.astype(np.float32)
        p = self.config.flip_probability
        return restored(votes, state.trials, p) if p else votes

    def model(self, state: Votes) -> Tensor:
        """The frozen weights under the thresholded mask."""
        return self.gates.frozen * threshold(self.theta(state))

    def histogram(self, state: Votes) -> list[int]:
        """How many gates' theta lie in each twentieth of 0 to 1."""
        theta = self.theta(state).cpu().numpy()
        return [int(n) for n in np.histogram(theta, _BINS, range=(0.0, 1.0))[0]]

    def sampled(self, theta: Tensor, task: Task, loss: float) -> Update:
        """The update that sends one sample of ``theta [d]``, drawn with the numbers that the server knows, too."""
        size, seed = self.network.size, self.config.seed
        coins = rng.coins(size, seed, server_round=task.server_round, client=task.client)
        mask = pack(sample_with(theta, coins))
        return Update(mask=mask, theta=theta.cpu().numpy(), num_examples=len(task.y), metrics={"loss": loss})

    def evaluate(self, state: Votes, x: Tensor, y: Tensor, server_round: int) -> dict[str, float]:
        """What the base measures of the thresholded mask, and the headline figure of the other evaluations asked for.

        ``accuracy_sample`` (or ``r2_sample``) is of one sampled mask, ``accuracy_mean`` of the mean network ``w * theta``,
        ``accuracy_ensemble`` of the mean prediction of `ensemble-size` sampled masks.
        """
        found = super().evaluate(state, x, y, server_round)
        theta, names = self.theta(state), self.config.evaluations.split(",")
        draw = rng.generator(self.config.seed, "evaluate", server_round=server_round, device=self.network.device)
        predictions = {}
        if "sample" in names:
            predictions["sample"] = self._predict(sample(theta, draw), x)
        if "mean" in names:
            predictions["mean"] = self._predict(theta, x)
        if "ensemble" in names:
            members = [self._predict(sample(theta, draw), x) for _ in range(self.config.ensemble_size)]
            predictions["ensemble"] = torch.stack(members).mean(0)
        for name, predicted in predictions.items():
            (headline, value), *_ = score(predicted, y).items()
            found[f"{headline}_{name}"] = value
        return found

    def _predict(self, gate: Tensor, x: Tensor) -> Tensor:
        self.gates.load(gate)
        return predict(self.network, x, self.config.precision)


def threshold(theta: Tensor) -> Tensor:
    """The mask of the gates more likely kept than not: ``theta > .5``, bool ``[d]``."""
    return theta > 0.5


def add_votes(state: Votes, masks: Iterable[Update], *, fresh: bool = False, trim: float = 0.0) -> Votes:
    """The state with the votes of `masks` added, bit by bit as they come; with `fresh` to none, else to those that it has.

    With `trim` the extremes of this round's votes are dropped first (:func:`fedgates.methods.trimming.trimmed`).
    """
    ones, trials = np.zeros_like(state.votes), 0
    for update in masks:
        ones += update.gates(state.size)
        trials += 1
    ones, trials = trimmed(ones, trials, trim)
    if not fresh:
        ones += state.votes
        trials += state.trials
    return replace(state, votes=ones, trials=trials)
