"""Clients that train together: a client's rule that is written once, for one client or for several side by side.

A method with such a rule derives from :class:`Together` and trains vectors ``[copies, d]``, a row for each client. Random
numbers are each client's own, so a client that trains with others differs from one that trains alone only in the order in
which floats are summed. Networks whose copies cannot run side by side, and all else that is not proved to give the same, train
one client after the other.
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
"""Standard deviation of the weights of a trial, and the largest difference, relative to the largest gradient."""


class Together(Method[Cfg, S], Generic[Cfg, S]):
    """Base of methods whose clients can train together; a method adds :meth:`train_clients` and :meth:`client_update`.

    A class that overrides ``local_update`` instead trains its clients one after the other.
    """

    _proved: bool | None = None

    @abstractmethod
    def train_clients(self, state: S, tasks: Sequence[Task]) -> tuple[Tensor, list[float]]:
        """Train clients from a state, with ``weights`` and ``gradient`` of the network ``[copies, d]``, a row for each task.

        Returns
        -------
        Tensor
            What was trained, ``[copies, d]``; rows never depend on each other.
        list of float
            The mean loss of each client.
        """

    @abstractmethod
    def client_update(self, state: S, trained: Tensor, task: Task, loss: float) -> Update:
        """Return the update of one client: its row of what was trained, ``[d]``, and its mean loss.

        Raises
        ------
        FloatingPointError
            Training diverged.
        """

    def local_update(self, state: S, task: Task) -> Update:
        """Train one client, and return its update."""
        with self.network.copies(1):
            trained, losses = self.train_clients(state, [task])
        return self.client_update(state, trained[0], task, losses[0])

    def local_updates(self, state: S, tasks: Sequence[Task]) -> list[Callable[[], Update]]:
        """Train several clients together; return a function for each that returns the client's update, or raises."""
        with self.network.copies(len(tasks)):
            trained, losses = self.train_clients(state, tasks)
        return [partial(self.client_update, state, *each) for each in zip(trained, tasks, losses, strict=True)]

    def trains_together(self, tasks: Sequence[Task]) -> bool:
        """Return whether clients with these tasks may train together: their training differs from that alone in rounding.

        They have as many mini-batches. The rest depends on method, network and config, and is tried with the first two tasks.
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
    """Return the number of a client's mini-batches in an epoch."""
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
    """Train a copy of the network for each task; return the mean losses.

    The arguments are those of :func:`~fedgates.methods.training.train_epochs`.
    """
    one = len(tasks) == 1
    steps = alone(network, tasks[0], config) if one else _Group(network, tasks, config).steps()
    losses = take_steps(network, config, optimizer, steps, before_forward, after_backward, after_step)
    return [float(loss) for loss in losses.view(len(losses), -1).mean(0)]


class _Group:
    """The mini-batches of several clients side by side, and one backward pass for all of them.

    A batch that is smaller than that of another client is filled up with its first example, which counts nothing.
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
        """Yield for each step the function that computes the gradient and returns the clients' losses, ``[copies]``."""
        for parts in zip(*(batches(task, self._config) for task in self._tasks), strict=True):
            yield partial(self.backward, parts)

    def backward(self, parts: Sequence[Tensor]) -> Tensor:
        """Compute the losses ``[copies]`` of a batch of each client, its indices ``[n]``, and the gradient of each."""
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
        """Return the mean loss of each client's own examples, ``[copies]``."""
        if self._config.loss or y.ndim > 2 or y.dtype != torch.int64:  # not classes of examples, [copies, n]
            loss = loss_function(self._config)
            return torch.stack([loss(own[:n], labels[:n]) for own, labels, n in zip(output, y, sizes, strict=True)])
        each = F.cross_entropy(output.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)
        if min(sizes) == y.shape[1]:
            return each.mean(1)
        number = torch.tensor(sizes, device=y.device)[:, None]
        return each.where(torch.arange(y.shape[1], device=y.device) < number, 0).sum(1) / number[:, 0]


def _agree(network: Network, tasks: Sequence[Task], config: RunConfig) -> bool:
    """Return whether two copies have the losses and gradients that they have alone: of random weights and unequal batches."""
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
    except Exception:  # noqa: BLE001  # a user's own network may raise anything where it gets more examples than it expects
        return False


def _close(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal but for rounding; a difference in kind is as large as their values."""
    return bool((one - other).abs().max() <= _TOLERANCE * one.abs().max())
