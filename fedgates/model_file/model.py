"""A finished model, as programs use it."""

import torch
from torch import Tensor, nn

from fedgates.model_file.facts import Facts, Layer
from fedgates.nn.network import Network


class Model(nn.Module):
    """A finished model, ready to predict.

    Attributes
    ----------
    network : torch.nn.Module
        The bare network, which takes images normalised as the facts say.
    facts : Facts
        What the file says of it.
    """

    def __init__(self, network: nn.Module, facts: Facts) -> None:
        super().__init__()
        self.network, self.facts = network, facts

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[n, classes]`` (of a regression predictions ``[n, 1]``) of images ``[n, C, H, W]``.

        Bytes from 0 to 255, or floats from 0 to 1, as ``torchvision.transforms.ToTensor`` gives.
        """
        if not images.is_floating_point() and images.dtype != torch.uint8:
            raise TypeError(f"images are {images.dtype}, expected torch.uint8 from 0 to 255, or floats from 0 to 1")
        scaled = images / 255 if images.dtype == torch.uint8 else images.to(torch.float32)
        mean, std = self.facts.normalisation
        logits: Tensor = self.network((scaled - mean) / std)
        return logits


def layers_of(network: Network) -> tuple[Layer, ...]:
    """A network's layers as its file has them."""
    modules = dict(network.module.named_modules())
    return tuple(Layer(slot.name, type(modules[slot.name.rpartition(".")[0]]).__name__, slot.shape) for slot in network.slices)
