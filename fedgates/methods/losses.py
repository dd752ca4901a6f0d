"""The training loss: the task's standard loss, or a user-defined function (key `loss`)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from fedgates.config import RunConfig
from fedgates.config.references import find
from fedgates.data.dataset import IGNORED
from fedgates.errors import ConfigError
from fedgates.methods.trial import TRIED, random_labels, random_outputs
from fedgates.types import MAX_METRIC, Problem
from fedgates.util.text import error_line

Loss = Callable[[Tensor, Tensor], Tensor]
"""Function of outputs ``[n, ...]`` and labels or targets ``[n, ...]`` that returns the mean loss, a scalar."""


def loss_of(output: Tensor, y: Tensor) -> Tensor:
    """Return the mean of the standard loss for the kind of labels.

    Parameters
    ----------
    output : Tensor
        ``[n, outputs]``, or ``[n, classes, *positions]``.
    y : Tensor
        Labels or targets, as in :class:`fedgates.data.Examples`. Float32: mean squared error. Uint8: binary cross-entropy of
        logits. Int64: cross-entropy of logits; positions labelled -100 are ignored, and the loss is 0 if there are no others.
    """
    if y.is_floating_point():
        return F.mse_loss(output.reshape(y.shape), y)
    if y.dtype == torch.uint8:
        return F.binary_cross_entropy_with_logits(output, y.float())
    if y.ndim > 1 and bool((y == IGNORED).all()):
        return output.sum() * 0
    return F.cross_entropy(output, y, ignore_index=IGNORED)


def loss_function(config: RunConfig) -> Loss:
    """Return the function that computes the loss: the user's, or :func:`loss_of`.

    A user-defined function is called with the network's outputs, float32, and the labels; float32 targets are reshaped to the
    shape of the outputs, ``[n, k]``.

    Raises
    ------
    ConfigError
        The key `loss` names no function.
    """
    if not config.loss:
        return loss_of
    function = _find(config.loss)
    return lambda output, y: function(output, like_outputs(y, output))


def like_outputs(y: Tensor, output: Tensor) -> Tensor:
    """Reshape targets to the shape of the outputs, ``[n, k]``, so that differences do not broadcast; keep labels unchanged."""
    return y.reshape(output.shape) if y.is_floating_point() else y


def evaluated_loss(config: RunConfig, output: Tensor, y: Tensor) -> float:
    """Return the user-defined loss of outputs without a gradient, clipped to +-1e9; NaN becomes 1e9."""
    found = loss_function(config)(output.clone(), y.clone())
    return float(found.double().nan_to_num(nan=MAX_METRIC).clamp(-MAX_METRIC, MAX_METRIC))


def check_loss(config: RunConfig, problem: Problem) -> None:
    """Call the user-defined loss, if there is one, on random outputs and labels of 64 examples and of one example.

    Raises
    ------
    ConfigError
        Key `loss`: there is no such function, it raises, or it does not return a finite scalar tensor with a finite gradient
        with respect to the outputs.
    """
    if not config.loss:
        return
    loss = loss_function(config)
    for examples in (TRIED, 1):
        output = random_outputs(problem, examples).requires_grad_()
        y = random_labels(problem, examples)
        if found := _failure(loss, output, y):
            given = f"outputs {list(output.shape)} and y {list(like_outputs(y, output).shape)}"
            raise ConfigError("loss", config.loss, f"a function that returns a scalar tensor from {given}; {found}")


def _find(reference: str) -> Loss:
    function = find("loss", reference)
    if not callable(function):
        raise ConfigError("loss", reference, f"a function of (outputs, y), not {type(function).__name__}")
    return function


def _failure(loss: Loss, output: Tensor, y: Tensor) -> str:
    """Return a description of the error in a loss or its gradient, or an empty string."""
    with torch.random.fork_rng(devices=[]):
        try:
            found = loss(output, y)
        except Exception as error:  # noqa: BLE001  # the user's code may raise anything
            return f"it raised {error_line(error)}"
        return _wrong_result(found) or _wrong_gradient(found, output)


def _wrong_result(found: object) -> str:
    if not isinstance(found, Tensor):
        return f"it returned {type(found).__name__}"
    if found.ndim or not found.is_floating_point():
        return f"it returned {str(found.dtype).removeprefix('torch.')} {list(found.shape)}"
    if not bool(found.isfinite()):
        return f"it returned {float(found.detach()):g}"
    return "" if found.requires_grad else "its result has no gradient, as after detach() or item()"


def _wrong_gradient(found: Tensor, output: Tensor) -> str:
    try:
        (gradient,) = torch.autograd.grad(found, output, allow_unused=True)
    except Exception as error:  # noqa: BLE001  # the user's code may raise anything
        return f"its backward pass raised {error_line(error)}"
    if gradient is None:
        return "its result does not depend on the outputs"
    return "" if bool(gradient.isfinite().all()) else "its gradient is not finite"
