"""A user's own method that sends a mask with values: the largest changes of the weights, and where they are."""

from dataclasses import dataclass

import numpy as np

from fedgates.config import number
from fedgates.methods import Spec, WeightConfig, WeightMethod, largest, weighted_mean
from fedgates.types import Update, Weights, pack


@dataclass(frozen=True)
class TopShareConfig(WeightConfig):
    """The key that it adds."""

    share: float = number(0.05, 0, 1, above=True)


class TopShare(WeightMethod):
    """FedAvg's client and server, with the changes of the weights in place of the weights."""

    Config = TopShareConfig
    spec = Spec("mask and values", arrays=("weights",))

    def local_update(self, state, task):
        values, metrics = self.train(state, task)
        change = values - state.values
        mask = largest(change, round(self.config.share * state.size))
        return Update(pack(mask), change[mask], num_examples=len(task.y), metrics=metrics)

    def aggregate(self, state, updates, server_round):
        change = weighted_mean(updates, state.size)
        return state if change is None else Weights(state.values + change.astype(np.float32))
