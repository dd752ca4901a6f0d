"""A user-defined metric for screening."""

from torch import Tensor


def recall(predictions: Tensor, y: Tensor) -> float:
    """Return the share of malignant tumours (class 1) that are detected; predictions are probabilities ``[n, 2]``."""
    found = predictions[y == 1].argmax(1) == 1
    return float(found.float().mean())
