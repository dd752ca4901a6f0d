"""A finished model as a torch module."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fedgates.model_file.facts import Facts, Layer
from fedgates.nn.network import Network


class Model(nn.Module):
    """A finished model for prediction.

    Attributes
    ----------
    network : torch.nn.Module
        The network itself; its input is normalised images (``facts.normalisation``).
    facts : Facts
        Description of the model in its file.
    """

    def __init__(self, network: nn.Module, facts: Facts) -> None:
        super().__init__()
        self.network, self.facts = network, facts

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``[n, classes]``, or predictions ``[n, 1]`` of a regression.

        Parameters
        ----------
        images : Tensor
            Shape ``[n, C, H, W]``: uint8 from 0 to 255, or floats from 0 to 1 as from ``torchvision.transforms.ToTensor``.

        Raises
        ------
        TypeError
            The images have another dtype.
        """
        if not images.is_floating_point() and images.dtype != torch.uint8:
            raise TypeError(f"images are {images.dtype}, expected torch.uint8 from 0 to 255, or floats from 0 to 1")
        scaled = images / 255 if images.dtype == torch.uint8 else images.to(torch.float32)
        mean, std = self.facts.normalisation
        logits: Tensor = self.network((scaled - mean) / std)
        return logits


class Parameters(NamedTuple):
    """A network's parameters by their place in a file: coded as the payload's vector, beside it, or not in the file."""

    layers: tuple[Layer, ...]
    tail: tuple[Layer, ...]
    fixed: tuple[Layer, ...]


def parameters_of(network: Network) -> Parameters:
    """Return a network's parameters as in the facts of its file."""
    parameters, modules = dict(network.module.named_parameters()), dict(network.module.named_modules())

    def layers(names: Iterable[str]) -> tuple[Layer, ...]:
        return tuple(
            Layer(name, type(modules[name.rpartition(".")[0]]).__name__, tuple(parameters[name].shape)) for name in names
        )

    sent = layers(each.name for each in network.tail.slices)
    return Parameters(layers(each.name for each in network.slices), sent, layers(network.fixed))
