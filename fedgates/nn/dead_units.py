"""A network without the units that no path uses: the same function, smaller.

In a chain of layers a hidden unit (a neuron, or a channel) does nothing if none of its outgoing weights is left, and gives
nothing if none of its incoming ones is left and its bias is not above zero: what comes out of its ReLU is 0 for every image.
Both are cut away, again and again, because each may leave others without a path. Units that are constant and above zero stay.

This works on chains: an ``nn.Sequential`` of convolutions (without groups) and max-pooling, then flattening, then linear
layers, with a ReLU behind each but the last. Other networks (residual ones, those with norms, with layers that are used twice,
or are of somebody's own class) stay as they are.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedgates.models.shapes import Shape
from fedgates.nn.work import Work


@dataclass(frozen=True)
class _Stage:
    """A layer with weights of a chain."""

    place: int
    """Its index in the chain."""
    layer: nn.Linear | nn.Conv2d
    spread: int
    """Inputs of this layer for each unit of the one before: more than 1 where maps were flattened."""


def slim(network: nn.Module) -> nn.Module | None:
    """A copy of a chain with the units cut away that no path uses; None of a network that is no chain.

    The outputs are the same: what is left out are additions of zero. Inputs and outputs keep their shape.
    """
    stages = _stages(network)
    if stages is None or not isinstance(network, nn.Sequential):  # the second follows from the first
        return None
    alive = _alive(stages)
    layers = list(network)
    kept_before: Tensor | None = None
    for stage, kept in zip(stages, alive, strict=True):
        layers[stage.place] = _cut(stage, kept_before, kept)
        kept_before = kept
    return nn.Sequential(*layers).train(network.training)


def without_dead(network: nn.Module) -> None:
    """Set to zero, in place, every weight of a chain into or out of a unit that no path uses; other networks stay."""
    stages = _stages(network)
    if stages is None:
        return
    before: Tensor | None = None
    with torch.no_grad():
        for stage, kept in zip(stages, _alive(stages), strict=True):
            layer = stage.layer
            layer.weight[~kept] = 0
            if layer.bias is not None:
                layer.bias[~kept] = 0
            if before is not None:
                layer.weight[:, ~before.repeat_interleave(stage.spread)] = 0
            before = kept


def work(network: nn.Module, input_shape: Shape) -> Work | None:
    """Count parameters, and multiply-adds of linear and convolution layers for one image (C, H, W).

    None of a network that can be tried neither by shapes alone nor on an image of zeros.
    """
    try:  # shapes alone: an image may be large, and what matters of it is its size
        operations = _operations(copy.deepcopy(network).to("meta"), "meta", input_shape)
    except Exception:  # noqa: BLE001  # somebody's own network may need numbers, and may not bear being copied
        try:
            operations = _operations(network, next(network.parameters()).device, input_shape)
        except Exception:  # noqa: BLE001  # a statistic is not worth a model
            return None
    return Work(sum(parameter.numel() for parameter in network.parameters()), operations)


def _operations(network: nn.Module, device: torch.device | str, input_shape: Shape) -> int:
    """Multiply-adds that linear and convolution layers do for an image; two are shown, for norms that want more than one."""
    operations, training = 0, network.training

    def count(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal operations
        if isinstance(layer, nn.Linear | nn.Conv2d):
            operations += output[0].numel() * layer.weight[0].numel()

    handles = [layer.register_forward_hook(count) for layer in network.modules()]
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(2, *input_shape, device=device))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return operations


def _stages(network: nn.Module) -> list[_Stage] | None:
    """The layers with weights of a chain, or None.

    Only what is known to the letter passes: a layer of a class of its own may do anything, one that stands in two places is cut
    in neither, and a linear layer before flattening, or a pooling after it, does not go unit by unit.
    """
    if type(network) is not nn.Sequential or len({id(layer) for layer in network}) < len(network):
        return None
    stages: list[_Stage] = []
    rectified, flat = True, False
    for place, layer in enumerate(network):
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
            stages.append(_Stage(place, layer, inputs // units if units else 1))
            rectified = False
        else:
            return None
    weights = [id(parameter) for stage in stages for parameter in stage.layer.parameters()]
    return stages if stages and len(set(weights)) == len(weights) else None


def _outputs(layer: nn.Linear | nn.Conv2d) -> int:
    return layer.weight.shape[0]


def _alive(stages: list[_Stage]) -> list[Tensor]:
    """For each layer, which of its units are on a path; of a layer that has none one is left, so that it stays a layer."""
    alive = [torch.ones(_outputs(stage.layer), dtype=torch.bool, device=stage.layer.weight.device) for stage in stages]
    while True:
        before = [kept.clone() for kept in alive]
        for i, incoming in enumerate(_incoming(stages, alive)):
            alive[i] &= incoming
        for i in range(len(stages) - 1):
            alive[i] &= _outgoing(stages[i + 1], alive[i + 1], len(alive[i]))
        if all(torch.equal(a, b) for a, b in zip(before, alive, strict=True)):
            break
    for kept in alive[:-1]:
        if not kept.any():
            kept[0] = True
    return alive


def _incoming(stages: list[_Stage], alive: list[Tensor]) -> Iterator[Tensor]:
    """Of each hidden layer, which units can be anything but zero."""
    before: Tensor | None = None
    for stage, kept in zip(stages[:-1], alive[:-1], strict=True):
        weight = stage.layer.weight.detach()
        if before is not None:
            weight = weight[:, before.repeat_interleave(stage.spread)]
        fed = (weight != 0).flatten(1).any(1)
        bias = stage.layer.bias
        yield fed if bias is None else fed | (bias.detach() > 0)
        before = kept


def _outgoing(stage: _Stage, kept: Tensor, units: int) -> Tensor:
    """Which units of the layer before have a weight to a unit of this one that is kept."""
    used = stage.layer.weight.detach()[kept] != 0
    return used.transpose(0, 1).flatten(1).any(1).view(units, stage.spread).any(1)


def _cut(stage: _Stage, before: Tensor | None, kept: Tensor) -> nn.Module:
    layer = stage.layer
    weight = layer.weight.detach()[kept]
    if before is not None:
        weight = weight[:, before.repeat_interleave(stage.spread)]
    bias = None if layer.bias is None else layer.bias.detach()[kept].clone()
    if isinstance(layer, nn.Linear):
        small: nn.Linear | nn.Conv2d = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    else:
        small = nn.Conv2d(
            weight.shape[1],
            weight.shape[0],
            layer.kernel_size,  # type: ignore[arg-type]  # a tuple as long as it should be
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
