"""One flat vector over the parameters of any torch network.

A :class:`Network` moves a module's parameters, and their gradients, into two flat buffers of shape ``[d]`` and leaves the
module's own parameters as views of them. A method writes the weights to run as one vector (``weights``) and reads their
gradient as another (``gradient``); forward and backward are those of the dense module.

A personal last layer stays out of both: its parameters and their gradient are two vectors apart, ``head`` and
``head_gradient``. What a method sees, and all that is computed from it, is then the rest of the network.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from fedgates.errors import NetworkError
from fedgates.types import TaskKind


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
    personal_outputs : int
        Number of outputs of the last layer, if it is personal; 0 if no layer is.
    task : str
        What the outputs are for: logits of classes, logits of labels that are on or off, or numbers.

    Attributes
    ----------
    weights, gradient : Tensor
        Shape ``[d]``, float32: the weights that the module runs with, and the sum of their gradients from backward; without
        those of a personal last layer.
    slices : tuple of ParameterSlice
        The parameters in ``weights``, in order.
    size : int
        Number of parameters d in ``weights``.
    head, head_gradient : Tensor
        Shape ``[h]``, float32: the same of the personal last layer; empty if no layer is personal.
    initial_head : Tensor
        Shape ``[h]``: a copy of the head that the module came with.
    head_slices : tuple of ParameterSlice
        The parameters in ``head``, in order.

    Raises
    ------
    NetworkError
        The module has no parameters, has parameters that are not float32, or keeps running statistics (which would be lost,
        because only parameters are federated); or its last layer cannot be personal.
    """

    def __init__(
        self, module: nn.Module, device: torch.device | str = "cpu", *, personal_outputs: int = 0, task: TaskKind = "classes"
    ) -> None:
        for name, layer in module.named_modules():
            if getattr(layer, "running_mean", None) is not None:
                raise NetworkError(
                    f"layer {name or 'network'!r} ({type(layer).__name__}) keeps running statistics, which are not "
                    "federated; use fedgates.models.batch_norm.BatchNorm"
                )
        self.module, self.task = module.to(device), task
        self.device = torch.device(device)
        slices = _slices(module)
        if not sum(part.size for part in slices):
            raise NetworkError("the network has no parameters")
        self.slices, self.head_slices = _split(module, slices, personal_outputs) if personal_outputs else (slices, ())
        self.size = sum(part.size for part in self.slices)
        parameters = dict(module.named_parameters())
        self.weights, self.gradient = _flattened(parameters, self.slices, self.device)
        self.head, self.head_gradient = _flattened(parameters, self.head_slices, self.device)
        self.initial_head = self.head.clone()
        self._shared = [parameters[part.name] for part in self.slices]

    @contextmanager
    def only_head(self) -> Iterator[None]:
        """In this context backward computes no gradient but that of the head."""
        trained = [parameter for parameter in self._shared if parameter.requires_grad]
        try:
            for parameter in trained:
                parameter.requires_grad_(False)  # noqa: FBT003  # torch's stub names no parameter
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)  # noqa: FBT003

    def __call__(self, x: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Return the outputs for inputs ``[n, ...]``, several by name, with the current weights: logits, or numbers."""
        outputs: Tensor = self.module(**x) if isinstance(x, Mapping) else self.module(x)
        return outputs

    def digest(self, *extra: bytes) -> bytes:
        """Return eight bytes that identify the network.

        They depend on the names and shapes of its parameters in order, on the buffers that it saves, and on `extra` data that
        both ends share.
        """
        h = hashlib.blake2b(digest_size=8)
        for part in self.slices:
            h.update(f"{part.name}{part.shape};".encode())
        for part in self.head_slices:
            h.update(f"personal {part.name}{part.shape};".encode())
        saved = self.module.state_dict(keep_vars=True)
        for name, buffer in self.module.named_buffers():
            if name in saved:
                if buffer.layout != torch.strided:
                    raise NetworkError(f"buffer {name!r} has layout {buffer.layout}, expected torch.strided")
                h.update(f"buffer {name}{tuple(buffer.shape)}{buffer.dtype};".encode())
                h.update(buffer.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
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


def _flattened(
    parameters: Mapping[str, nn.Parameter], slices: Sequence[ParameterSlice], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Move parameters and their gradients into two flat vectors; return both."""
    values = [parameters[part.name].detach().reshape(-1) for part in slices]
    flat = torch.cat(values) if values else torch.empty(0, device=device)
    gradient = torch.zeros_like(flat)
    for part in slices:
        end = part.offset + part.size
        parameters[part.name].data = flat[part.offset : end].view(part.shape)
        parameters[part.name].grad = gradient[part.offset : end].view(part.shape)
    return flat, gradient


def _split(
    module: nn.Module, slices: tuple[ParameterSlice, ...], outputs: int
) -> tuple[tuple[ParameterSlice, ...], tuple[ParameterSlice, ...]]:
    """Return the shared parameters, and those of the last layer, whose offsets start at 0 again.

    Raises
    ------
    NetworkError
        The last layer with parameters is neither linear nor a convolution with so many outputs, has a parameter that another
        layer has or that is not trained, or is the only layer.
    """
    name, layer = [pair for pair in module.named_modules() if next(pair[1].parameters(recurse=False), None) is not None][-1]
    problem = f"the last layer, {name or 'network'!r} ({type(layer).__name__}), cannot be personal; expected"
    if not isinstance(layer, nn.Linear | _ConvNd) or isinstance(layer, _ConvTransposeNd) or len(layer.weight) != outputs:
        raise NetworkError(
            f"{problem} a linear layer or a convolution, defined last, with an output for each class ({outputs})"
        )
    own = [f"{name}.{key}" if name else key for key, _ in layer.named_parameters(recurse=False)]
    shared, head = slices[: -len(own)], slices[-len(own) :]
    if [part.name for part in head] != own or not all(parameter.requires_grad for parameter in layer.parameters()):
        raise NetworkError(f"{problem} parameters that are trained and that no other layer has")
    if not shared:
        raise NetworkError(f"{problem} a layer before it, for the clients to share")
    return shared, tuple(replace(part, offset=part.offset - head[0].offset) for part in head)


def fan_in(layer: nn.Module) -> int:
    """Return the number of inputs that one output sums over: ``in_features``, ``in_channels / groups * kernel``, or 0."""
    if isinstance(layer, _ConvTransposeNd):
        per_output = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        return max(1, per_output // math.prod(layer.stride))
    if isinstance(layer, _ConvNd):
        return layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    return layer.in_features if isinstance(layer, nn.Linear) else 0
