"""Synthetic data for sparse linear and logistic regression with a known support, as in arXiv 2512.23071 and 2607.00275.

Features are independent standard normal numbers z, clipped at +-3 and stored as bytes ``b = round((z + 3) / 6 * 255)``. A
network sees ``x = (b / 255 - .5) / .5``, which is about z / 3. The signal of an example is ``x . w`` with exactly this x. All
but ``synthetic.support`` of the true weights w are zero; the others have random signs and magnitudes that differ by at most a
factor of two, scaled so that the signal has variance 1. With the noise s = ``synthetic.noise``,

- linear: ``y = x . w + s * N(0, 1)``; the best possible r2 is ``1 / (1 + s^2)``;
- logistic: ``P(y = 1) = sigmoid(x . w / s)``; with s = 0, the label is 1 if the signal is positive.

Everything is a function of the config's ``data_seed``. Features, support and signs are computed from integers, so they are the
same on every machine. Targets are rounded from float64, whose last bit may depend on the machine, to float32.
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
"""Number of test examples; the standard error of an accuracy near .9 is .007."""
_CLIP = 3.0
_MOST_BYTES = 1 << 29


def synthetic(config: "RunConfig") -> Dataset:
    """Draw the data set from the config's ``dataset``, table ``synthetic`` and seed.

    Returns
    -------
    Dataset
        Examples of shape (C, H, W) = (1, 1, features), with the ``support`` of the true weights. ``synthetic-linear`` is a
        regression, ``synthetic-logistic`` has two classes.

    Raises
    ------
    ConfigError
        The support is larger than the number of features, or the features take more than 512 MiB.
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
    """Return the true weights w of the signal ``x . w``, ``[features]``; ``synthetic.support`` of them are not zero."""
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
    for feature in np.flatnonzero(weights):  # not a matrix product, whose order of summation depends on the machine
        signal += weights[feature] * values[pixels[:, feature]]
    uniform = _uniform(count, config.data_seed, f"synthetic-{part}-noise")
    return Examples(pixels.reshape(count, 1, -1, 1), respond(signal, config.synthetic.noise, uniform))


def _targets(signal: NDArray[np.float64], noise: float, uniform: NDArray[np.float64]) -> NDArray[np.float32]:
    import torch  # noqa: PLC0415  # as below

    normal: NDArray[np.float64] = torch.special.ndtri(torch.from_numpy(uniform)).numpy()
    return (signal + noise * normal).astype(np.float32)


def _labels(signal: NDArray[np.float64], noise: float, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    # u < sigmoid(signal / noise), rearranged so that the noise may be 0
    return (signal > noise * (np.log(uniform) - np.log1p(-uniform))).astype(np.int64)


def _uniform(count: int, seed: int, purpose: str) -> NDArray[np.float64]:
    """Return uniform numbers in (0, 1), from 52 random bits each."""
    return ((rng.words(count, seed, purpose) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def _thresholds() -> NDArray[np.uint32]:
    """Return 255 thresholds; a uniform 32-bit number becomes the byte that counts the thresholds at or below it."""
    edges = [(byte + 0.5) / 255 * 2 * _CLIP - _CLIP for byte in range(255)]
    return np.array([round(NormalDist().cdf(edge) * 2**32) for edge in edges], np.uint32)


def _values() -> NDArray[np.float64]:
    """Return the normalised value of each byte, ``[256]``."""
    import torch  # noqa: PLC0415  # takes a second, and only these data sets need it

    values: NDArray[np.float64] = normalise(torch.arange(256, dtype=torch.uint8)).numpy().astype(np.float64)
    return values


def _variance() -> float:
    """Return the variance of a normalised feature."""
    shares = np.diff(_thresholds().astype(np.float64), prepend=0, append=2.0**32) / 2**32
    return float((shares * np.square(_values())).sum())
