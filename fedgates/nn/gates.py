"""Gates over a network: frozen weights, samples of masks from scores, and the gradient of the scores.

For d parameters, the frozen weights are ``w in {-c_l, +c_l}^d`` with one magnitude ``c_l`` per layer, generated from a seed and
never sent, or weights that server and clients already have, such as those of a pretrained network. A score vector ``s`` gives
keep-probabilities ``theta = sigmoid(s)``; a mask is ``m ~ Bernoulli(theta)``, and the network runs with ``w * m`` (Zhou et al.,
NeurIPS 2019; Isik et al., ICLR 2023, arXiv 2209.15328).

The functions work in place on flat vectors, one chunk at a time, so that they add little to the cost of a dense step and need
no temporary as large as the network.
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
"""Number of elements per chunk; one chunk of each vector in use fits into a core's cache."""


def weight_scale(name: str, fan_in: int) -> float:
    """Return the magnitude ``c_l`` of a layer's frozen weights.

    ``kaiming`` is sqrt(2/fan_in), as in arXiv 2209.15328; ``authors-code`` is e/sqrt(fan_in), as in the code of its authors;
    ``density`` is sqrt(2/(p*fan_in)) with p = .5, which keeps the variance of a layer's output when half its gates are closed.

    Examples
    --------
    >>> weight_scale("kaiming", fan_in=8)
    0.5
    """
    factor = {"kaiming": math.sqrt(2), "authors-code": math.e, "density": 2.0}[name]
    return factor / math.sqrt(fan_in)


class Gates:
    """Gates over the flat vector of a network, with frozen weights.

    Random weights have random signs and one magnitude per parameter: the :func:`weight_scale` of its fan-in or, if it has no
    fan-in, the root mean square of its initial values. Given weights are the initial values themselves.

    Parameters
    ----------
    network : Network
        The network; its ``weights`` get gates.
    seed : int
        Seed of the random weights.
    scale : str
        Name of the :func:`weight_scale`: "kaiming", "authors-code" or "density".
    given : collection of str
        Names of the parameters whose frozen weights are the network's initial values.

    Attributes
    ----------
    frozen : Tensor
        Frozen weights ``w``, shape ``[d]``, float32.
    given : Tensor
        Which weights are given, shape ``[d]``, bool.
    has_given : bool
        Whether any weights are given.
    scale : str
        The argument.
    digest : bytes
        Digest of eight bytes over layout, scale, magnitudes, signs of the random weights, and given weights. Server and client
        with the same digest have the same network.

    Raises
    ------
    NetworkError
        All frozen weights of a parameter would be zero: its initial values are zero, and it has no fan-in or is given.
    """

    def __init__(self, network: Network, seed: int, scale: str = "kaiming", given: Collection[str] = ()) -> None:
        self.network, self.scale, self.has_given = network, scale, bool(given)
        self._theta, self._scores, self._version = torch.empty(0, device=network.device), torch.empty(0), -1
        signs = rng.bits(network.size, seed, "weights")
        self.frozen = torch.from_numpy(signs).to(network.device, torch.float32).mul_(2).sub_(1)
        self.given = torch.zeros(network.size, dtype=torch.bool, device=network.device)
        magnitudes = []
        for each in network.slices:
            initial = network.initial[each.part]
            if each.name in given:
                if not bool(initial.any()):
                    raise NetworkError(_all_zeros(each.name, "gates.frozen = given"))
                self.frozen[each.part], self.given[each.part] = initial, True
                magnitudes.append("given")
                continue
            magnitude = weight_scale(scale, each.fan_in) if each.fan_in else _rounded_rms(initial)
            if not magnitude:
                raise NetworkError(_all_zeros(each.name, "a parameter without a fan-in"))
            self.frozen[each.part] *= magnitude
            magnitudes.append(str(each.fan_in or magnitude))
        facts = [WEIGHT_SCALE_IDS[scale].encode(), ",".join(magnitudes).encode(), signs.tobytes()]
        facts += [self.frozen[each.part].cpu().numpy().tobytes() for each in network.slices if each.name in given]
        self.digest = network.digest(*facts)

    def load_sample(self, scores: Tensor, *generators: torch.Generator) -> None:
        """Set the network's weights to ``w * m`` with a new sample ``m ~ Bernoulli(sigmoid(s))``.

        Scores are ``[d]`` with one generator, or ``[copies, d]`` with a generator for each copy of the network.
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

        Let ``g`` be the gradient of the loss at ``w * m``. The estimator ``identity`` differentiates as if ``m`` were
        ``theta``: ``ds = g * w * theta * (1 - theta)``. ``authors-code`` also multiplies by theta, as the paper's authors do.
        The density penalty ``lambda * mean(theta)`` (arXiv 2309.10834) adds ``lambda / d * theta * (1 - theta)``.
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
        """Yield the index of a copy with chunks of the frozen weights and of the copy's row in each vector.

        Vectors are ``[d]`` for a single copy, or ``[copies, d]``.
        """
        copies = 1 if vectors[0].dim() == 1 else len(vectors[0])
        for k in range(copies):
            rows = [self.frozen, *(vector if vector.dim() == 1 else vector[k] for vector in vectors)]
            for chunk in _chunks(len(self.frozen)):
                yield k, *[row[chunk] for row in rows]

    def _keep_theta(self, scores: Tensor) -> Tensor:
        """Return the buffer for the theta of these scores, and remember that it belongs to them."""
        if self._theta.shape != scores.shape:
            self._theta = torch.empty_like(scores)
        self._scores, self._version = scores, scores._version  # noqa: SLF001  # autograd's count of changes in place
        return self._theta

    def _kept_theta(self, scores: Tensor) -> Tensor | None:
        """Return the theta of these scores if they were loaded last and have not changed since; otherwise None."""
        return self._theta if scores is self._scores and scores._version == self._version else None  # noqa: SLF001


def sample(theta: Tensor, generator: torch.Generator) -> Tensor:
    """Sample a mask ``m ~ Bernoulli(theta)``: shape ``[d]``, bool."""
    mask = torch.empty(len(theta), dtype=torch.bool, device=theta.device)
    for chunk in _chunks(len(theta)):
        mask[chunk] = bernoulli(theta[chunk], generator)
    return mask


def sample_with(theta: Tensor, coins: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Sample a mask ``m ~ Bernoulli(theta)`` from given uniform numbers: ``m[i] = coins[i] < theta[i] * 2^32``, bool ``[d]``.

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
    """Return the root mean square rounded to eight bits, because sums on server and client may differ in the last bits."""
    rms = float(values.double().square().mean().sqrt())
    mantissa, exponent = math.frexp(rms)
    return math.ldexp(round(mantissa * 256) / 256, exponent)


def _all_zeros(name: str, why: str) -> str:
    return (
        f"parameter {name!r} has only zeros, so gates on it have no effect ({why}); add it to gates.sent, gates.fixed or, with"
        " given weights, to fresh"
    )
