"""Gates over a network: frozen random weights, one flat score vector, its samples and its gradient.

For d parameters the frozen weights are ``w in {-c_l, +c_l}^d`` with one magnitude ``c_l`` per layer, generated from a seed and
never sent; or weights that both ends have, such as those of a pretrained network. A score vector ``s`` gives keep-probabilities
``theta = sigmoid(s)``; a mask is ``m ~ Bernoulli(theta)``, and the network runs with ``w * m`` (Zhou et al., NeurIPS 2019; Isik
et al., ICLR 2023, arXiv 2209.15328).

The functions work in place on flat vectors, one chunk at a time, so that they add little to the cost of a dense step and no
temporary is as large as the network.
"""

import math
from collections.abc import Collection, Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedgates import rng
from fedgates.config.names import WEIGHT_SCALE_IDS
from fedgates.errors import NetworkError
from fedgates.nn.bernoulli import bernoulli, multiply
from fedgates.nn.network import Network

WeightScale = Literal["kaiming", "authors-code", "density"]
StraightThrough = Literal["identity", "authors-code"]
_CHUNK = 1 << 16
"""Elements per chunk: a chunk of each vector in use fits a core's cache."""


def weight_scale(name: str, fan_in: int) -> float:
    """Return the magnitude ``c_l`` of a layer's frozen weights.

    ``kaiming`` is sqrt(2/fan_in), as in arXiv 2209.15328; ``authors-code`` is e/sqrt(fan_in), as in the code of its authors;
    ``density`` is sqrt(2/(p*fan_in)) at p = .5, which keeps the variance of a layer's output when half its gates are closed.

    Examples
    --------
    >>> weight_scale("kaiming", fan_in=8)
    0.5
    """
    factor = {"kaiming": math.sqrt(2), "authors-code": math.e, "density": 2.0}[name]
    return factor / math.sqrt(fan_in)


class Gates:
    """Gates over the flat vector of a network, with frozen weights.

    Random weights have a random sign, and one magnitude in each parameter: the :func:`weight_scale` of its fan-in or, where it
    has none, the root mean square of the values that the network came with. Given weights are those values themselves.

    Parameters
    ----------
    network : Network
        Its ``weights`` are those with gates.
    seed : int
        Seed of the random weights.
    scale : str
        Name of the :func:`weight_scale`: "kaiming", "authors-code" or "density".
    given : collection of str
        Names of the parameters whose frozen weights are those that the network came with.

    Attributes
    ----------
    frozen : Tensor
        ``w``, shape ``[d]``, float32.
    given : Tensor
        Which weights are given, bool ``[d]``.
    has_given : bool
        Whether any are.
    scale : str
        The argument.
    digest : bytes
        Eight bytes over layout, scale, magnitudes, the signs of the random weights and the given weights: two ends with the
        same digest have the same network.

    Raises
    ------
    NetworkError
        A parameter's weights would all be zero: it has no fan-in and came as zeros, or its given weights are zeros.
    """

    def __init__(self, network: Network, seed: int, scale: str = "kaiming", given: Collection[str] = ()) -> None:
        self.network, self.scale, self.has_given = network, scale, bool(given)
        self._theta, self._scores, self._version = torch.empty(0, device=network.device), torch.empty(0), -1
        signs = rng.bits(network.size, seed, "weights")
        self.frozen = torch.from_numpy(signs).to(network.device, torch.float32).mul_(2).sub_(1)
        self.given = torch.zeros(network.size, dtype=torch.bool, device=network.device)
        magnitudes = []
        for each in network.slices:
            came_with = network.initial[each.part]
            if each.name in given:
                if not bool(came_with.any()):
                    raise NetworkError(_all_zeros(each.name, "gates.frozen = given"))
                self.frozen[each.part], self.given[each.part] = came_with, True
                magnitudes.append("given")
                continue
            magnitude = weight_scale(scale, each.fan_in) if each.fan_in else _rounded_rms(came_with)
            if not magnitude:
                raise NetworkError(_all_zeros(each.name, "a parameter without a fan-in"))
            self.frozen[each.part] *= magnitude
            magnitudes.append(str(each.fan_in or magnitude))
        facts = [WEIGHT_SCALE_IDS[scale].encode(), ",".join(magnitudes).encode(), signs.tobytes()]
        facts += [self.frozen[each.part].cpu().numpy().tobytes() for each in network.slices if each.name in given]
        self.digest = network.digest(*facts)

    def load_sample(self, scores: Tensor, *generators: torch.Generator) -> None:
        """Set the network's weights to ``w * m`` with a new sample ``m ~ Bernoulli(sigmoid(s))``.

        Scores are ``[d]`` with one generator, or ``[copies, d]`` with one for each copy of the network.
        """
        theta = self._keep_theta(scores)
        for k, frozen, own, kept, weights in self._pieces(scores, theta, self.network.weights):
            multiply(frozen, bernoulli(torch.sigmoid(own, out=kept), generators[k]), weights)

    def load_mean(self, scores: Tensor) -> None:
        """Set the network's weights to their mean over samples, ``w * sigmoid(s)``; scores are ``[d]`` or ``[copies, d]``."""
        theta = self._keep_theta(scores)
        for _, frozen, own, kept, weights in self._pieces(scores, theta, self.network.weights):
            torch.mul(frozen, torch.sigmoid(own, out=kept), out=weights)

    def load(self, gate: Tensor) -> None:
        """Set the network's weights to ``w * gate``: a mask (bool) or probabilities (float32), ``[d]`` or ``[copies, d]``."""
        multiply(self.frozen, gate, self.network.weights)

    def straight_through(self, scores: Tensor, estimator: str = "identity", density_penalty: float = 0.0) -> None:
        """Convert the gradient of the weights, in place, to that of the scores, ``[d]`` or ``[copies, d]``.

        With ``g`` the gradient of the loss at ``w * m``, the estimator ``identity`` differentiates as if ``m`` were ``theta``:
        ``ds = g * w * theta * (1 - theta)``; ``authors-code`` multiplies by theta once more, as the code of the paper's
        authors. The density penalty ``lambda * mean(theta)`` (arXiv 2309.10834) adds ``lambda / d * theta * (1 - theta)``.
        """
        rate, kept = density_penalty / len(self.frozen), self._kept_theta(scores)
        for _, frozen, own, gradient in self._pieces(scores if kept is None else kept, self.network.gradient):
            theta = torch.sigmoid(own) if kept is None else own
            gradient.mul_(frozen)
            if estimator == "authors-code":
                gradient.mul_(theta)
            if rate:
                gradient.add_(rate)
            torch.ops.aten.sigmoid_backward.grad_input(gradient, theta, grad_input=gradient)

    def _pieces(self, *vectors: Tensor) -> Iterator[tuple[Any, ...]]:
        """Yield a copy's number, with a chunk of the frozen weights and of its rows of vectors ``[copies, d]`` or ``[d]``."""
        copies = 1 if vectors[0].dim() == 1 else len(vectors[0])
        for k in range(copies):
            rows = [self.frozen, *(vector if vector.dim() == 1 else vector[k] for vector in vectors)]
            for chunk in _chunks(len(self.frozen)):
                yield k, *[row[chunk] for row in rows]

    def _keep_theta(self, scores: Tensor) -> Tensor:
        """Return the buffer for the theta of scores that are loaded, and remember whose it is."""
        if self._theta.shape != scores.shape:
            self._theta = torch.empty_like(scores)
        self._scores, self._version = scores, scores._version  # noqa: SLF001  # autograd's count of changes in place
        return self._theta

    def _kept_theta(self, scores: Tensor) -> Tensor | None:
        """Return the theta of scores that were loaded last and have not changed since; None of others."""
        return self._theta if scores is self._scores and scores._version == self._version else None  # noqa: SLF001


def sample(theta: Tensor, generator: torch.Generator) -> Tensor:
    """Return one mask ``m ~ Bernoulli(theta)``: shape ``[d]``, bool."""
    mask = torch.empty(len(theta), dtype=torch.bool, device=theta.device)
    for chunk in _chunks(len(theta)):
        mask[chunk] = bernoulli(theta[chunk], generator)
    return mask


def sample_with(theta: Tensor, coins: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Return the mask ``[coins[i] < theta[i] * 2^32]``: one sample of Bernoulli(theta), ``[d]``, from given uniform numbers.

    A client samples its upload with :func:`fedgates.rng.coins`, which the server can regenerate.

    Examples
    --------
    >>> sample_with(torch.tensor([0.25, 0.75]), np.array([2**31, 2**31], np.uint32)).tolist()
    [False, True]
    """
    mask = np.empty(len(theta), dtype=np.bool_)
    for chunk in _chunks(len(theta)):
        mask[chunk] = coins[chunk] < theta[chunk].cpu().numpy().astype(np.float64) * 2.0**32
    return mask


def _chunks(size: int) -> Iterator[slice]:
    return (slice(start, min(start + _CHUNK, size)) for start in range(0, size, _CHUNK))


def _rounded_rms(values: Tensor) -> float:
    """Return the root mean square, rounded to eight bits: both ends compute it, and their sums may differ in the last ones."""
    rms = float(values.double().square().mean().sqrt())
    mantissa, exponent = math.frexp(rms)
    return math.ldexp(round(mantissa * 256) / 256, exponent)


def _all_zeros(name: str, why: str) -> str:
    return (
        f"parameter {name!r} came as zeros, so gates on it change nothing ({why}); name it in gates.sent, gates.fixed or, with"
        " given weights, in fresh"
    )
