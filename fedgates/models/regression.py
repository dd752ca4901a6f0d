"""Linear and logistic regression without bias, so that the support of the weights is that of the features."""

import math

from torch import Tensor, nn
from torch.nn import functional as F


def linear(input_shape: tuple[int, ...], num_outputs: int = 1) -> nn.Sequential:
    """``x . w``: for each output one weight a feature."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), num_outputs, bias=False))


def logistic(input_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """Multinomial logistic regression: logits ``W x``.

    With two classes there is one weight vector, and the logits are ``(0, x . w)``: the usual ``P(y = 1) = sigmoid(x . w)``. Two
    vectors, of which only the difference matters, would leave the support open.
    """
    if num_classes == 2:
        return nn.Sequential(*linear(input_shape), AgainstZero())
    return linear(input_shape, num_classes)


class AgainstZero(nn.Module):
    """Puts the logit 0 of the first class beside that of the second: ``[n, 1]`` to ``[n, 2]``."""

    def forward(self, x: Tensor) -> Tensor:
        """Pad on the left."""
        return F.pad(x, (1, 0))
