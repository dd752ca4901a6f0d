"""A user's own method that sends a mask with values: the largest changes of the weights, and where they are."""

from dataclasses import dataclass

import numpy as np

from fedgates.config import RunConfig, number
from fedgates.flower import GateStrategy
from fedgates.state import Update, Weights, pack
from strategies.fedavg import FedAvg, FedAvgConfig


@dataclass(frozen=True)
class TopShareConfig(RunConfig):
    """The key that it adds."""

    share: float = number(0.05, 0, 1, above=True)


class TopShare(GateStrategy):
    """FedAvg's client and server, with the changes of the weights in place of the weights."""

    Config = TopShareConfig
    sends = "mask and values"

    def __init__(self, config, network):
        super().__init__(config, network)
        self._dense = FedAvg(FedAvgConfig(local_epochs=config.local_epochs, learning_rate=config.learning_rate), network)
        self.digest = self._dense.digest

    def initial_state(self):
        return self._dense.initial_state()

    def local_update(self, state, task):
        trained = self._dense.local_update(state, task)
        change = trained.values - state.values
        mask = np.zeros(state.size, dtype=bool)
        mask[np.argsort(-np.abs(change), kind="stable")[: round(self.config.share * state.size)]] = True
        return Update(pack(mask), change[mask], num_examples=trained.num_examples, metrics=trained.metrics)

    def aggregate(self, state, updates, server_round):
        change = self._dense.aggregate(Weights(np.zeros(state.size, np.float32)), updates, server_round)
        return Weights(state.values + change.values)

    def evaluate(self, state, x, y, server_round):
        return self._dense.evaluate(state, x, y, server_round)
