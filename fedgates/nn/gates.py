"""Gates over a network: frozen random weights, one flat score vector, samples of it, and its gradient.

For a network of d parameters the frozen weights are ``w in {-c_l, +c_l}^d`` (``c_l`` one number a layer), made from a seed and
never sent. A score vector ``s`` gives keep-probabilities ``theta = sigmoid(s)``; a mask is ``m ~ Bernoulli(theta)``, and the
network runs with ``w * m`` (Zhou et al., NeurIPS 2019; Isik et al., ICLR 2023, arXiv 2209.15328).

All functions here work in place on flat vectors, a chunk at a time, so that a step costs little beside the dense step and
no temporary is as large as the network.
"""

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from fedgates import rng
from fedgates.errors import NetworkError
from fedgates.nn.network import Network

WeightScale = Literal["kaiming", "released", "density"]
StraightThrough = Literal["identity", "released"]
_CHUNK = 1 << 16
"""Elements worked on at a time; a chunk of each vector in use fits a core's cache."""


def weight_scale(name: str, fan_in: int) -> float:
    """The magnitude ``c_l`` of a layer's frozen weights.

    ``kaiming`` is sqrt(2/fan_in), as arXiv 2209.15328 writes; ``released`` is e/sqrt(fan_in), as its authors' code does;
    ``density`` is sqrt(2/(p*fan_in)) at p = .5, which keeps the variance of a layer's output when half its gates are shut.
    """
    factor = {"kaiming": math.sqrt(2), "released": math.e, "density": 2.0}[name]
    return factor / math.sqrt(fan_in)


class Gates:
    """Gates over every parameter of a network, biases included.

    Parameters
    ----------
    network : Network
        Made of linear and convolution layers (with groups, strides, without bias, shared) and layers without parameters.
    seed : int
        Frozen weights are a function of it.
    scale : str
        Which :func:`weight_scale`.

    Attributes
    ----------
    frozen : Tensor
        ``w``, shape ``[d]``, float32.
    scale : str
        As given.
    digest : bytes
        Eight bytes over layout, scale, fan-ins and the signs of ``w``: two ends with the same digest hold the same network.

    Raises
    ------
    NetworkError
        A layer with parameters that is neither linear nor a convolution; the message names it.
    """

    def __init__(self, network: Network, seed: int, scale: str = "kaiming") -> None:
        _check_layers(network.module)
        self.network, self.scale = network, scale
        signs = rng.bits(network.size, seed, "weights")
        fans = ",".join(str(slot.fan_in) for slot in network.slices)
        self.digest = network.digest(scale.encode(), fans.encode(), signs.tobytes())
        self.frozen = torch.from_numpy(signs).to(network.device, torch.float32).mul_(2).sub_(1)
        for slot in network.slices:
            self.frozen[slot.offset : slot.offset + slot.size] *= weight_scale(scale, slot.fan_in)

    def load_sample(self, scores: Tensor, generator: torch.Generator) -> None:
        """Set the network's weights to ``w * m`` with one fresh ``m ~ Bernoulli(sigmoid(s))``; scores are ``[d]``."""
        for chunk in _chunks(len(scores)):
            keep = _bernoulli(torch.sigmoid(scores[chunk]), generator)
            torch.mul(self.frozen[chunk], keep, out=self.network.weights[chunk])

    def load(self, gate: Tensor) -> None:
        """Set the network's weights to ``w * gate``: gate is ``[d]``, a mask (bool) or probabilities (float32)."""
        torch.mul(self.frozen, gate, out=self.network.weights)

    def straight_through(self, scores: Tensor, estimator: str = "identity", density_penalty: float = 0.0) -> None:
        """Turn the gradient of the weights, in place, into that of the scores.

        With ``g`` the loss's gradient at ``w * m``, identity passes the sampling as if ``m`` were ``theta``:
        ``ds = g * w * theta * (1 - theta)``; ``released`` multiplies by theta once more, as the authors' code does.
        The density penalty ``lambda * mean(theta)`` (arXiv 2309.10834) adds ``lambda / d * theta * (1 - theta)``.
        """
        rate = density_penalty / len(scores)
        for chunk in _chunks(len(scores)):
            theta = torch.sigmoid(scores[chunk])
            slope = theta * (1 - theta)
            gradient = self.network.gradient[chunk].mul_(self.frozen[chunk])
            if estimator == "released":
                gradient.mul_(theta)
            if rate:
                gradient.add_(rate)
            gradient.mul_(slope)


def sample(theta: Tensor, generator: torch.Generator) -> Tensor:
    """One mask ``m ~ Bernoulli(theta)``: shape ``[d]``, bool."""
    mask = torch.empty(len(theta), dtype=torch.bool, device=theta.device)
    for chunk in _chunks(len(theta)):
        mask[chunk] = _bernoulli(theta[chunk], generator)
    return mask


def sample_with(theta: Tensor, coins: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """The mask ``[coins[i] < theta[i] * 2^32]``: one sample of Bernoulli(theta), ``[d]``, from uniform numbers that are given.

    A client samples its upload with :func:`fedgates.rng.coins`, which the server can regenerate.
    """
    mask = np.empty(len(theta), dtype=np.bool_)
    for chunk in _chunks(len(theta)):
        mask[chunk] = coins[chunk] < theta[chunk].cpu().numpy().astype(np.float64) * 2.0**32
    return mask


def _bernoulli(theta: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(theta.shape, generator=generator, device=theta.device) < theta


def _chunks(size: int) -> Iterator[slice]:
    return (slice(start, min(start + _CHUNK, size)) for start in range(0, size, _CHUNK))


def _check_layers(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            raise NetworkError(f"parameter {name!r} does not require a gradient, so its gate would never learn")
    for name, layer in module.named_modules():
        own = {key for key, _ in layer.named_parameters(recurse=False)}
        if own and not (isinstance(layer, nn.Linear | _ConvNd) and own <= {"weight", "bias"}):
            raise NetworkError(
                f"layer {name or 'network'!r} ({type(layer).__name__}) has parameters that cannot be gated "
                f"({', '.join(sorted(own))}); expected linear and convolution layers, and layers without parameters"
            )
