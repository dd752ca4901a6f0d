"""Construction of a user's own network by "module:function"."""

from collections.abc import Callable

from torch import nn

from fedgates.config.names import MODELS, is_reference
from fedgates.config.references import find
from fedgates.errors import ConfigError
from fedgates.models.modes import keeping_modes
from fedgates.models.probe import output_of, random_inputs
from fedgates.models.shapes import AnyShape
from fedgates.types import Problem
from fedgates.util.text import error_line


def own(reference: str, problem: Problem) -> nn.Module:
    """Call the user's function and validate the network that it returns, which also initialises lazy layers.

    Raises
    ------
    ConfigError
        The function is missing, raises, or does not return a network with these inputs and outputs.
    """
    function = _find(reference)
    shape, outputs = problem.shape, problem.outputs
    try:
        model = function(shape, outputs)
    except Exception as error:  # the user's code may raise any exception
        expected = f"a function that builds a network from ({shape}, {outputs}); it raised {error_line(error)}"
        raise ConfigError("model", reference, expected) from error
    if not isinstance(model, nn.Module):
        expected = f"a function that returns a torch.nn.Module; it returned {type(model).__name__}"
        raise ConfigError("model", reference, expected)
    with keeping_modes(model):
        output = output_of(model, random_inputs(problem, 2), problem, training=False)
    if isinstance(output, str):
        raise ConfigError("model", reference, output)
    return model


def _find(reference: str) -> Callable[[AnyShape, int], object]:
    if not is_reference(reference):
        raise ConfigError("model", reference, "one of " + ", ".join(MODELS) + ' or "module:function"')
    function = find("model", reference)
    if not callable(function):
        raise ConfigError("model", reference, f"a function, not {type(function).__name__}")
    return function
