"""Copies of a network side by side, each with weights of its own: one pass runs all of them.

All parameters must be those of linear layers. A linear layer multiplies the examples of each copy by the copy's own matrix, in
one grouped product; every other layer gets the examples of all copies as one batch. Whether the outputs are then those of the
copies alone depends on the network, such as on batch norm: :mod:`fedgates.methods.together` tries it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Rows = Mapping[str, tuple[Tensor, Tensor]]
"""Name of a parameter to its values and its gradient in each copy, ``[copies, *shape]``, views of ``[copies, d]``."""


def linear_layers(module: nn.Module, trained: set[str]) -> dict[str, nn.Linear] | None:
    """Return the linear layers by name if they have all parameters of a network, each of them trained; None otherwise."""
    layers = {name: layer for name, layer in module.named_modules() if type(layer) is nn.Linear}
    owned = {_full(name, own) for name, layer in layers.items() for own, _ in layer.named_parameters()}
    return layers if owned == trained == {name for name, _ in module.named_parameters()} else None


class GroupedLinear:
    """A linear layer in copies: from ``[copies * n, ...]``, n examples of each copy in turn, to the outputs.

    Parameters
    ----------
    weight, bias : tuple of Tensor
        Values and gradient, ``[copies, *shape]``; a layer without a bias has none.
    """

    def __init__(self, weight: tuple[Tensor, Tensor], bias: tuple[Tensor, Tensor] | None) -> None:
        self.weight, self.weight_gradient = weight
        self.bias = bias[0] if bias else None
        self.bias_gradient = bias[1] if bias else None
        self._leaf = self.weight.detach().requires_grad_()  # so that backward reaches the layer, whatever its input is
        self._filled = False

    def __call__(self, x: Tensor) -> Tensor:
        """Return the outputs ``[copies * n, ...]``."""
        copies, outputs, inputs = self.weight.shape
        found: Tensor = _Product.apply(x.reshape(copies, -1, inputs), self._leaf, self)
        return found.reshape(*x.shape[:-1], outputs)

    def add_gradient(self, x: Tensor, upstream: Tensor) -> None:
        """Set the gradients to those of one product; add them where the layer is used more than once in a pass."""
        if self._filled:
            self.weight_gradient.add_(torch.bmm(upstream.mT, x))
        else:
            torch.bmm(upstream.mT, x, out=self.weight_gradient)  # faster than zeros and a sum
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
    """``y[k] = x[k] @ weight[k].T + bias[k]`` of each copy k; gradients go to the layer, faster than by autograd."""

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
    """In this context linear layers run in copies, with these values and gradients; yield what runs in their place."""
    found = []
    for name, layer in layers.items():
        instead = GroupedLinear(rows[_full(name, "weight")], None if layer.bias is None else rows[_full(name, "bias")])
        layer.forward = instead  # type: ignore[method-assign, assignment]
        found.append(instead)
    try:
        yield found
    finally:
        for layer in layers.values():
            del layer.forward


def _full(name: str, own: str) -> str:
    return f"{name}.{own}" if name else own
