"""A finished model as a torch module."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fedgates.model_file.facts import Facts, Layer
from fedgates.nn.network import Network
from fedgates.types import InputSpec


class Model(nn.Module):
    """A finished model for prediction.

    Attributes
    ----------
    network : torch.nn.Module
        The wrapped network, which takes normalised inputs (``facts.problem.inputs``).
    facts : Facts
        Description of the model in its file.
    """

    def __init__(self, network: nn.Module, facts: Facts) -> None:
        super().__init__()
        self.network, self.facts = network, facts

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        """Return logits ``[n, outputs]`` (``[n, classes, *positions]`` for positions), or the predicted values of a regression.

        Parameters
        ----------
        *inputs, **named : Tensor
            The inputs, in order or by name, each ``[n, *shape]`` and not normalised. If the training data were uint8: uint8 in
            [0, 255], or floats in [0, 1] as ``torchvision.transforms.ToTensor`` returns.

        Raises
        ------
        TypeError
            An input is missing, unknown or given twice, or has another dtype.
        """
        specs = self.facts.problem.inputs
        given = {**dict(zip((spec.name for spec in specs), inputs, strict=False)), **named}
        if len(inputs) + len(named) != len(specs) or set(given) != {spec.name for spec in specs}:
            raise TypeError(f"expected each of the inputs {', '.join(spec.name for spec in specs)} once")
        tensors = {spec.name: normalised(given[spec.name], spec) for spec in specs}
        outputs: Tensor = self.network(**tensors) if len(specs) > 1 else self.network(*tensors.values())
        return outputs


def normalised(x: Tensor, spec: InputSpec) -> Tensor:
    """Return an input normalised as in training, ``[n, *shape]``, float32 or int64.

    Raises
    ------
    TypeError
        The dtype does not match the spec.
    """
    if spec.dtype == "int64":
        if x.is_floating_point() or x.dtype == torch.bool:
            raise TypeError(f"{spec.name} is {x.dtype}, expected whole numbers, such as torch.int64")
        return x.long()
    if not x.is_floating_point() and (x.dtype != torch.uint8 or spec.dtype != "uint8"):
        of = "torch.uint8 from 0 to 255, or floats from 0 to 1" if spec.dtype == "uint8" else "floats"
        raise TypeError(f"{'images are' if spec.is_image else f'{spec.name} is'} {x.dtype}, expected {of}")
    scaled = x / 255 if x.dtype == torch.uint8 else x.to(torch.float32)
    if not spec.mean:
        return scaled
    if len(spec.mean) == 1:
        return (scaled - spec.mean[0]) / spec.std[0]
    shape = (-1, 1, 1) if spec.is_image else (-1,)
    mean, std = (scaled.new_tensor(numbers).view(shape) for numbers in (spec.mean, spec.std))
    return (scaled - mean) / std


class Parameters(NamedTuple):
    """A network's parameters by their place in a file: in the payload's vector, beside it, or not in the file."""

    layers: tuple[Layer, ...]
    tail: tuple[Layer, ...]
    fixed: tuple[Layer, ...]


def parameters_of(network: Network) -> Parameters:
    """Return the description of a network's parameters for the facts of its file."""
    parameters, modules = dict(network.module.named_parameters()), dict(network.module.named_modules())

    def layers(names: Iterable[str]) -> tuple[Layer, ...]:
        return tuple(
            Layer(name, type(modules[name.rpartition(".")[0]]).__name__, tuple(parameters[name].shape)) for name in names
        )

    sent = layers(each.name for each in network.tail.slices)
    return Parameters(layers(each.name for each in network.slices), sent, layers(network.fixed))
