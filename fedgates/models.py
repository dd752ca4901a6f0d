"""Dense networks by name: those of the papers, two small ones for the digits, and the user's own by "module:function".

Every network of ours is a plain ``nn.Sequential`` of same-padded convolutions with bias, ReLU and 2x2 max-pooling, and
fully connected layers; without BatchNorm and dropout, so that a mask over the parameters is the whole state.
"""

import itertools
from collections.abc import Callable

import torch
from torch import nn

from fedgates import keys
from fedgates.config import MODELS, ConfigError, is_reference
from fedgates.references import find
from fedgates.text import error_line

Shape = tuple[int, int, int]
M = "M"
"""A 2x2 max-pool in a plan of layers; a number is a convolution with so many output channels."""


def build(name: str, input_shape: Shape, num_classes: int, *, seed: int = 0) -> nn.Module:
    """Build the network of this name.

    The initial weights are a function of the seed: torch's global CPU generator, which initialisers draw from, is
    seeded for the call and left as it was.

    Parameters
    ----------
    name : str
        ``mlp``, ``cnn``, ``conv4``, ``conv6``, ``conv10``, ``leaf-cnn``, or ``"module:function"`` of the user's own,
        which is called as ``function(input_shape, num_classes)``.
    input_shape : tuple of int
        (channels, height, width) of one image.
    num_classes : int
        Outputs of the network.
    seed : int
        The run's seed.

    Returns
    -------
    torch.nn.Module
        In training mode, float32, on the CPU; maps ``[n, C, H, W]`` to logits ``[n, num_classes]``.

    Raises
    ------
    ConfigError
        An unknown name, an image too small for the network's pooling, or a function of the user's own that is absent,
        raises, or returns something other than a network of these inputs and outputs.
    """
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed: that seeds every GPU's generator too, which fork_rng would then have to restore
        torch.set_rng_state(keys.generator(seed, "init").get_state())
        if name in MODELS:
            return _named(name, input_shape, num_classes)
        return _own(name, input_shape, num_classes)


def _named(name: str, input_shape: Shape, num_classes: int) -> nn.Module:
    plan: list[int | str]
    hidden: list[int]
    match name:
        case "mlp":
            return _dense([input_shape[0] * input_shape[1] * input_shape[2], 256, 256], num_classes)
        case "cnn":
            plan, hidden, kernel = [32, M, 64, M], [], 3
        case "conv4":
            plan, hidden, kernel = [64, 64, M, 128, 128, M], [256, 256], 3
        case "conv6":
            plan, hidden, kernel = [64, 64, M, 128, 128, M, 256, 256, M], [256, 256], 3
        case "conv10":
            plan = [width for block in (64, 128, 256, 512, 1024) for width in (block, block, M)]
            hidden, kernel = [256, 256], 3
        case _:  # leaf-cnn, the last of MODELS
            plan, hidden, kernel = [32, M, 64, M], [2048], 5
    smallest = 2 ** plan.count(M)
    if min(input_shape[1:]) < smallest:
        height, width = input_shape[1:]
        raise ConfigError(
            "model", name, f"images of at least {smallest}x{smallest} for it, and the data set's are {height}x{width}"
        )
    return _convolutional(plan, hidden, kernel, input_shape, num_classes)


def _convolutional(
    plan: list[int | str], hidden: list[int], kernel: int, input_shape: Shape, num_classes: int
) -> nn.Sequential:
    channels, height, width = input_shape
    layers: list[nn.Module] = []
    for step in plan:
        if isinstance(step, int):
            layers += [nn.Conv2d(channels, step, kernel, padding=kernel // 2), nn.ReLU()]
            channels = step
        else:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
    return nn.Sequential(*layers, *_dense([channels * height * width, *hidden], num_classes))


def _dense(widths: list[int], num_classes: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))


def _own(reference: str, input_shape: Shape, num_classes: int) -> nn.Module:
    function = _find(reference)
    try:
        model = function(input_shape, num_classes)
    except Exception as error:  # the user's code may raise anything
        expected = f"a function that builds a network from ({input_shape}, {num_classes}); it raised {error_line(error)}"
        raise ConfigError("model", reference, expected) from error
    if not isinstance(model, nn.Module):
        expected = f"a function that returns a torch.nn.Module; it returned {type(model).__name__}"
        raise ConfigError("model", reference, expected)
    _check_output(reference, model, input_shape, num_classes)
    return model


def _find(reference: str) -> Callable[[Shape, int], object]:
    if not is_reference(reference):
        raise ConfigError("model", reference, "one of " + ", ".join(MODELS) + ' or "module:function"')
    function = find("model", reference)
    if not callable(function):
        raise ConfigError("model", reference, f"a function, not {type(function).__name__}")
    return function


def _check_output(reference: str, model: nn.Module, input_shape: Shape, num_classes: int) -> None:
    wanted = f"a network that maps [2, {', '.join(map(str, input_shape))}] to [2, {num_classes}]"
    model.eval()  # a layer with running statistics must not learn from the probe
    try:
        with torch.no_grad():
            output = model(torch.zeros(2, *input_shape))
    except Exception as error:  # the user's code may raise anything
        raise ConfigError("model", reference, f"{wanted}; it raised {error_line(error)}") from error
    model.train()
    if not isinstance(output, torch.Tensor):
        raise ConfigError("model", reference, f"{wanted}; it gave {type(output).__name__}")
    if tuple(output.shape) != (2, num_classes):
        raise ConfigError("model", reference, f"{wanted}; it gave {list(output.shape)}")
