"""Gates over a network: frozen random weights, one flat score vector, its samples and its gradient.

For a network of d parameters the frozen weights are ``w in {-c_l, +c_l}^d`` with one magnitude ``c_l`` per layer, generated
from a seed and never sent. A score vector ``s`` gives keep-probabilities ``theta = sigmoid(s)``; a mask is ``m ~
Bernoulli(theta)``, and the network runs with ``w * m`` (Zhou et al., NeurIPS 2019; Isik et al., ICLR 2023, arXiv 2209.15328).

The functions work in place on flat vectors, one chunk at a time, so that they add little to the cost of a dense step and no
temporary is as large as the network.
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
from fedgates.config.names import WEIGHT_SCALE_IDS
from fedgates.errors import NetworkError
from fedgates.nn.network import Network

WeightScale = Literal["kaiming", "authors-code", "density"]
StraightThrough = Literal["identity", "authors-code"]
_CHUNK = 1 << 16
"""Elements per chunk: a chunk of each vector in use fits a core's cache."""


def weight_scale(name: str, fan_in: int) -> float:
    """Return the magnitude ``c_l`` of a layer's frozen weights.

    ``kaiming`` is sqrt(2/fan_in), as in arXiv 2209.15328; ``authors-code`` is e/sqrt(fan_in), as in the code of its authors;
    ``density`` is sqrt(2/(p*fan_in)) at p = .5, which keeps the variance of a layer's output when half its gates are closed.
    """
    factor = {"kaiming": math.sqrt(2), "authors-code": math.e, "density": 2.0}[name]
    return factor / math.sqrt(fan_in)


class Gates:
    """Gates over every parameter of a network, biases included.

    Parameters
    ----------
    network : Network
        Its layers are linear, convolutions (with groups, strides, without bias, shared), or have no parameters.
    seed : int
        Seed of the frozen weights.
    scale : str
        Name of the :func:`weight_scale`: "kaiming", "authors-code" or "density".

    Attributes
    ----------
    frozen : Tensor
        ``w``, shape ``[d]``, float32.
    scale : str
        The argument.
    digest : bytes
        Eight bytes over layout, scale, fan-ins and the signs of ``w``: two ends with the same digest have the same network.

    Raises
    ------
    NetworkError
        A layer with parameters is neither linear nor a convolution, or a parameter requires no gradient; the message names it.
    """

    def __init__(self, network: Network, seed: int, scale: str = "kaiming") -> None:
        _check_layers(network.module)
        self.network, self.scale = network, scale
        signs = rng.bits(network.size, seed, "weights")
        fans = ",".join(str(part.fan_in) for part in network.slices)
        self.digest = network.digest(WEIGHT_SCALE_IDS[scale].encode(), fans.encode(), signs.tobytes())
        self.frozen = torch.from_numpy(signs).to(network.device, torch.float32).mul_(2).sub_(1)
        for part in network.slices:
            self.frozen[part.offset : part.offset + part.size] *= weight_scale(scale, part.fan_in)

    def load_sample(self, scores: Tensor, generator: torch.Generator) -> None:
        """Set the network's weights to ``w * m`` with a new sample ``m ~ Bernoulli(sigmoid(s))``; scores are ``[d]``."""
        for chunk in _chunks(len(scores)):
            keep = _bernoulli(torch.sigmoid(scores[chunk]), generator)
            torch.mul(self.frozen[chunk], keep, out=self.network.weights[chunk])

    def load_mean(self, scores: Tensor) -> None:
        """Set the network's weights to their mean over samples, ``w * sigmoid(s)``; scores are ``[d]``."""
        for chunk in _chunks(len(scores)):
            torch.sigmoid(scores[chunk], out=self.network.weights[chunk]).mul_(self.frozen[chunk])

    def load(self, gate: Tensor) -> None:
        """Set the network's weights to ``w * gate``: gate is ``[d]``, a mask (bool) or probabilities (float32)."""
        torch.mul(self.frozen, gate, out=self.network.weights)

    def straight_through(self, scores: Tensor, estimator: str = "identity", density_penalty: float = 0.0) -> None:
        """Convert the gradient of the weights, in place, to that of the scores.

        With ``g`` the gradient of the loss at ``w * m``, the estimator ``identity`` differentiates as if ``m`` were ``theta``:
        ``ds = g * w * theta * (1 - theta)``; ``authors-code`` multiplies by theta once more, as the code of the paper's
        authors. The density penalty ``lambda * mean(theta)`` (arXiv 2309.10834) adds ``lambda / d * theta * (1 - theta)``.
        """
        rate = density_penalty / len(scores)
        for chunk in _chunks(len(scores)):
            theta = torch.sigmoid(scores[chunk])
            slope = theta * (1 - theta)
            gradient = self.network.gradient[chunk].mul_(self.frozen[chunk])
            if estimator == "authors-code":
                gradient.mul_(theta)
            if rate:
                gradient.add_(rate)
            gradient.mul_(slope)


def sample(theta: Tensor, generator: torch.Generator) -> Tensor:
    """Return one mask ``m ~ Bernoulli(theta)``: shape ``[d]``, bool."""
    mask = torch.empty(len(theta), dtype=torch.bool, device=theta.device)
    for chunk in _chunks(len(theta)):
        mask[chunk] = _bernoulli(theta[chunk], generator)
    return mask


def sample_with(theta: Tensor, coins: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Return the mask ``[coins[i] < theta[i] * 2^32]``: one sample of Bernoulli(theta), ``[d]``, from given uniform numbers.

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
            raise NetworkError(f"parameter {name!r} does not require a gradient, so its gate cannot be trained")
    for name, layer in module.named_modules():
        own = {key for key, _ in layer.named_parameters(recurse=False)}
        if own and not (isinstance(layer, nn.Linear | _ConvNd) and own <= {"weight", "bias"}):
            raise NetworkError(
                f"layer {name or 'network'!r} ({type(layer).__name__}) has parameters that cannot be gated "
                f"({', '.join(sorted(own))}); expected linear and convolution layers, and layers without parameters"
            )
