"""Batched training of several clients: local training is written once, for one client or for a batch of clients.

A method derives from :class:`Together` and trains tensors ``[copies, d]``, one row per client. Each client has its own random
numbers, so the result differs from training the client alone only by float rounding. Clients are trained one after the other if
copies of the network cannot run in one pass, or if a trial shows different results.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Generic

import torch
from torch import Tensor
from torch.nn import functional as F

from fedgates.config import RunConfig
from fedgates.data.inputs import by_name, take
from fedgates.methods.base import Cfg, Method, S
from fedgates.methods.losses import loss_function
from fedgates.methods.training import Optimizer, Task, alone, batches, prepared, take_steps, train_backward
from fedgates.nn.network import Network
from fedgates.types import Update

_SPREAD, _TOLERANCE = 0.1, 1e-3
"""In the trial: standard deviation of the noise on the weights, and tolerance relative to the largest gradient."""


class Together(Method[Cfg, S], Generic[Cfg, S]):
    """Base class of methods that can train several clients in one pass.

    A subclass implements :meth:`train_clients` and :meth:`client_update`. If it overrides ``local_update`` instead, clients are
    trained one after the other.
    """

    _proved: bool | None = None

    @abstractmethod
    def train_clients(self, state: S, tasks: Sequence[Task]) -> tuple[Tensor, list[float]]:
        """Train one copy of the network per task, starting from `state`.

        The network's ``weights`` and ``gradient`` have the shape ``[copies, d]``, one row per task.

        Returns
        -------
        Tensor
            The trained parameters, ``[copies, d]``; rows must not depend on each other.
        list of float
            The mean loss of each client.
        """

    @abstractmethod
    def client_update(self, state: S, trained: Tensor, task: Task, loss: float) -> Update:
        """Return the update of one client, given its row of the trained parameters, ``[d]``, and its mean loss.

        Raises
        ------
        FloatingPointError
            Training diverged.
        """

    def local_update(self, state: S, task: Task) -> Update:
        """Train one client and return its update."""
        with self.network.copies(1):
            trained, losses = self.train_clients(state, [task])
        return self.client_update(state, trained[0], task, losses[0])

    def local_updates(self, state: S, tasks: Sequence[Task]) -> list[Callable[[], Update]]:
        """Train several clients in one pass; return a function for each client that returns its update or raises."""
        with self.network.copies(len(tasks)):
            trained, losses = self.train_clients(state, tasks)
        return [partial(self.client_update, state, *each) for each in zip(trained, tasks, losses, strict=True)]

    def trains_together(self, tasks: Sequence[Task]) -> bool:
        """Return whether these tasks can be trained in one pass with the same results, up to rounding, as one by one.

        All tasks must have the same number of mini-batches. Whether method, network and config allow it is tested once, with
        the first two tasks.
        """
        if len({steps_an_epoch(len(task.y), self.config) for task in tasks}) > 1 or len(tasks) < 2:
            return False
        if self._proved is None:
            ours = getattr(self.local_update, "__func__", None) is Together.local_update
            config = self.config
            possible = ours and self.network.has_copies and config.precision == "float32" and not config.data.augment
            self._proved = possible and _agree(self.network, tasks[:2], config)
        return self._proved


def steps_an_epoch(examples: int, config: RunConfig) -> int:
    """Return the number of mini-batches in an epoch of a client."""
    return -(-examples // config.batch_size)


def train_together(
    network: Network,
    tasks: Sequence[Task],
    config: RunConfig,
    optimizer: Optimizer,
    *,
    before_forward: Callable[[], None] | None = None,
    after_backward: Callable[[], None] | None = None,
    after_step: Callable[[], None] | None = None,
) -> list[float]:
    """Train one copy of the network per task and return the mean losses.

    The other parameters are those of :func:`~fedgates.methods.training.train_epochs`.
    """
    one = len(tasks) == 1
    steps = alone(network, tasks[0], config) if one else _Group(network, tasks, config).steps()
    losses = take_steps(network, config, optimizer, steps, before_forward, after_backward, after_step)
    return [float(loss) for loss in losses.view(len(losses), -1).mean(0)]


class _Group:
    """Mini-batches of several clients, with one backward pass for all of them.

    Smaller batches are padded with copies of their first example, which do not count in the loss.
    """

    def __init__(self, network: Network, tasks: Sequence[Task], config: RunConfig) -> None:
        self._network, self._tasks, self._config = network, tasks, config
        names = by_name(tasks[0].x)
        joined = {name: torch.cat([by_name(task.x)[name] for task in tasks]) for name in names}
        self._x = joined[next(iter(names))] if isinstance(tasks[0].x, Tensor) else joined
        self._y = torch.cat([task.y for task in tasks])
        sizes = torch.tensor([0, *(len(task.y) for task in tasks[:-1])], device=network.device)
        self._first = sizes.cumsum(0)[:, None]

    def steps(self) -> Iterator[Callable[[], Tensor]]:
        """Yield a function for each step that computes the gradients and returns the clients' losses, ``[copies]``."""
        for parts in zip(*(batches(task, self._config) for task in self._tasks), strict=True):
            yield partial(self.backward, parts)

    def backward(self, parts: Sequence[Tensor]) -> Tensor:
        """Compute the gradients and return the losses ``[copies]`` of one batch per client, given as indices ``[n]`` each."""
        network, sizes = self._network, [len(part) for part in parts]
        longest = max(sizes)
        index = torch.stack([torch.cat([part, part[:1].expand(longest - len(part))]) for part in parts]) + self._first
        network.train()
        output = network(prepared(take(self._x, index.flatten()), "float32")).float()
        output = output.view(*index.shape, *output.shape[1:])
        if self._config.class_prior and network.task == "classes":
            priors = [task.log_prior(output.shape[2], self._config.class_prior) for task in self._tasks]
            output = output + torch.stack(priors)[:, None]
        losses = self._losses(output, self._y[index], sizes)
        network.backward(losses)
        return losses.detach()

    def _losses(self, output: Tensor, y: Tensor, sizes: Sequence[int]) -> Tensor:
        """Return each client's mean loss without the padding, ``[copies]``."""
        if self._config.loss or y.ndim > 2 or y.dtype != torch.int64:  # labels are not classes [copies, n]
            loss = loss_function(self._config)
            return torch.stack([loss(own[:n], labels[:n]) for own, labels, n in zip(output, y, sizes, strict=True)])
        each = F.cross_entropy(output.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)
        if min(sizes) == y.shape[1]:
            return each.mean(1)
        number = torch.tensor(sizes, device=y.device)[:, None]
        return each.where(torch.arange(y.shape[1], device=y.device) < number, 0).sum(1) / number[:, 0]


def _agree(network: Network, tasks: Sequence[Task], config: RunConfig) -> bool:
    """Return whether losses and gradients of two copies in one pass match those of single passes.

    The copies have random weights and batches of unequal sizes.
    """
    draw = torch.Generator().manual_seed(0)
    weights = network.initial + _SPREAD * torch.randn(2, network.size, generator=draw).to(network.device)
    parts = [next(batches(task, config)) for task in tasks]
    parts[1] = parts[1][: max(1, len(parts[0]) - 1)]
    apart = list[tuple[Tensor, Tensor]]()
    try:
        with torch.random.fork_rng(devices=[]):
            for own, task, part in zip(weights, tasks, parts, strict=True):
                network.weights.copy_(own)
                loss = train_backward(network, task, part, config, config.class_prior)
                apart.append((loss, network.gradient.clone()))
            with network.copies(2):
                network.weights.copy_(weights)
                losses = _Group(network, tasks, config).backward(parts)
                together = zip(losses, network.gradient, strict=True)
                return all(_close(*pair) for both in zip(apart, together, strict=True) for pair in zip(*both, strict=True))
    except Exception:  # noqa: BLE001  # a user-defined network may raise anything if it does not expect this batch size
        return False


def _close(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal up to rounding."""
    return bool((one - other).abs().max() <= _TOLERANCE * one.abs().max())
