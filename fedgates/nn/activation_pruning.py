"""Backward passes from pruned activations: a layer stores its input as sparsely as its weights are.

Guastella et al., SparsyFed, ICLR 2025, arXiv 2504.05153. A layer's output and the gradient of its input are exact. The gradient
of its weights is computed from the largest entries of the input; their share is the layer's share of nonzero weights.

The network's own input is not pruned by default. Its pixels are normalised to -1 to 1, so that the largest entries of an image
on a dark background are the background, and the first layer would learn from that alone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_Context = Any
"""Torch's context of an autograd function, which takes any attribute."""


@contextmanager
def pruned_activations(module: nn.Module, *, prune_input: bool = False) -> Iterator[None]:
    """In this context, ``nn.Linear`` and ``nn.Conv2d`` of `module` compute their weights' gradient from pruned activations.

    Other layers do not change, nor do layers with a custom forward, nor convolutions with other padding than a number of zeros.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    prune_input : bool
        Whether to prune the network's input, too: the input of layers before which there is nothing to train, which is
        recognised by its needing no gradient.
    """
    layers = {layer: rule for layer in module.modules() if (rule := _rule(layer))}
    for layer, rule in layers.items():
        layer.__dict__["forward"] = partial(rule, layer, prune_input=prune_input)
    try:
        yield
    finally:
        for layer in layers:
            del layer.__dict__["forward"]


def largest_activations(x: Tensor, share: float) -> Tensor:
    """Return ``x`` with all but the ``round(share * x.numel())`` entries of largest magnitude (at least one) zeroed.

    Entries equal in magnitude to the smallest of these are kept, too: their order is arbitrary, and whole backgrounds of images
    are equal.
    """
    drop = x.numel() - max(1, round(share * x.numel()))
    if drop <= 0:
        return x
    size = x.abs()
    edge = size.flatten().kthvalue(drop + 1).values
    return torch.where(size >= edge, x, torch.zeros((), dtype=x.dtype, device=x.device))


def _rule(layer: nn.Module) -> Callable[..., Tensor] | None:
    if "forward" in layer.__dict__:
        return None
    own = type(layer).forward
    if isinstance(layer, nn.Linear) and own is nn.Linear.forward:
        return _linear
    if isinstance(layer, nn.Conv2d) and own is nn.Conv2d.forward and isinstance(layer.padding, tuple):
        return _conv2d if layer.padding_mode == "zeros" else None
    return None


def _linear(layer: nn.Linear, x: Tensor, *, prune_input: bool) -> Tensor:
    output: Tensor = _Linear.apply(*_cast(x, layer), _share(layer.weight, x, prune_input=prune_input))
    return output


def _conv2d(layer: nn.Conv2d, x: Tensor, *, prune_input: bool) -> Tensor:
    geometry = (layer.stride, layer.padding, layer.dilation, False, (0, 0), layer.groups)
    output: Tensor = _Conv2d.apply(*_cast(x, layer), _share(layer.weight, x, prune_input=prune_input), geometry)
    return output


def _share(weight: Tensor, x: Tensor, *, prune_input: bool) -> float:
    if not (x.requires_grad or prune_input):
        return 1.0
    return int(weight.count_nonzero()) / weight.numel()


def _cast(x: Tensor, layer: nn.Linear | nn.Conv2d) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return input, weight and bias as autocast would pass them to the layer; autocast does not apply to autograd functions."""
    device, weight, bias = x.device.type, layer.weight, layer.bias
    if not torch.is_autocast_enabled(device):
        return x, weight, bias
    dtype = torch.get_autocast_dtype(device)
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(context: _Context, x: Tensor, weight: Tensor, bias: Tensor | None, share: float) -> Tensor:
        context.save_for_backward(largest_activations(x, share), weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(context: _Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kept, weight = context.saved_tensors
        of_input, of_weight, of_bias, _ = context.needs_input_grad
        rows = gradient.flatten(0, -2)
        return (
            gradient @ weight if of_input else None,
            rows.T @ kept.flatten(0, -2) if of_weight else None,
            rows.sum(0) if of_bias else None,
            None,
        )


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        context: _Context, x: Tensor, weight: Tensor, bias: Tensor | None, share: float, geometry: tuple[Any, ...]
    ) -> Tensor:
        context.save_for_backward(largest_activations(x, share), weight)
        context.geometry = geometry
        return torch.convolution(x, weight, bias, *geometry)

    @staticmethod
    def backward(context: _Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kept, weight = context.saved_tensors
        wanted = context.needs_input_grad[:3]
        # the gradient of the input depends on the shape of the input only, so it is exact
        gradients = torch.ops.aten.convolution_backward(gradient, kept, weight, [len(weight)], *context.geometry, wanted)
        return (*gradients, None, None)
