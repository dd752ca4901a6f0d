"""Several copies of a network with different weights, which run together in one pass.

All parameters must belong to linear layers. A linear layer multiplies the examples of each copy by that copy's matrix, in one
batched product; every other layer gets the examples of all copies as one batch. Some layers, such as batch norm, would mix the
copies; :mod:`fedgates.methods.together` tests whether the outputs equal those of separate passes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Rows = Mapping[str, tuple[Tensor, Tensor]]
"""Names of parameters to their values and gradients in all copies, ``[copies, *shape]``, which are views of ``[copies, d]``."""


def linear_layers(module: nn.Module, trained: set[str]) -> dict[str, nn.Linear] | None:
    """Return the linear layers by name if they have all parameters of the network and all are trained; otherwise None."""
    layers = {name: layer for name, layer in module.named_modules() if type(layer) is nn.Linear}
    owned = {_full(name, own) for name, layer in layers.items() for own, _ in layer.named_parameters()}
    return layers if owned == trained == {name for name, _ in module.named_parameters()} else None


class GroupedLinear:
    """Copies of a linear layer that run together on inputs ``[copies * n, ...]``, with n examples of each copy in turn.

    Parameters
    ----------
    weight, bias : tuple of Tensor
        Values and gradient, ``[copies, *shape]``; `bias` is None for a layer without a bias.
    """

    def __init__(self, weight: tuple[Tensor, Tensor], bias: tuple[Tensor, Tensor] | None) -> None:
        self.weight, self.weight_gradient = weight
        self.bias = bias[0] if bias else None
        self.bias_gradient = bias[1] if bias else None
        self._leaf = self.weight.detach().requires_grad_()  # so that backward reaches the layer in any case
        self._filled = False

    def __call__(self, x: Tensor) -> Tensor:
        """Return the outputs ``[copies * n, ...]``."""
        copies, outputs, inputs = self.weight.shape
        found: Tensor = _Product.apply(x.reshape(copies, -1, inputs), self._leaf, self)
        return found.reshape(*x.shape[:-1], outputs)

    def add_gradient(self, x: Tensor, upstream: Tensor) -> None:
        """Set the gradients to those of one product, or add to them if the layer was already used in this pass."""
        if self._filled:
            self.weight_gradient.add_(torch.bmm(upstream.mT, x))
        else:
            torch.bmm(upstream.mT, x, out=self.weight_gradient)  # faster than zeroing and adding
        if self.bias_gradient is not None:
            bias = upstream.sum(1)
            self.bias_gradient.copy_(self.bias_gradient + bias if self._filled else bias)
        self._filled = True

    def end_pass(self) -> None:
        """Set the gradients to zero if no backward pass reached the layer since the last call."""
        if not self._filled:
            self.weight_gradient.zero_()
            if self.bias_gradient is not None:
                self.bias_gradient.zero_()
        self._filled = False


class _Product(torch.autograd.Function):
    """``y[k] = x[k] @ weight[k].T + bias[k]`` for each copy k; backward sets the layer's gradients, faster than autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, layer: GroupedLinear) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x, weight)
        ctx.layer = layer
        return torch.bmm(x, weight.mT) if layer.bias is None else torch.baddbmm(layer.bias[:, None], x, weight.mT)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, None, None]:  # noqa: ANN401
        x, weight = ctx.saved_tensors
        ctx.layer.add_gradient(x, upstream)
        return torch.bmm(upstream, weight) if ctx.needs_input_grad[0] else None, None, None


@contextmanager
def grouped(layers: Mapping[str, nn.Linear], rows: Rows) -> Iterator[list[GroupedLinear]]:
    """Replace linear layers by :class:`GroupedLinear` with given values and gradients within the context; yield these."""
    found = []
    for name, layer in layers.items():
        copies = GroupedLinear(rows[_full(name, "weight")], None if layer.bias is None else rows[_full(name, "bias")])
        layer.forward = copies  # type: ignore[method-assign, assignment]
        found.append(copies)
    try:
        yield found
    finally:
        for layer in layers.values():
            del layer.forward


def _full(name: str, own: str) -> str:
    return f"{name}.{own}" if name else own
