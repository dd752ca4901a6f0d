"""Backward passes from pruned activations: each layer stores its input with the same sparsity as its weights.

Guastella et al., SparsyFed, ICLR 2025, arXiv 2504.05153. The output of a layer and the gradient of its input are exact. The
gradient of its weights is computed from the largest entries of the input; the share of entries to keep is the layer's share of
nonzero weights.

The network's own input is not pruned by default. Its pixels are normalised to [-1, 1], so the largest entries of an image with
a dark background are the background, and the first layer would learn from the background only.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_Context = Any
"""Context of an autograd function in torch, on which any attribute may be set."""


@contextmanager
def pruned_activations(module: nn.Module, *, prune_input: bool = False) -> Iterator[None]:
    """Make ``nn.Linear`` and ``nn.Conv2d`` of `module` compute weight gradients from pruned activations within the context.

    Other layers, layers with a custom forward, and convolutions whose padding is not a number of zeros are unchanged.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    prune_input : bool
        Whether to also prune inputs that need no gradient, which are those of layers without trained layers before them.
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
    """Zero all but the ``round(share * x.numel())`` entries of ``x`` with the largest magnitudes (at least one).

    Entries that tie with the smallest kept magnitude are kept, too, because their order is arbitrary; in the background of an
    image, all entries may tie.
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
    """Cast input, weight and bias as autocast would, because autocast does not apply to custom autograd functions."""
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
        # of `kept`, the gradient of the input depends only on the shape, so this gradient is exact
        gradients = torch.ops.aten.convolution_backward(gradient, kept, weight, [len(weight)], *context.geometry, wanted)
        return (*gradients, None, None)
