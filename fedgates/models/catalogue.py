"""Build a network by its name in the configuration."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from fedgates import rng
from fedgates.config.names import MODELS
from fedgates.errors import ConfigError
from fedgates.models.convolutional import PLANS, convolutional, mlp
from fedgates.models.own import own
from fedgates.models.probe import probe
from fedgates.models.regression import linear, logistic
from fedgates.models.residual import BLOCKS, residual
from fedgates.models.shapes import Shape

_NAMED: dict[str, Callable[[Shape, int], nn.Module]] = {
    "mlp": mlp,
    "logistic": logistic,
    **{name: partial(convolutional, name) for name in PLANS},
    **{name: partial(residual, name) for name in BLOCKS},
}


def count(name: str, input_shape: Shape, num_classes: int) -> int | None:
    """Return the number of parameters of :func:`build`'s network without allocating them; None for a user's own network."""
    if name not in MODELS:
        return None
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(name, input_shape, num_classes).parameters())


@contextmanager
def initial_rng(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator, which initialisers draw from, for a run's seed; restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed: that seeds every GPU's generator too, which fork_rng would then have to restore
        torch.set_rng_state(rng.generator(seed, "init").get_state())
        yield


def check(name: str, input_shape: Shape, num_classes: int, *, seed: int = 0) -> None:
    """Try the network of this name as training does (:func:`fedgates.models.probe.probe`); a built-in one is known to work.

    Raises
    ------
    ConfigError
        A user's own network cannot be trained, or not in the same way in every process.
    """
    if name not in MODELS:
        probe(name, lambda: build(name, input_shape, num_classes, seed=seed), input_shape, num_classes)


def build(name: str, input_shape: Shape, num_classes: int, *, seed: int = 0) -> nn.Module:
    """Build the network of this name.

    The initial weights are a function of the seed: torch's global CPU generator, which initialisers draw from, is
    seeded for the call and left as it was.

    Parameters
    ----------
    name : str
        One of ``fedgates.config.names.MODELS``, or ``"module:function"`` of the user's own, which is called as
        ``function(input_shape, num_outputs)``.
    input_shape : tuple of int
        Shape (C, H, W) of one image.
    num_classes : int
        Number of classes; 0 for a regression, whose network has one output.
    seed : int
        The run's seed.

    Returns
    -------
    torch.nn.Module
        In training mode, float32, on the CPU; maps ``[n, C, H, W]`` to logits ``[n, num_classes]``, or ``[n, 1]``.

    Raises
    ------
    ConfigError
        The name is unknown, the network is for another task, images are too small for its pooling, or a user's function is
        missing, raises, or does not return a network with these inputs and outputs.
    """
    with initial_rng(seed):
        if name not in MODELS:
            return own(name, input_shape, num_classes or 1)
        if num_classes and name == "linear":
            raise ConfigError(
                "model", name, "another, such as logistic: the data set has classes, and linear is for regression"
            )
        if num_classes:
            return _NAMED[name](input_shape, num_classes)
        if name != "linear":
            raise ConfigError("model", name, 'linear or "module:function": the data set is a regression')
        return linear(input_shape)
