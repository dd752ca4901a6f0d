"""Sparse linear and logistic regression with a known support, as in arXiv 2512.23071 and 2607.00275; nothing to download.

Features are independent standard normals z, clipped at 3 and kept as bytes, ``b = round((z + 3) / 6 * 255)``, of which a
network sees ``x = (b / 255 - .5) / .5``, about z / 3. The signal of an example is ``x . w`` of that x, so the true weights w
are exact. They are zero but for `synthetic.support` of them, which have random signs and magnitudes that differ by at most a
factor of two, scaled so that the signal has variance 1. With the noise s of `synthetic.noise`

- linear: ``y = x . w + s * N(0, 1)``; the best r2 to be had is ``1 / (1 + s^2)``;
- logistic: ``P(y = 1) = sigmoid(x . w / s)``; with s = 0 the label is whether the signal is positive.

Everything is a function of the config's ``data_seed``. Features, support and signs come from integers, so they are the same on
every machine; targets are rounded to float32 from float64, in which machines may differ in the last bit.
"""

from collections.abc import Callable
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedgates import rng
from fedgates.data.dataset import Dataset, Examples
from fedgates.data.tensors import normalise
from fedgates.errors import ConfigError

if TYPE_CHECKING:
    from fedgates.config import RunConfig

TEST = 2000
"""Test examples; the standard error of an accuracy near .9 is .007."""
_CLIP = 3.0
_MOST_BYTES = 1 << 29


def synthetic(config: "RunConfig") -> Dataset:
    """Draw the data set of the config's ``dataset``, ``synthetic-*`` keys and seed.

    Returns
    -------
    Dataset
        Examples are of shape (C, H, W) = (1, 1, features); ``support`` says where the true weights are not zero. There are no
        classes for ``synthetic-linear``, two for ``synthetic-logistic``.

    Raises
    ------
    ConfigError
        A support larger than the features, or more than 512 MiB of features.
    """
    features, linear = config.synthetic.features, config.dataset == "synthetic-linear"
    if config.synthetic.support > features:
        raise ConfigError("synthetic.support", config.synthetic.support, f"at most synthetic.features, which is {features}")
    if features * (config.synthetic.examples + TEST) > _MOST_BYTES:
        most = _MOST_BYTES // features - TEST
        expected = f"at most {most} examples of {features} features" if most > 0 else "fewer synthetic.features"
        raise ConfigError("synthetic.examples", config.synthetic.examples, expected)
    weights = true_weights(config)
    parts = [
        _examples(count, weights, config, part, _targets if linear else _labels)
        for part, count in (("train", config.synthetic.examples), ("test", TEST))
    ]
    return Dataset(config.dataset, parts[0], parts[1], 0 if linear else 2, () if linear else ("0", "1"), weights != 0)


def true_weights(config: "RunConfig") -> NDArray[np.float64]:
    """The weights w that the signal ``x . w`` is made with: ``[features]``, `synthetic.support` of them not zero."""
    seed, size = config.data_seed, config.synthetic.support
    weights = np.zeros(config.synthetic.features)
    support = np.argsort(rng.words(len(weights), seed, "synthetic-support"), kind="stable")[:size]
    signs = 2.0 * rng.bits(size, seed, "synthetic-signs") - 1
    weights[support] = signs * (1 + _uniform(size, seed, "synthetic-magnitudes"))
    weights /= np.sqrt(np.square(weights).sum() * _variance())
    return weights


def _examples(
    count: int,
    weights: NDArray[np.float64],
    config: "RunConfig",
    part: str,
    respond: Callable[[NDArray[np.float64], float, NDArray[np.float64]], NDArray[np.int64] | NDArray[np.float32]],
) -> Examples:
    words = rng.words(-(-count * len(weights) // 2), config.data_seed, f"synthetic-{part}").astype("<u8").view("<u4")
    pixels, thresholds, values = np.empty((count, len(weights)), np.uint8), _thresholds(), _values()
    for row, drawn in zip(pixels, words[: pixels.size].reshape(pixels.shape), strict=True):
        row[:] = np.searchsorted(thresholds, drawn, side="right")
    signal = np.zeros(count)
    for feature in np.flatnonzero(weights):  # one after another: the sum of a matrix product depends on the machine
        signal += weights[feature] * values[pixels[:, feature]]
    uniform = _uniform(count, config.data_seed, f"synthetic-{part}-noise")
    return Examples(pixels.reshape(count, 1, -1, 1), respond(signal, config.synthetic.noise, uniform))


def _targets(signal: NDArray[np.float64], noise: float, uniform: NDArray[np.float64]) -> NDArray[np.float32]:
    import torch  # noqa: PLC0415  # as below

    normal: NDArray[np.float64] = torch.special.ndtri(torch.from_numpy(uniform)).numpy()
    return (signal + noise * normal).astype(np.float32)


def _labels(signal: NDArray[np.float64], noise: float, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    # P(u < sigmoid(signal / noise)), in a form that allows no noise
    return (signal > noise * (np.log(uniform) - np.log1p(-uniform))).astype(np.int64)


def _uniform(count: int, seed: int, purpose: str) -> NDArray[np.float64]:
    """Uniform numbers above 0 and below 1, of 52 random bits."""
    return ((rng.words(count, seed, purpose) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def _thresholds() -> NDArray[np.uint32]:
    """A uniform 32-bit number becomes the byte that says how many of these it reaches, ``[255]``."""
    edges = [(byte + 0.5) / 255 * 2 * _CLIP - _CLIP for byte in range(255)]
    return np.array([round(NormalDist().cdf(edge) * 2**32) for edge in edges], np.uint32)


def _values() -> NDArray[np.float64]:
    """What a network sees of each byte, ``[256]``."""
    import torch  # noqa: PLC0415  # a second, and only these data sets need it

    values: NDArray[np.float64] = normalise(torch.arange(256, dtype=torch.uint8)).numpy().astype(np.float64)
    return values


def _variance() -> float:
    """The variance of a feature as a network sees it."""
    shares = np.diff(_thresholds().astype(np.float64), prepend=0, append=2.0**32) / 2**32
    return float((shares * np.square(_values())).sum())
