"""Construction of networks by their names in the configuration."""

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
"""Networks for inputs of any shape."""
_FOR_IMAGES: dict[str, Callable[[Any, int], nn.Module]] = {
    **{name: partial(convolutional, name) for name in PLANS},
    **{name: partial(residual, name) for name in BLOCKS},
}
_OWN = '"module:function" of your own'


def count(name: str, problem: Problem) -> int | None:
    """Count the parameters of a network without allocating them; return None for a user's own network."""
    if name not in MODELS:
        return None
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(name, problem).parameters())


@contextmanager
def initial_rng(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator, which initialisers use, from a run's seed within the context; then restore it."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed the generator of every GPU, and fork_rng would have to restore those
        torch.set_rng_state(rng.generator(seed, "init").get_state())
        yield


def check(name: str, problem: Problem, *, seed: int = 0, examples: Tensor | Mapping[str, Tensor] | None = None) -> None:
    """Check that a user's own network can be trained (:func:`fedgates.models.probe.probe`); built-in ones are not checked.

    Parameters
    ----------
    name, problem, seed
        As for :func:`build`.
    examples : Tensor or mapping, optional
        At least two normalised inputs ``[n, ...]`` to run the network on; by default random ones.

    Raises
    ------
    ConfigError
        The network cannot be trained, or differs between processes.
    """
    if name not in MODELS:
        probe(name, lambda: build(name, problem, seed=seed), problem, examples)


def build(name: str, problem: Problem, *, seed: int = 0) -> nn.Module:
    """Build a network by name.

    The initial weights are a function of the seed: torch's global CPU generator, which initialisers use, is seeded for the
    call and then restored.

    Parameters
    ----------
    name : str
        One of ``fedgates.config.names.MODELS``, or ``"module:function"`` of a user's own function, which is called as
        ``function(input_shape, num_outputs)``. The shape is (C, H, W) for an image, otherwise that of an example, or a
        dictionary of shapes if there are several inputs.
    problem : Problem
        Inputs, task and outputs.
    seed : int
        The run's seed.

    Returns
    -------
    torch.nn.Module
        In training mode, float32, on the CPU; maps ``[n, *input_shape]`` to ``[n, *problem.output_shape]``.

    Raises
    ------
    ConfigError
        The name is unknown, the network does not support the task or the inputs, images are too small for its pooling, or a
        user's function is missing, raises, or does not return a network with these inputs and outputs.
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
            raise ConfigError("model", name, f"{flat} or {_OWN}: this network is for images, but the inputs are {spec.kind}")
        return _FOR_IMAGES[name](spec.shape, problem.outputs)
