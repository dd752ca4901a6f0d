"""Random outputs and labels, on which a user's own functions are tried before a run starts."""

import torch
from torch import Tensor

from fedgates.types import Problem

TRIED = 64
"""Number of examples."""


def random_outputs(problem: Problem, examples: int) -> Tensor:
    """Return normal numbers in the shape of a network's outputs, ``[examples, *output_shape]`` float32; the same each time."""
    return torch.randn(examples, *problem.output_shape, generator=torch.Generator().manual_seed(0))


def random_labels(problem: Problem, examples: int) -> Tensor:
    """Return labels or targets as of :class:`fedgates.data.Examples`.

    Classes take turns, so that all occur if there are enough examples, and so does each label that is on or off. Targets are
    ``[n]`` where there is one for each example.
    """
    if problem.task == "regression":
        targets = torch.randn(examples, problem.outputs, generator=torch.Generator().manual_seed(1))
        return targets[:, 0] if problem.outputs == 1 else targets
    if problem.task == "multi-label":
        return ((torch.arange(examples)[:, None] + torch.arange(problem.outputs)) % 2).to(torch.uint8)
    count = torch.Size((examples, *problem.positions)).numel()
    return (torch.arange(count) % problem.outputs).view(examples, *problem.positions)
