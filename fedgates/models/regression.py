"""Linear and logistic regression without bias, so that the support of the weights is the set of features in use."""

import math

from torch import Tensor, nn
from torch.nn import functional as F


def linear(input_shape: tuple[int, ...], num_outputs: int = 1) -> nn.Sequential:
    """Build linear regression ``x . w``, with one weight per feature for each output."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), num_outputs, bias=False))


def logistic(input_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """Build multinomial logistic regression with logits ``W x``.

    For two classes there is one weight vector w and the logits are ``(0, x . w)``, so that ``P(y = 1) = sigmoid(x . w)``. With
    two weight vectors, only their difference would matter, and the support would not be determined.
    """
    if num_classes == 2:
        return nn.Sequential(*linear(input_shape), AgainstZero())
    return linear(input_shape, num_classes)


class AgainstZero(nn.Module):
    """Layer that prepends a logit of 0 for the first class: ``[n, 1]`` to ``[n, 2]``."""

    def forward(self, x: Tensor) -> Tensor:
        """Pad ``x`` with a zero on the left."""
        return F.pad(x, (1, 0))
