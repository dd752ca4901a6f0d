"""Base class of methods whose clients send masks over frozen weights and whose server counts votes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedgates import rng
from fedgates.config import MaskConfig, RunConfig
from fedgates.errors import ConfigError
from fedgates.methods.base import Method, Spec, patterns_of
from fedgates.methods.class_means import class_means_layer
from fedgates.methods.evaluation import predict, score
from fedgates.methods.randomized_response import restored
from fedgates.methods.training import Inputs, Task
from fedgates.methods.trimming import trimmed
from fedgates.methods.weights import mean_values, to_float32
from fedgates.nn.gates import Gates, sample, sample_with
from fedgates.nn.network import Network
from fedgates.nn.roles import Role, last_layer, matching, roles_of
from fedgates.types import Update, Votes, pack
from fedgates.wire.delta import Coupling

_BINS = 20
"""Number of bins of the histogram of theta."""


MaskCfg = TypeVar("MaskCfg", bound=MaskConfig)


class MaskMethod(Method[MaskCfg, Votes], Generic[MaskCfg]):
    """Base class of methods whose clients send masks over frozen weights.

    A subclass implements ``local_update`` and ``aggregate``, and may override :meth:`theta`. Parameters with the role "sent"
    are trained by Adam in every step (:func:`fedgates.methods.training.train_epochs`), and their mean over clients is part of
    the state in every method.

    Attributes
    ----------
    gates : Gates
        The frozen weights, with functions that apply masks or scores to them.
    """

    Config = MaskConfig
    spec = Spec()

    def __init__(self, config: MaskCfg, network: Network) -> None:
        super().__init__(config, network)
        given = [each.name for each in network.slices] if config.gates.frozen == "given" else []
        fresh = matching("fresh", config.fresh, network.module) if given else []
        self.gates = Gates(network, config.seed, config.gates.weight_scale, set(given) - set(fresh))
        self.digest = self.gates.digest
        if len(network.tail):
            self.spec = replace(self.spec, update="mask and tail")
            if config.privacy.flip_probability:
                expected = "0 with gates.sent: values sent beside masks are not protected by flips"
                raise ConfigError("privacy.flip-probability", config.privacy.flip_probability, expected)

    @classmethod
    def roles(cls, config: RunConfig, module: nn.Module) -> dict[str, Role]:
        """Return the role of each parameter by name; "gated" by default (:func:`fedgates.nn.roles.roles_of`).

        With `gates.frozen` "given", a vector of zeros, such as an initial bias, is fixed: gates on it would have no effect.
        """
        roles = roles_of(module, patterns_of(config), gates=True)
        if isinstance(config, MaskConfig) and config.gates.frozen == "given":
            fresh = set(matching("fresh", config.fresh, module))
            for name, parameter in module.named_parameters():
                if roles[name] == "gated" and name not in fresh and parameter.dim() < 2 and not bool(parameter.any()):
                    roles[name] = "fixed"
        return roles

    def initial_state(self) -> Votes:
        """Return a state without votes, with the network's initial values of the parameters with the role "sent"."""
        tail = self.network.tail.initial.cpu().numpy()
        return Votes(np.zeros(self.network.size, dtype=np.uint32), trials=0, tail=tail)

    def initial_theta(self) -> Tensor:
        """Return theta before the first round, ``[d]``: `gates.initial-theta` for given weights, .5 for random weights."""
        theta = torch.full((self.network.size,), 0.5, device=self.network.device)
        return theta.masked_fill_(self.gates.given, self.config.gates.initial_theta)

    def start_at_class_means(self, state: Votes, sums: NDArray[np.float64]) -> Votes:
        """Return the state with a nearest-class-mean last layer (:mod:`fedgates.methods.class_means`)."""
        tail, layer = state.tail.copy(), last_layer(self.network.module)
        start = dict(zip((f"{layer}.weight", f"{layer}.bias"), class_means_layer(self.network, sums), strict=True))
        for each in self.network.tail.slices:
            if each.name in start:
                tail[each.part] = start[each.name].reshape(-1)
        return replace(state, tail=tail)

    def load_tail(self, state: Votes) -> None:
        """Copy the state's values of parameters with the role "sent" to the network."""
        self.network.tail.values.copy_(torch.tensor(state.tail, device=self.network.device))

    def next_state(self, state: Votes, updates: Iterable[Update], server_round: int) -> Votes:
        """Return the state after a round: the result of ``aggregate``, with the mean of the values sent beside masks."""
        if not len(self.network.tail):
            return self.aggregate(state, updates, server_round)
        tails = list[Update]()
        new = self.aggregate(state, _kept(updates, tails), server_round)
        mean = mean_values(tails, len(self.network.tail), self.config.server.trim)
        return new if mean is None else replace(new, tail=to_float32(mean))

    @property
    def coupling(self) -> Coupling:
        """The initial state, and the expected votes if masks are sampled with coins."""
        expect = self.expected_state if self.draws_coins else None
        return Coupling(self.initial_state(), float(self.initial_theta().median()), expect)

    @property
    def draws_coins(self) -> bool:
        """Whether masks are sampled with coins that are a function of round and client; not with `uplink` "sampled"."""
        return self.spec.samples and self.config.uplink != "sampled"

    def expected_state(self, state: Votes, rounds: Sequence[tuple[int, Sequence[int]]]) -> Votes:
        """Return the votes after some rounds if no client trained: masks are samples of the state's own probabilities.

        Parameters
        ----------
        state : Votes
            The state before the first of the rounds.
        rounds : sequence of (int, sequence of int)
            Number of each round, and the names of its clients, whose coins the masks are sampled with.
        """
        theta = self.start_theta(state, rounds[0][0]) if rounds else self.theta(state)
        for server_round, clients in rounds:
            state = self.aggregate(state, self._untrained(theta, server_round, clients), server_round)
        return state

    def _untrained(self, theta: Tensor, server_round: int, clients: Iterable[int]) -> Iterator[Update]:
        for client in clients:
            coins = rng.coins(self.network.size, self.config.seed, server_round=server_round, client=client)
            yield Update(mask=pack(sample_with(theta, coins)), client=client)

    def start_theta(self, state: Votes, server_round: int) -> Tensor:  # noqa: ARG002
        """Return the probabilities at which local training starts, ``[d]``; a method that clips theta overrides this."""
        return self.theta(state)

    def change(self, state: Votes, update: Update) -> NDArray[np.float32]:
        """Return the change of the values sent beside the mask, ``[t]`` for t such values."""
        return (state.tail if update.tail is None else update.tail) - state.tail

    def theta(self, state: Votes) -> Tensor:
        """Return the probability mask, ``[d]`` float32: the share of trials that voted for each gate."""
        if state.trials == 0:
            return self.initial_theta()
        return torch.from_numpy(self.estimated_votes(state) / np.float32(state.trials)).to(self.network.device)

    def estimated_votes(self, state: Votes) -> NDArray[np.float32]:
        """Return each gate's votes, ``[d]``; with `privacy.flip-probability`, an estimate of the votes before the flips."""
        votes = state.votes.astype(np.float32)
        p = self.config.privacy.flip_probability
        return restored(votes, state.trials, p) if p else votes

    def weights(self, state: Votes) -> Tensor:
        """Return the frozen weights times the thresholded mask, ``[d]``."""
        return self.gates.frozen * threshold(self.theta(state))

    def histogram(self, state: Votes) -> list[int]:
        """Return the histogram of theta over 20 equal bins of [0, 1]."""
        theta = self.theta(state).cpu().numpy()
        return [int(n) for n in np.histogram(theta, _BINS, range=(0.0, 1.0))[0]]

    def sample_update(self, theta: Tensor, task: Task, loss: float) -> Update:
        """Return an update with one sample of ``theta [d]``, drawn with random numbers that the server can regenerate."""
        size, seed = self.network.size, self.config.seed
        coins = rng.cached_coins(size, seed, server_round=task.server_round, client=task.client)
        mask = pack(sample_with(theta, coins))
        return Update(mask=mask, theta=theta.cpu().numpy(), num_examples=len(task.y), metrics={"loss": loss})

    def evaluate(self, state: Votes, task: Task) -> dict[str, float]:
        """Return all metrics for the thresholded mask, and accuracy (or r2) for the variants in `gates.evaluations`.

        ``accuracy_sample`` (or ``r2_sample``) is the accuracy of one sampled mask, ``accuracy_mean`` that of the mean network
        ``w * theta``, and ``accuracy_ensemble`` that of the mean prediction of `gates.ensemble-size` sampled masks.
        """
        metrics = super().evaluate(state, task)
        theta, names = self.theta(state), self.config.gates.evaluations.split(",")
        draw = rng.generator(self.config.seed, "evaluate", server_round=task.server_round, device=self.network.device)
        predictions = {}
        if "sample" in names:
            predictions["sample"] = self._predict(sample(theta, draw), task.x)
        if "mean" in names:
            predictions["mean"] = self._predict(theta, task.x)
        if "ensemble" in names:
            members = [self._predict(sample(theta, draw), task.x) for _ in range(self.config.gates.ensemble_size)]
            predictions["ensemble"] = torch.stack(members).mean(0)
        for name, predicted in predictions.items():
            (headline, value), *_ = score(predicted, task.y).items()
            metrics[f"{headline}_{name}"] = value
        return metrics

    def _predict(self, gate: Tensor, x: Inputs) -> Tensor:
        self.gates.load(gate)
        return predict(self.network, x, self.config.precision)


def threshold(theta: Tensor) -> Tensor:
    """Return the thresholded mask ``theta > .5``, bool ``[d]``.

    Examples
    --------
    >>> threshold(torch.tensor([0.2, 0.5, 0.7])).tolist()
    [False, False, True]
    """
    return theta > 0.5


def _kept(updates: Iterable[Update], tails: list[Update]) -> Iterator[Update]:
    """Yield the updates unchanged, and append the values sent beside each mask to `tails`."""
    for update in updates:
        tails.append(Update(None, update.tail, num_examples=update.num_examples))
        yield update


def add_votes(state: Votes, updates: Iterable[Update], *, fresh: bool = False, trim: float = 0.0) -> Votes:
    """Return the state with the votes of the updates' masks added, one mask at a time.

    Parameters
    ----------
    state : Votes
        The votes to add to; not modified.
    updates : iterable of Update
        Updates with masks ``[d]``.
    fresh : bool
        Whether to discard the votes in `state` first.
    trim : float
        Share of this round's votes to drop at either end, for each gate (:func:`fedgates.methods.trimming.trimmed`).

    Examples
    --------
    >>> from fedgates.types import pack
    >>> masks = [pack(np.array(bits, bool)) for bits in ([1, 0, 1], [1, 1, 0])]
    >>> state = add_votes(Votes(np.zeros(3, np.uint32), trials=0), map(Update, masks))
    >>> state.votes.tolist(), state.trials
    ([2, 1, 1], 2)
    """
    ones, trials = np.zeros_like(state.votes), 0
    for update in updates:
        ones += update.gates(state.size)
        trials += 1
    ones, trials = trimmed(ones, trials, trim)
    if not fresh:
        ones += state.votes
        trials += state.trials
    return replace(state, votes=ones, trials=trials)
