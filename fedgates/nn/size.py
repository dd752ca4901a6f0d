"""Size of a network: parameters and multiply-adds. Importing this module does not import torch."""

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedgates.types import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor, nn


_SMALL = 1 << 12
"""Largest number of values of an example for which running the network on zeros is preferred to the meta device."""


@dataclass(frozen=True)
class NetworkSize:
    """Size of a network, independent of its weights."""

    parameters: int
    """Number of parameters."""
    multiply_adds: int
    """Multiply-adds of linear and convolution layers for one example."""


def network_size(network: "nn.Module", problem: Problem) -> NetworkSize | None:
    """Count a network's parameters, and the multiply-adds of its linear and convolution layers for one example.

    Returns
    -------
    NetworkSize or None
        The size; None if the network runs neither on torch's meta device nor on zeros.
    """
    for count in _ways(problem):
        try:
            operations = count(network, problem)
        except Exception:  # noqa: BLE001, S112  # a user's network may depend on values; a missing size must not fail the run
            continue
        return NetworkSize(sum(parameter.numel() for parameter in network.parameters()), operations)
    return None


def _ways(problem: Problem) -> "list[Callable[[nn.Module, Problem], int]]":
    """Return the two ways to count, the cheaper one first; torch takes a second to import what its meta device needs."""
    small = sum(math.prod(spec.shape) for spec in problem.inputs) <= _SMALL
    return [_by_numbers, _by_shapes] if small else [_by_shapes, _by_numbers]


def _by_shapes(network: "nn.Module", problem: Problem) -> int:
    return _multiply_adds(copy.deepcopy(network).to("meta"), "meta", problem)


def _by_numbers(network: "nn.Module", problem: Problem) -> int:
    return _multiply_adds(network, next(network.parameters()).device, problem)


def _multiply_adds(network: "nn.Module", device: "torch.device | str", problem: Problem) -> int:
    """Count the multiply-adds for one example; the network runs on two, because some norms need more than one."""
    import torch  # noqa: PLC0415  # reading a model file does not need torch
    from torch import nn  # noqa: PLC0415

    operations, training = 0, network.training

    def count(layer: nn.Module, _: "tuple[Tensor, ...]", output: "Tensor") -> None:
        nonlocal operations
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            operations += output[0].numel() * layer.weight[0].numel()

    handles = [layer.register_forward_hook(count) for layer in network.modules()]
    try:
        with torch.no_grad():
            zeros = {
                spec.name: torch.zeros(2, *spec.shape, device=device, dtype=torch.int64 if spec.dtype == "int64" else None)
                for spec in problem.inputs
            }
            network.eval()(**zeros) if len(zeros) > 1 else network.eval()(*zeros.values())
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return operations
