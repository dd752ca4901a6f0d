"""Parameters of a module as one flat vector."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class ParameterSlice:
    """Position of one parameter in a flat vector: elements ``offset`` to ``offset + size``."""

    name: str
    shape: tuple[int, ...]
    offset: int
    size: int
    fan_in: int
    """Number of inputs that an output of the layer sums over (:func:`fedgates.nn.roles.fan_in`); 0 if it does not sum."""

    @property
    def part(self) -> slice:
        """Slice of the vector with the elements of this parameter."""
        return slice(self.offset, self.offset + self.size)

    @property
    def is_matrix(self) -> bool:
        """Whether this is a matrix or kernel with a fan-in, such as the weight of a linear layer or a convolution."""
        return self.fan_in > 0 and len(self.shape) > 1


class FlatParameters:
    """A flat vector of which parameters are views.

    Parameters
    ----------
    parameters : mapping
        The parameters by name, which become views of the vector in this order.
    fans : mapping
        Fan-in of each parameter by name (:func:`fedgates.nn.roles.fan_in`).
    device : torch.device
        Device of the parameters.

    Attributes
    ----------
    slices : tuple of ParameterSlice
        Positions of the parameters, in order.
    values, gradient : Tensor
        Shape ``[size]``, float32: the values that the module runs with, and the sum of the gradients from backward.
    initial : Tensor
        Shape ``[size]``: a copy of the module's initial values.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], fans: Mapping[str, int], device: torch.device) -> None:
        self.slices = tuple(_slices(parameters, fans))
        values = [parameter.detach().reshape(-1) for parameter in parameters.values()]
        self.values = torch.cat(values) if values else torch.empty(0, device=device)
        self.gradient = torch.zeros_like(self.values)
        for each in self.slices:
            parameters[each.name].data = self.values[each.part].view(each.shape)
            parameters[each.name].grad = self.gradient[each.part].view(each.shape)
        self.initial = self.values.clone()

    def __len__(self) -> int:
        return len(self.values)


def _slices(parameters: Mapping[str, nn.Parameter], fans: Mapping[str, int]) -> Iterator[ParameterSlice]:
    offset = 0
    for name, parameter in parameters.items():
        yield ParameterSlice(name, tuple(parameter.shape), offset, parameter.numel(), fans[name])
        offset += parameter.numel()
