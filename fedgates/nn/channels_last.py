"""Convolution kernels in the channels-last memory format, with which convolutions run faster on a CPU."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Kernel = tuple[nn.Parameter, Tensor, Tensor]
"""A parameter, and the views of flat vectors with its values and its gradient, ``[out, in, height, width]``."""


def kernels(module: nn.Module) -> set[str]:
    """Return the names of the kernels for which the memory format matters: ungrouped ``nn.Conv2d`` larger than 1x1."""
    layers = [(name, layer) for name, layer in module.named_modules() if type(layer) is nn.Conv2d]
    plain = [name for name, layer in layers if layer.groups == 1 and layer.kernel_size != (1, 1)]
    return {f"{name}.weight" if name else "weight" for name in plain}


@contextmanager
def channels_last(found: Iterable[Kernel]) -> Iterator[list[Kernel]]:
    """Replace parameters by channels-last copies of their values within the context; :func:`refresh` updates the copies.

    Backward adds to the gradients as if the parameters were still views.
    """
    found, hooks = list(found), []
    for parameter, values, gradient in found:
        parameter.data = values.to(memory_format=torch.channels_last)
        parameter.grad = None
        if parameter.requires_grad:
            hooks.append(parameter.register_post_accumulate_grad_hook(_adds_to(gradient)))  # type: ignore[no-untyped-call]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, values, gradient in found:
            parameter.data, parameter.grad = values, gradient


def refresh(found: Iterable[Kernel]) -> None:
    """Set the copies to the current values."""
    for parameter, values, _ in found:
        parameter.data.copy_(values)


def _adds_to(gradient: Tensor) -> Callable[[Tensor], None]:
    def add(parameter: Tensor) -> None:
        gradient.add_(parameter.grad)  # type: ignore[arg-type]  # set by the pass that calls this
        parameter.grad = None

    return add
