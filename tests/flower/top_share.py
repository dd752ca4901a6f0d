"""A user's own method that sends a mask with values: the largest changes of the weights, and where they are."""

import numpy as np

from fedgates.config import WeightConfig, key
from fedgates.methods import Spec, WeightMethod, largest, mean_values
from fedgates.types import Update, Weights, pack


class TopShareConfig(WeightConfig):
    """The key that it adds."""

    share: float = key(0.05, "Share of the weights that a client sends.", gt=0, le=1)


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
        change = mean_values(updates, state.size)
        return state if change is None else Weights(state.values + change.astype(np.float32))
