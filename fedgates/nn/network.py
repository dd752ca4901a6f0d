"""One flat vector over the parameters of any torch network.

A :class:`Network` moves a module's parameters, and their gradients, into two flat buffers of shape ``[d]`` and leaves the
module's own parameters as views of them. A method then writes the weights it wants to run (``weights``), and reads what
backpropagation gives (``gradient``), as one vector; forward and backward are the dense module's own.
"""

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from fedgates.errors import NetworkError


@dataclass(frozen=True)
class ParameterSlice:
    """Where one parameter lies in the flat vector: elements ``offset`` to ``offset + size``."""

    name: str
    shape: tuple[int, ...]
    offset: int
    size: int
    fan_in: int
    """Inputs that one output of the layer sums over; 0 where the layer is neither linear nor a convolution."""

    @property
    def is_matrix(self) -> bool:
        """Whether it is the matrix or kernel of a linear layer or a convolution: no bias, and no other layer's."""
        return self.fan_in > 0 and len(self.shape) > 1


class Network:
    """A module whose parameters are views of one flat vector.

    Parameters
    ----------
    module : torch.nn.Module
        Float32 parameters; a parameter that several layers share is counted once. It is changed in place, and belongs to one
        network: a second one made of it would take its parameters away from the first.
    device : torch.device or str
        Where it lives.

    Attributes
    ----------
    weights, gradient : Tensor
        Shape ``[d]``, float32: what the module runs with, and where backward adds its gradients.
    slots : tuple of Slot
        The parameters in order; ``size`` is d.

    Raises
    ------
    NetworkError
        The module has no parameters, has some that are not float32, or keeps running statistics (which would be
        lost: only parameters are federated).
    """

    def __init__(self, module: nn.Module, device: torch.device | str = "cpu") -> None:
        for name, layer in module.named_modules():
            if getattr(layer, "running_mean", None) is not None:
                raise NetworkError(
                    f"layer {name or 'network'!r} ({type(layer).__name__}) keeps running statistics, which nobody would "
                    "federate; use fedgates.models.batch_norm.BatchNorm"
                )
        self.module = module.to(device)
        self.device = torch.device(device)
        self.slices = _slots(module)
        self.size = sum(slot.size for slot in self.slices)
        if not self.size:
            raise NetworkError("the network has no parameters")
        parameters = dict(module.named_parameters())
        self.weights = torch.cat([parameters[s.name].detach().reshape(-1) for s in self.slices])
        self.gradient = torch.zeros_like(self.weights)
        for slot in self.slices:
            parameters[slot.name].data = self._view(self.weights, slot)
            parameters[slot.name].grad = self._view(self.gradient, slot)

    @staticmethod
    def _view(flat: Tensor, slot: ParameterSlice) -> Tensor:
        return flat[slot.offset : slot.offset + slot.size].view(slot.shape)

    def __call__(self, x: Tensor) -> Tensor:
        """Logits ``[n, classes]`` of inputs ``[n, C, H, W]`` with the present weights."""
        logits: Tensor = self.module(x)
        return logits

    def digest(self, *also: bytes) -> bytes:
        """Eight bytes that name this layout (names and shapes in order) and whatever else both ends must agree on."""
        h = hashlib.blake2b(digest_size=8)
        for slot in self.slices:
            h.update(f"{slot.name}{slot.shape};".encode())
        for part in also:
            h.update(hashlib.blake2b(part, digest_size=16).digest())
        return h.digest()


def _slots(module: nn.Module) -> tuple[ParameterSlice, ...]:
    fans: dict[int, int] = {}
    for layer in module.modules():
        fan = fan_in(layer)
        for parameter in layer.parameters(recurse=False):
            fans.setdefault(id(parameter), fan)
    slices, offset = [], 0
    for name, parameter in module.named_parameters():  # yields a shared parameter once
        if isinstance(parameter, nn.UninitializedParameter):
            raise NetworkError(f"parameter {name!r} has no shape yet; run the network once before it is federated")
        if parameter.dtype != torch.float32:
            raise NetworkError(f"parameter {name!r} is {parameter.dtype}, expected torch.float32")
        slices.append(ParameterSlice(name, tuple(parameter.shape), offset, parameter.numel(), fans[id(parameter)]))
        offset += parameter.numel()
    return tuple(slices)


def fan_in(layer: nn.Module) -> int:
    """Inputs that one output sums over: ``in_features``, or ``in_channels / groups * kernel``; 0 for other layers."""
    if isinstance(layer, _ConvTransposeNd):
        per_output = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        return max(1, per_output // math.prod(layer.stride))
    if isinstance(layer, _ConvNd):
        return layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    return layer.in_features if isinstance(layer, nn.Linear) else 0
