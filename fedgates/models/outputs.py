"""Interpretation of the outputs of a network."""

from torch import Tensor
from torch.nn import functional as F

from fedgates.types import TaskKind


def as_predictions(output: Tensor, task: TaskKind) -> Tensor:
    """Convert outputs to predictions: probabilities for logits; the numbers of a regression are unchanged."""
    if task == "regression":
        return output
    return output.sigmoid() if task == "multi-label" else F.softmax(output, dim=1)
