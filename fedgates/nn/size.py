"""How large a network is: parameters and multiply-adds. Importing this module does not import torch."""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from fedgates.models.shapes import Shape


@dataclass(frozen=True)
class NetworkSize:
    """Size of a network, whatever its weights are."""

    parameters: int
    """Number of parameters."""
    multiply_adds: int
    """Multiply-adds of linear and convolution layers for one image."""


def network_size(network: "nn.Module", input_shape: "Shape") -> NetworkSize | None:
    """Count a network's parameters, and the multiply-adds of its linear and convolution layers for one image (C, H, W).

    Returns
    -------
    NetworkSize or None
        None if the network runs neither on torch's meta device nor on an image of zeros.
    """
    try:  # shapes alone: an image may be large, and only its size matters
        operations = _multiply_adds(copy.deepcopy(network).to("meta"), "meta", input_shape)
    except Exception:  # noqa: BLE001  # a user's network may need numbers, and may not support copying
        try:
            operations = _multiply_adds(network, next(network.parameters()).device, input_shape)
        except Exception:  # noqa: BLE001  # a missing statistic must not cost the model
            return None
    return NetworkSize(sum(parameter.numel() for parameter in network.parameters()), operations)


def _multiply_adds(network: "nn.Module", device: "torch.device | str", input_shape: "Shape") -> int:
    """Run the network on two images, for norms that need more than one, and count the multiply-adds of the first."""
    import torch  # noqa: PLC0415  # readers of model files need no torch
    from torch import nn  # noqa: PLC0415

    operations, training = 0, network.training

    def count(layer: nn.Module, _: "tuple[Tensor, ...]", output: "Tensor") -> None:
        nonlocal operations
        if isinstance(layer, nn.Linear | nn.Conv2d):
            operations += output[0].numel() * layer.weight[0].numel()

    handles = [layer.register_forward_hook(count) for layer in network.modules()]
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(2, *input_shape, device=device))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return operations
