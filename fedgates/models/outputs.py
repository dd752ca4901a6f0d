"""What the outputs of a network stand for."""

from torch import Tensor
from torch.nn import functional as F

from fedgates.types import TaskKind


def as_predictions(output: Tensor, task: TaskKind) -> Tensor:
    """Return the predictions of a network's outputs: the probabilities of logits, or unchanged numbers."""
    if task == "regression":
        return output
    return output.sigmoid() if task == "multi-label" else F.softmax(output, dim=1)
