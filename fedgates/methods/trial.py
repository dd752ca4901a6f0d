"""Random outputs and labels for trial calls of user-defined functions before a run starts."""

import torch
from torch import Tensor

from fedgates.types import Problem

TRIED = 64
"""Number of examples in a trial call."""


def random_outputs(problem: Problem, examples: int) -> Tensor:
    """Return normal random numbers in the shape of a network's outputs, ``[examples, *output_shape]`` float32; fixed seed."""
    return torch.randn(examples, *problem.output_shape, generator=torch.Generator().manual_seed(0))


def random_labels(problem: Problem, examples: int) -> Tensor:
    """Return labels or targets of the kind in :class:`fedgates.data.Examples`.

    Classes are repeated in turn, so that all occur if there are enough examples; multi-label columns alternate between 0 and 1.
    Targets have the shape ``[n]`` if there is one per example.
    """
    if problem.task == "regression":
        targets = torch.randn(examples, problem.outputs, generator=torch.Generator().manual_seed(1))
        return targets[:, 0] if problem.outputs == 1 else targets
    if problem.task == "multi-label":
        return ((torch.arange(examples)[:, None] + torch.arange(problem.outputs)) % 2).to(torch.uint8)
    count = torch.Size((examples, *problem.positions)).numel()
    return (torch.arange(count) % problem.outputs).view(examples, *problem.positions)
