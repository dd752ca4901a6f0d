"""A user's own network by "module:function"."""

from collections.abc import Callable

import torch
from torch import nn

from fedgates.config.names import MODELS, is_reference
from fedgates.errors import ConfigError
from fedgates.models.modes import keeping_modes
from fedgates.models.shapes import Shape
from fedgates.util.references import find
from fedgates.util.text import error_line


def own(reference: str, input_shape: Shape, num_outputs: int) -> nn.Module:
    """Call the user's function and validate the network that it returns.

    Raises
    ------
    ConfigError
        The function is missing, raises, or does not return a network with these inputs and outputs.
    """
    function = _find(reference)
    try:
        model = function(input_shape, num_outputs)
    except Exception as error:  # the user's code may raise anything
        expected = f"a function that builds a network from ({input_shape}, {num_outputs}); it raised {error_line(error)}"
        raise ConfigError("model", reference, expected) from error
    if not isinstance(model, nn.Module):
        expected = f"a function that returns a torch.nn.Module; it returned {type(model).__name__}"
        raise ConfigError("model", reference, expected)
    _check_output(reference, model, input_shape, num_outputs)
    return model


def _find(reference: str) -> Callable[[Shape, int], object]:
    if not is_reference(reference):
        raise ConfigError("model", reference, "one of " + ", ".join(MODELS) + ' or "module:function"')
    function = find("model", reference)
    if not callable(function):
        raise ConfigError("model", reference, f"a function, not {type(function).__name__}")
    return function


def _check_output(reference: str, model: nn.Module, input_shape: Shape, num_outputs: int) -> None:
    wanted = f"a network that maps [2, {', '.join(map(str, input_shape))}] to [2, {num_outputs}]"
    try:
        with torch.no_grad(), keeping_modes(model):
            model.eval()  # a layer with running statistics must not learn from the probe
            output = model(torch.zeros(2, *input_shape))
    except Exception as error:  # the user's code may raise anything
        raise ConfigError("model", reference, f"{wanted}; it raised {error_line(error)}") from error
    if not isinstance(output, torch.Tensor):
        raise ConfigError("model", reference, f"{wanted}; it gave {type(output).__name__}")
    if tuple(output.shape) != (2, num_outputs):
        raise ConfigError("model", reference, f"{wanted}; it gave {list(output.shape)}")
