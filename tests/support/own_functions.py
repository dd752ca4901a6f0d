"""Losses and metrics of a user's own, good and bad: `loss` = "own_functions:absolute"."""

import torch
from torch.nn import functional as F

CALLS = []
"""Shapes of what :func:`absolute` was called with."""


def absolute(outputs, y):
    CALLS.append((outputs.shape, y.shape, y.dtype))
    return (outputs - y).abs().mean()


def smoothed(outputs, y):
    return F.cross_entropy(outputs, y, label_smoothing=0.2)


def likelihood(outputs, y):
    """Negative where the network is right: minus the mean logit of the label."""
    return -outputs.gather(1, y[:, None]).mean() + 1e-3 * outputs.square().mean()


def focal_bits(outputs, y):
    return F.binary_cross_entropy_with_logits(outputs, y.float(), pos_weight=torch.tensor(3.0))


def raising(outputs, y):
    raise RuntimeError("no\nway")


def no_tensor(outputs, y):
    return 1.5


def each(outputs, y):
    return F.cross_entropy(outputs, y, reduction="none")


def whole(outputs, y):
    return outputs.argmax(1).sum()


def infinite(outputs, y):
    return outputs.sum() * float("inf")


def detached(outputs, y):
    return F.cross_entropy(outputs, y).detach()


def elsewhere(outputs, y):
    return torch.ones((), requires_grad=True)


def spread(outputs, y):
    """Not a number for one example."""
    return (outputs - outputs.mean(0)).square().sum() / (len(outputs) - 1)


def root(outputs, y):
    """A finite value whose gradient is not."""
    return (outputs * 0).abs().sum().sqrt() + F.cross_entropy(outputs, y)


constant = 3


# --- metrics


def top_2(predictions, y):
    return (predictions.topk(2).indices == y[:, None]).any(1).float().mean()


def two(predictions, y):
    return {"confidence": predictions.max(1).values.mean(), "examples_of_0": int((y == 0).sum())}


def mae(predictions, y):
    return float((predictions - y).abs().mean())


def spoiling(predictions, y):
    """Change its arguments in place."""
    predictions.zero_()
    y.zero_()
    return 0.0


def undefined_without_0(predictions, y):
    """Not a number where no example is of class 0."""
    return predictions[y == 0, 0].mean()


def accuracy(predictions, y):
    return 1.0


def seconds(predictions, y):
    return 1.0


def listed(predictions, y):
    return [0.5]


def texts(predictions, y):
    return {"good": 0.5, "bad": "high"}


def none(predictions, y):
    return {}


def many(predictions, y):
    return {f"m{i}": 0.0 for i in range(17)}


def forged(predictions, y):
    return {"a\nb": 0.0}


def nan(predictions, y):
    return float("nan")
