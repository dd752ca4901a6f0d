"""One flat vector over the parameters of any torch network.

A :class:`Network` moves a module's parameters, and their gradients, into two flat buffers of shape ``[d]`` and leaves the
module's own parameters as views of them. A method writes the weights to run as one vector (``weights``) and reads their
gradient as another (``gradient``); forward and backward are those of the dense module.
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
    """Position of one parameter in the flat vector: elements ``offset`` to ``offset + size``."""

    name: str
    shape: tuple[int, ...]
    offset: int
    size: int
    fan_in: int
    """Number of inputs that one output of the layer sums over; 0 if the layer is neither linear nor a convolution."""

    @property
    def is_matrix(self) -> bool:
        """Whether this is the matrix of a linear layer or the kernel of a convolution."""
        return self.fan_in > 0 and len(self.shape) > 1


class Network:
    """A module whose parameters are views of one flat vector.

    Parameters
    ----------
    module : torch.nn.Module
        Its parameters are float32; a parameter that several layers share is counted once. The module is changed in place and
        belongs to one network: a second network of the same module would take the parameters from the first.
    device : torch.device or str
        Device of the parameters.

    Attributes
    ----------
    weights, gradient : Tensor
        Shape ``[d]``, float32: the weights that the module runs with, and the sum of their gradients from backward.
    slices : tuple of ParameterSlice
        The parameters in order.
    size : int
        Number of parameters d.

    Raises
    ------
    NetworkError
        The module has no parameters, has parameters that are not float32, or keeps running statistics (which would be lost,
        because only parameters are federated).
    """

    def __init__(self, module: nn.Module, device: torch.device | str = "cpu") -> None:
        for name, layer in module.named_modules():
            if getattr(layer, "running_mean", None) is not None:
                raise NetworkError(
                    f"layer {name or 'network'!r} ({type(layer).__name__}) keeps running statistics, which are not "
                    "federated; use fedgates.models.batch_norm.BatchNorm"
                )
        self.module = module.to(device)
        self.device = torch.device(device)
        self.slices = _slices(module)
        self.size = sum(part.size for part in self.slices)
        if not self.size:
            raise NetworkError("the network has no parameters")
        parameters = dict(module.named_parameters())
        self.weights = torch.cat([parameters[part.name].detach().reshape(-1) for part in self.slices])
        self.gradient = torch.zeros_like(self.weights)
        for part in self.slices:
            parameters[part.name].data = self._view(self.weights, part)
            parameters[part.name].grad = self._view(self.gradient, part)

    @staticmethod
    def _view(flat: Tensor, part: ParameterSlice) -> Tensor:
        return flat[part.offset : part.offset + part.size].view(part.shape)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the logits ``[n, classes]`` of inputs ``[n, C, H, W]`` with the current weights."""
        logits: Tensor = self.module(x)
        return logits

    def digest(self, *extra: bytes) -> bytes:
        """Return eight bytes that identify this layout (names and shapes in order) and `extra` data that both ends share."""
        h = hashlib.blake2b(digest_size=8)
        for part in self.slices:
            h.update(f"{part.name}{part.shape};".encode())
        for data in extra:
            h.update(hashlib.blake2b(data, digest_size=16).digest())
        return h.digest()


def _slices(module: nn.Module) -> tuple[ParameterSlice, ...]:
    fans: dict[int, int] = {}
    for layer in module.modules():
        fan = fan_in(layer)
        for parameter in layer.parameters(recurse=False):
            fans.setdefault(id(parameter), fan)
    slices, offset = [], 0
    for name, parameter in module.named_parameters():  # yields a shared parameter once
        if isinstance(parameter, nn.UninitializedParameter):
            raise NetworkError(f"parameter {name!r} has no shape yet; run the network once before you federate it")
        if parameter.dtype != torch.float32:
            raise NetworkError(f"parameter {name!r} is {parameter.dtype}, expected torch.float32")
        slices.append(ParameterSlice(name, tuple(parameter.shape), offset, parameter.numel(), fans[id(parameter)]))
        offset += parameter.numel()
    return tuple(slices)


def fan_in(layer: nn.Module) -> int:
    """Return the number of inputs that one output sums over: ``in_features``, ``in_channels / groups * kernel``, or 0."""
    if isinstance(layer, _ConvTransposeNd):
        per_output = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        return max(1, per_output // math.prod(layer.stride))
    if isinstance(layer, _ConvNd):
        return layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    return layer.in_features if isinstance(layer, nn.Linear) else 0
