"""The local training loop."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedgates.config import MaskConfig, RunConfig
from fedgates.data import normalise
from fedgates.data.inputs import mapped, take
from fedgates.methods.augmentation import augmented
from fedgates.methods.losses import Loss, loss_function, loss_of
from fedgates.nn.network import Network
from fedgates.nn.optimizers import Adam
from fedgates.rng import generator

Inputs = Tensor | Mapping[str, Tensor]
"""A network's single input, or several inputs by name."""


class Optimizer(Protocol):
    """Interface of an optimizer (:mod:`fedgates.nn.optimizers`)."""

    def step(self) -> None:
        """Update the parameters once."""


@dataclass(frozen=True)
class Task:
    """A client's examples in one round, with what the client remembers of earlier rounds.

    ``x`` is a tensor ``[n, ...]``, such as uint8 images ``[n, C, H, W]``, or a mapping from names to tensors. ``y`` has labels
    or targets, as in :class:`fedgates.data.Examples`. Both are on the network's device.
    """

    x: Inputs
    y: Tensor
    server_round: int
    client: int = -1
    """Name of the client; -1 on the server."""
    memory: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """``Update.memory`` of the client's previous update in this run; empty if there was none or it was lost."""
    held_out: tuple[Inputs, Tensor] | None = None
    """The client's held-out examples and labels; None if clients do not evaluate."""
    own_classes: tuple[int, ...] = ()
    """Classes of the client's training examples, for its evaluation; empty unless the task is classification."""
    confusion: Tensor | None = None
    """Output tensor of :meth:`Method.evaluate` for the confusion matrix, int64 ``[C, C]``; None for no matrix."""
    _log_priors: dict[tuple[int, float], Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def generator(self, seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a random generator that depends on seed, purpose, client and round."""
        return generator(seed, purpose, server_round=self.server_round, client=self.client, device=device)

    def log_prior(self, classes: int, pseudo_count: float) -> Tensor:
        """Return :func:`log_prior` of the task's labels, cached because every training step needs it."""
        key = classes, pseudo_count
        if key not in self._log_priors:
            self._log_priors[key] = log_prior(self.y, classes, pseudo_count)
        return self._log_priors[key]


def batches(task: Task, config: RunConfig, epochs: int = 0, purpose: str = "batches") -> Iterator[Tensor]:
    """Yield the indices of each mini-batch, reshuffled every epoch; the last of an epoch may be smaller.

    With `epochs` 0 the number of epochs is `local-epochs`.
    """
    order = task.generator(config.seed, purpose)
    for _ in range(epochs or config.local_epochs):
        shuffled = torch.randperm(len(task.y), generator=order).to(task.y.device)
        yield from torch.split(shuffled, config.batch_size)


def train_epochs(
    network: Network,
    task: Task,
    config: RunConfig,
    optimizer: Optimizer,
    *,
    before_forward: Callable[[], None] | None = None,
    after_backward: Callable[[], None] | None = None,
    after_step: Callable[[], None] | None = None,
) -> float:
    """Train for `local-epochs`, one optimizer step per mini-batch, and return the mean loss.

    Parameters with the role "sent" are trained by Adam in the same steps.

    Parameters
    ----------
    network : Network
        The forward pass uses its ``weights``; the backward pass writes to its ``gradient``.
    task : Task
        The examples.
    config : RunConfig
        The keys `local-epochs`, `batch-size`, `precision`, `logit-adjustment`, `loss`, `data.augment` and `seed` are used.
    optimizer : Optimizer
        Takes a step after each backward pass.
    before_forward : callable, optional
        Called before each forward pass, to compute the network's weights from the trained parameters.
    after_backward : callable, optional
        Called after each backward pass, to convert the gradient of the weights to that of the trained parameters.
    after_step : callable, optional
        Called after each step.

    Returns
    -------
    float
        Mean of the mini-batches' losses, each before its step.
    """
    steps = alone(network, task, config)
    return float(take_steps(network, config, optimizer, steps, before_forward, after_backward, after_step).mean())


def alone(network: Network, task: Task, config: RunConfig) -> Iterator[Callable[[], Tensor]]:
    """Yield a function for each mini-batch of one client that computes the gradient and returns the loss."""
    for batch in batches(task, config):
        yield partial(train_backward, network, task, batch, config, config.class_prior)


def take_steps(
    network: Network,
    config: RunConfig,
    optimizer: Optimizer,
    steps: Iterable[Callable[[], Tensor]],
    before_forward: Callable[[], None] | None = None,
    after_backward: Callable[[], None] | None = None,
    after_step: Callable[[], None] | None = None,
) -> Tensor:
    """Compute the gradient of each of `steps`, take an optimizer step after each, and return the losses, ``[steps, ...]``."""
    losses = []
    rate = config.gates.sent_learning_rate if isinstance(config, MaskConfig) else 0.0
    tail = Adam(network.tail.values, network.tail.gradient, learning_rate=rate) if len(network.tail) else None
    with network.channels_last():
        for backward_pass in steps:
            if before_forward:
                before_forward()
            losses.append(backward_pass())
            if after_backward:
                after_backward()
            optimizer.step()
            if tail:
                tail.step()
            if after_step:
                after_step()
    return torch.stack(losses)


def train_backward(network: Network, task: Task, batch: Tensor, config: RunConfig, class_prior: float = 0.0) -> Tensor:
    """Call :func:`backward` with `precision`, `loss` and `data.augment` from the config."""
    loss, augment = loss_function(config), config.data.augment
    return backward(network, task, batch, config.precision, class_prior, loss=loss, augment=augment)


def backward(
    network: Network,
    task: Task,
    batch: Tensor,
    precision: str,
    class_prior: float = 0.0,
    *,
    loss: Loss = loss_of,
    augment: str = "",
) -> Tensor:
    """Compute the loss of one batch with the network's current weights, and write its gradient to ``network.gradient``.

    The gradients of parameters with the roles "sent" and "personal" are written to ``network.tail.gradient`` and
    ``network.head.gradient``.

    Images are augmented with the transforms in `augment` (:func:`fedgates.methods.augmentation.augmented`). With `class_prior`
    above 0, logits are adjusted to the client's class distribution (:func:`log_prior`).

    Returns
    -------
    Tensor
        The batch's mean loss, a detached scalar.
    """
    network.zero_gradients()
    network.train()
    with autocast(network.device, precision):
        output = network(prepared(augmented(take(task.x, batch), augment), precision)).float()
    y = task.y[batch]
    if class_prior and network.task == "classes":
        output = output + task.log_prior(output.shape[1], class_prior)
    found = loss(output, y)
    found.backward()  # type: ignore[no-untyped-call]
    return found.detach()


def log_prior(labels: Tensor, classes: int, pseudo_count: float) -> Tensor:
    """Return the log of the client's class distribution, which logit adjustment adds to the logits in training.

    The value for class c is ``log((n_c + p) / (n + C p))``, where ``n_c`` of the client's n examples are in class c of C, and p
    is the pseudo-count (Menon et al.: Long-Tail Learning via Logit Adjustment, ICLR 2021, arXiv 2007.07314, equation 10). With
    the adjustment, training has no need to lower the logits of classes that a client lacks; predictions are made without it, as
    if all classes were equally frequent.

    Parameters
    ----------
    labels : Tensor
        All of the client's labels, int64 ``[n]``.
    classes : int
        Number of classes C.
    pseudo_count : float
        Pseudo-count p, above 0.

    Returns
    -------
    Tensor
        Float32 ``[C]``.
    """
    counts = torch.bincount(labels, minlength=classes)
    return torch.log((counts + pseudo_count) / (len(labels) + classes * pseudo_count)).float()


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return bfloat16 autocast on `device`, or a context that does nothing for float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def prepared(x: Inputs, precision: str) -> Inputs:
    """Return normalised inputs; with bfloat16, images are in the channels-last memory format."""
    found: Inputs = normalise(x)
    return found if precision == "float32" else mapped(found, _channels_last)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 and x.is_floating_point() else x


@contextmanager
def seeded_rng(seed_from: torch.Generator, threads: int) -> Iterator[None]:
    """Context manager that seeds torch's global generators and sets the number of CPU threads (0: no change).

    Both are restored on exit. Networks may use the global generator, for example in dropout, and float sums depend on the
    number of threads.
    """
    before, devices = torch.get_num_threads(), list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=devices):
        seed = seed_from.initial_seed()
        torch.default_generator.manual_seed(seed)
        if devices:  # torch.manual_seed would queue a call, with its stack, for each client until there is a GPU in use
            torch.cuda.manual_seed_all(seed)
        if threads:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
