"""SGD and Adam on a flat vector, with steps bit for bit equal to those of ``torch.optim``.

``torch.optim`` imports ``torch._dynamo`` when the first optimizer is built, which takes seconds of CPU time. A device trains in
a new process for each message, so it would spend that time in every round.
"""

import torch
from torch import Tensor


class SGD:
    """Stochastic gradient descent, equal to ``torch.optim.SGD`` with dampening 0.

    Parameters
    ----------
    parameter, gradient : Tensor
        Shape ``[n]``; a step reads the gradient and updates the parameter in place.
    learning_rate, momentum, weight_decay : float
        ``g' = g + weight_decay * w``; ``b = momentum * b + g'`` (``g'`` in the first step); ``w = w - learning_rate * b``.
    """

    def __init__(
        self, parameter: Tensor, gradient: Tensor, *, learning_rate: float, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        self._parameter, self._gradient = parameter, gradient
        self._learning_rate, self._momentum, self._weight_decay = learning_rate, momentum, weight_decay
        self._buffer: Tensor | None = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameter once."""
        gradient = self._gradient
        if self._weight_decay:
            gradient = gradient.add(self._parameter, alpha=self._weight_decay)
        if self._momentum:
            if self._buffer is None:
                self._buffer = gradient.clone()
            else:
                self._buffer.mul_(self._momentum).add_(gradient)
            gradient = self._buffer
        self._parameter.add_(gradient, alpha=-self._learning_rate)


class Adam:
    """Adam (Kingma and Ba, ICLR 2015), equal to ``torch.optim.Adam(fused=True)`` with betas of .9 and .999.

    Parameters
    ----------
    parameter, gradient : Tensor
        Shape ``[n]``, float32; a step reads the gradient and updates the parameter in place.
    learning_rate, epsilon : float
        Step size alpha and constant epsilon of the paper.
    """

    def __init__(self, parameter: Tensor, gradient: Tensor, *, learning_rate: float, epsilon: float = 1e-8) -> None:
        self._parameter, self._gradient = parameter, gradient
        self._learning_rate, self._epsilon = learning_rate, epsilon
        self._mean, self._square = torch.zeros_like(parameter), torch.zeros_like(parameter)
        self._count = torch.zeros((), dtype=torch.float32, device=parameter.device)

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameter once."""
        self._count.add_(1)
        torch._fused_adam_(  # the kernel of torch.optim; tests compare the two
            [self._parameter],
            [self._gradient],
            [self._mean],
            [self._square],
            [],
            [self._count],
            lr=self._learning_rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=self._epsilon,
            amsgrad=False,
            maximize=False,
        )
