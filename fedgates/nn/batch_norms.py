"""Fixed statistics of batch norms for a finished network, computed from sums over the clients' examples.

In training, a norm uses batch statistics. The output of a finished network must not depend on the other examples of a batch, so
its norms get fixed statistics. In one pass over its examples, with batch statistics, each client sums x and x^2 for every
channel of every norm's input. Mean and variance over all clients are computed from these sums.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def norms_of(module: nn.Module) -> list[tuple[str, _BatchNorm]]:
    """Return the names and modules of the batch norms without running statistics."""
    return [(name, m) for name, m in module.named_modules() if isinstance(m, _BatchNorm) and m.running_mean is None]


def sums_size(module: nn.Module) -> int:
    """Return the length of :func:`channel_sums`: ``1 + 2 C`` for each norm with C channels."""
    return sum(1 + 2 * norm.num_features for _, norm in norms_of(module))


@contextmanager
def channel_sums(module: nn.Module) -> Iterator[Callable[[], NDArray[np.float64]]]:
    """Sum the inputs of batch norms in every forward pass within the context.

    Yields
    ------
    callable
        Returns the sums so far, float64 ``[m]``: for each norm the number of values per channel, then the sum of x for each
        channel, then the sum of x^2 for each channel.
    """
    norms = norms_of(module)
    totals = [torch.zeros(1 + 2 * norm.num_features, dtype=torch.float64) for _, norm in norms]
    places = {id(norm): total for (_, norm), total in zip(norms, totals, strict=True)}

    def record(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        of_channels = inputs[0].transpose(0, 1).flatten(1).double()
        count = torch.tensor([float(of_channels.shape[1])], dtype=torch.float64)
        places[id(norm)] += torch.cat([count, of_channels.sum(1).cpu(), of_channels.square().sum(1).cpu()])

    handles = [norm.register_forward_pre_hook(record) for _, norm in norms]
    try:
        yield lambda: torch.cat(totals).numpy().copy() if totals else np.empty(0)
    finally:
        for handle in handles:
            handle.remove()


def counts_of(module: nn.Module, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the number of values in each sum, float64 ``[m]``."""
    return np.concatenate([np.full(1 + 2 * len(first), count) for _, count, first, _ in _parts(module, sums)])


def check_sums(module: nn.Module, sums: NDArray[np.float64]) -> str:
    """Describe why numbers cannot be the :func:`channel_sums` of a network; empty if they can."""
    for name, count, first, second in _parts(module, sums):
        if not (count >= 0 and count == int(count)):
            return f"{count:g} values in a channel of {name!r}, expected a whole number of at least 0"
        if not count and (first.any() or second.any()):
            return f"sums in {name!r} without values"
        if (second * count < first**2 * (1 - 1e-6) - 1e-6).any():
            return f"sums of squares in {name!r} that are too small for the sums"
    return ""


def statistics_of(module: nn.Module, sums: NDArray[np.float64]) -> NDArray[np.float32]:
    """Compute statistics from sums over all examples: for each norm the means, then the variances of its channels, float32.

    A norm that did not run has mean 0 and variance 1.

    Raises
    ------
    ValueError
        A statistic is not finite.
    """
    found = []
    for _, count, first, second in _parts(module, sums):
        mean = first / max(count, 1)
        found += [mean, np.maximum(second / count - mean**2, 0) if count else np.ones_like(first)]
    statistics = np.concatenate(found).astype(np.float32) if found else np.empty(0, np.float32)
    if not np.isfinite(statistics).all():
        raise ValueError("the statistics of a batch norm are not finite")
    return statistics


def _parts(
    module: nn.Module, sums: NDArray[np.float64]
) -> Iterable[tuple[str, float, NDArray[np.float64], NDArray[np.float64]]]:
    at = 0
    for name, norm in norms_of(module):
        channels = norm.num_features
        yield name, float(sums[at]), sums[at + 1 : at + 1 + channels], sums[at + 1 + channels : at + 1 + 2 * channels]
        at += 1 + 2 * channels
