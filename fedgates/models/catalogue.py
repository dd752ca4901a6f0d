"""Build a network by its name in the configuration."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fedgates import rng
from fedgates.config.names import MODELS
from fedgates.errors import ConfigError
from fedgates.models.convolutional import PLANS, convolutional, mlp
from fedgates.models.own import own
from fedgates.models.probe import probe
from fedgates.models.regression import linear, logistic
from fedgates.models.residual import BLOCKS, residual
from fedgates.types import Problem

_FLAT: dict[str, Callable[[tuple[int, ...], int], nn.Module]] = {"mlp": mlp, "linear": linear}
"""Networks for an input of any shape."""
_FOR_IMAGES: dict[str, Callable[[Any, int], nn.Module]] = {
    **{name: partial(convolutional, name) for name in PLANS},
    **{name: partial(residual, name) for name in BLOCKS},
}
_OWN = '"module:function" of your own'


def count(name: str, problem: Problem) -> int | None:
    """Return the number of parameters of :func:`build`'s network without allocating them; None for a user's own network."""
    if name not in MODELS:
        return None
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(name, problem).parameters())


@contextmanager
def initial_rng(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator, which initialisers draw from, for a run's seed; restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed: that seeds every GPU's generator too, which fork_rng would then have to restore
        torch.set_rng_state(rng.generator(seed, "init").get_state())
        yield


def check(name: str, problem: Problem, *, seed: int = 0, examples: Tensor | Mapping[str, Tensor] | None = None) -> None:
    """Try the network of this name as training does (:func:`fedgates.models.probe.probe`); a built-in one is known to work.

    Parameters
    ----------
    name, problem, seed
        As of :func:`build`.
    examples : Tensor or mapping, optional
        At least two normalised inputs ``[n, ...]`` to try the network on; random ones without.

    Raises
    ------
    ConfigError
        A user's own network cannot be trained, or not in the same way in every process.
    """
    if name not in MODELS:
        probe(name, lambda: build(name, problem, seed=seed), problem, examples)


def build(name: str, problem: Problem, *, seed: int = 0) -> nn.Module:
    """Build the network of this name.

    The initial weights are a function of the seed: torch's global CPU generator, which initialisers draw from, is
    seeded for the call and left as it was.

    Parameters
    ----------
    name : str
        One of ``fedgates.config.names.MODELS``, or ``"module:function"`` of the user's own, which is called as
        ``function(input_shape, num_outputs)``: (C, H, W) of an image, else the shape of an example, or a dictionary of shapes
        where there are several inputs.
    problem : Problem
        Inputs and outputs.
    seed : int
        The run's seed.

    Returns
    -------
    torch.nn.Module
        In training mode, float32, on the CPU; maps ``[n, *input_shape]`` to ``[n, *problem.output_shape]``.

    Raises
    ------
    ConfigError
        The name is unknown, the network is for another task or another kind of input, images are too small for its pooling, or
        a user's function is missing, raises, or does not return a network with these inputs and outputs.
    """
    with initial_rng(seed):
        if name not in MODELS:
            return own(name, problem)
        if len(problem.inputs) > 1:
            names = ", ".join(spec.name for spec in problem.inputs)
            raise ConfigError("model", name, f"{_OWN}: the data have several inputs ({names})")
        (spec,) = problem.inputs
        if spec.dtype == "int64":
            raise ConfigError("model", name, f"{_OWN}: the inputs are int64 {list(spec.shape)}, such as tokens")
        if problem.task == "positions":
            hint = (
                ' (labels 0 and 1: data.task = "multi-label")' if problem.outputs == 2 and len(problem.positions) == 1 else ""
            )
            raise ConfigError("model", name, f"{_OWN}: the data set has a class for each position{hint}")
        if name == "linear" and problem.task == "classes":
            raise ConfigError(
                "model", name, "another, such as logistic: the data set has classes, and linear is for regression"
            )
        if name == "logistic":
            if problem.task == "regression":
                raise ConfigError("model", name, "another, such as linear: the data set is a regression")
            return (logistic if problem.task == "classes" else linear)(spec.shape, problem.outputs)
        if name in _FLAT:
            return _FLAT[name](spec.shape, problem.outputs)
        if not spec.is_image:
            flat = ", ".join(["mlp", "linear" if problem.task == "regression" else "logistic"])
            raise ConfigError("model", name, f"{flat} or {_OWN}: it is for images, and the inputs are {spec.kind}")
        return _FOR_IMAGES[name](spec.shape, problem.outputs)
