"""Removal of dead units: hidden units that are on no path from the input to the output.

In a chain of layers, a hidden unit (a neuron or a channel) has no effect if all its outgoing weights are zero. Because of the
ReLU, its output is always 0 if all its incoming weights are zero and its bias is not above zero. Such units are removed
repeatedly, since removing one may leave others without a path. Units with a constant output above zero stay.

A chain is an ``nn.Sequential`` of convolutions (without groups) and max-pooling, then flattening, then linear layers, with a
ReLU after each layer but the last. Other networks are left unchanged: residual networks, and networks with norms, with layers
that are used twice, or with layers of other classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class _Stage:
    """A layer with weights in a chain."""

    index: int
    """Index of the layer in the chain."""
    layer: nn.Linear | nn.Conv2d
    inputs_per_unit: int
    """Number of inputs of this layer per unit of the previous one: above 1 after flattened feature maps."""


def remove_dead_units(network: nn.Module) -> nn.Module | None:
    """Return a copy of a chain without its dead units.

    Parameters
    ----------
    network : torch.nn.Module
        The network; it is not modified.

    Returns
    -------
    torch.nn.Module or None
        A network with the same outputs (only additions of zero are left out) and the same shapes of inputs and outputs; None if
        `network` is not a chain.

    Examples
    --------
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> with torch.no_grad():
    ...     _ = network[3].weight[:, 1].zero_()  # no output uses the second hidden unit
    >>> remove_dead_units(network)[1]
    Linear(in_features=4, out_features=2, bias=True)
    """
    stages = _stages(network)
    if stages is None or not isinstance(network, nn.Sequential):  # the second test is for mypy
        return None
    layers = list(network)
    live_before: Tensor | None = None
    for stage, live in zip(stages, _live_units(stages), strict=True):
        layers[stage.index] = _reduced(stage, live_before, live)
        live_before = live
    return nn.Sequential(*layers).train(network.training)


def zero_dead_units(network: nn.Module) -> None:
    """Set all weights of a chain into and out of dead units to zero, in place; leave other networks unchanged."""
    stages = _stages(network)
    if stages is None:
        return
    live_before: Tensor | None = None
    with torch.no_grad():
        for stage, live in zip(stages, _live_units(stages), strict=True):
            layer = stage.layer
            layer.weight[~live] = 0
            if layer.bias is not None:
                layer.bias[~live] = 0
            if live_before is not None:
                layer.weight[:, ~live_before.repeat_interleave(stage.inputs_per_unit)] = 0
            live_before = live


def _stages(network: nn.Module) -> list[_Stage] | None:
    """Return the layers with weights of a chain, or None if the network is not a chain.

    Only layers of exactly these classes are accepted: a subclass may compute anything, a layer used twice cannot be reduced in
    one place, and a linear layer before flattening, or pooling after it, does not act unit by unit.
    """
    if type(network) is not nn.Sequential or len({id(layer) for layer in network}) < len(network):
        return None
    stages: list[_Stage] = []
    rectified, flat = True, False
    for index, layer in enumerate(network):
        if type(layer) is nn.ReLU:
            rectified = True
        elif type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
            flat = True
        elif type(layer) is nn.MaxPool2d and not flat:
            continue
        elif (type(layer) is nn.Linear and flat) or (type(layer) is nn.Conv2d and layer.groups == 1 and not flat):
            inputs, units = layer.weight.shape[1], _outputs(stages[-1].layer) if stages else 0
            widened = bool(stages) and type(layer) is not type(stages[-1].layer)
            if not rectified or (units and (inputs % units or (inputs > units and not widened))):
                return None
            stages.append(_Stage(index, layer, inputs // units if units else 1))
            rectified = False
        else:
            return None
    weights = [id(parameter) for stage in stages for parameter in stage.layer.parameters()]
    return stages if stages and len(set(weights)) == len(weights) else None


def _outputs(layer: nn.Linear | nn.Conv2d) -> int:
    return layer.weight.shape[0]


def _live_units(stages: list[_Stage]) -> list[Tensor]:
    """Return a bool tensor for each layer with the units that are on a path; a layer without any keeps its first unit."""
    live = [torch.ones(_outputs(stage.layer), dtype=torch.bool, device=stage.layer.weight.device) for stage in stages]
    while True:
        before = [units.clone() for units in live]
        for i, incoming in enumerate(_with_input(stages, live)):
            live[i] &= incoming
        for i in range(len(stages) - 1):
            live[i] &= _with_output(stages[i + 1], live[i + 1], len(live[i]))
        if all(torch.equal(a, b) for a, b in zip(before, live, strict=True)):
            break
    for units in live[:-1]:
        if not units.any():
            units[0] = True
    return live


def _with_input(stages: list[_Stage], live: list[Tensor]) -> Iterator[Tensor]:
    """Yield, for each hidden layer, the units whose output can be nonzero."""
    live_before: Tensor | None = None
    for stage, units in zip(stages[:-1], live[:-1], strict=True):
        weight = stage.layer.weight.detach()
        if live_before is not None:
            weight = weight[:, live_before.repeat_interleave(stage.inputs_per_unit)]
        connected = (weight != 0).flatten(1).any(1)
        bias = stage.layer.bias
        yield connected if bias is None else connected | (bias.detach() > 0)
        live_before = units


def _with_output(stage: _Stage, live: Tensor, units: int) -> Tensor:
    """Return the units of the previous layer that have a weight to a live unit of this one."""
    used = stage.layer.weight.detach()[live] != 0
    return used.transpose(0, 1).flatten(1).any(1).view(units, stage.inputs_per_unit).any(1)


def _reduced(stage: _Stage, live_before: Tensor | None, live: Tensor) -> nn.Module:
    """Return a copy of a layer with only the live inputs and units."""
    layer = stage.layer
    weight = layer.weight.detach()[live]
    if live_before is not None:
        weight = weight[:, live_before.repeat_interleave(stage.inputs_per_unit)]
    bias = None if layer.bias is None else layer.bias.detach()[live].clone()
    if isinstance(layer, nn.Linear):
        small: nn.Linear | nn.Conv2d = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    else:
        small = nn.Conv2d(
            weight.shape[1],
            weight.shape[0],
            layer.kernel_size,  # type: ignore[arg-type]  # a tuple of the right length
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            bias=bias is not None,
            padding_mode=layer.padding_mode,
        )
    small.weight = nn.Parameter(weight.clone(), requires_grad=layer.weight.requires_grad)
    if bias is not None:
        small.bias = nn.Parameter(bias, requires_grad=layer.weight.requires_grad)
    return small
