"""From a model's file to a model: whatever is in the file, there comes a model out of it, or one line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedgates import models
from fedgates.config.names import MODELS, is_reference
from fedgates.errors import ConfigError, ModelFileError, NetworkError, WireError
from fedgates.model_file.batch_norms import settle
from fedgates.model_file.contents import MOST_GATES, decoded_mask, decoded_weights, expected_size
from fedgates.model_file.facts import Facts, from_json
from fedgates.model_file.layout import read_bytes, split
from fedgates.model_file.model import Model, layers_of
from fedgates.models.shapes import Shape
from fedgates.nn.gates import Gates
from fedgates.nn.network import Network
from fedgates.util.text import error_line, one_line
from fedgates.wire import CodingContext

_LONGEST_LINE = 600
_Builder = Callable[[Shape, int], nn.Module]


def load(path: str | Path, *, network: _Builder | None = None, max_gates: int = MOST_GATES) -> Model:
    """Load a model's file.

    Parameters
    ----------
    path : str or Path
        The file.
    network : callable, optional
        For a network of somebody's own: the function of (input_shape, num_outputs) that builds it. A file only names it, and
        what a file names is never imported.
    max_gates : int
        Refuse a network with more parameters.

    Returns
    -------
    Model
        In eval mode, on the CPU.

    Raises
    ------
    ModelFileError
        It is not there, no such file, damaged, of another version, or of a network that cannot be built here.
    """
    try:
        packed, statistics, payload = split(read_bytes(path, max_gates))
        facts = from_json(packed)
        built = _built(facts, network, expected_size(payload, max_gates))
        flat = Network(built)
        values = _weights(flat, facts, payload)
        flat.weights.copy_(torch.from_numpy(values))
        with torch.no_grad():
            for parameter in built.parameters():
                parameter.grad = None
                parameter.data = parameter.data.clone()  # no longer a view of one flat vector
        settle(built, statistics)
    except (ConfigError, NetworkError, WireError, ModelFileError) as error:
        raise ModelFileError(f"{path}: {one_line(error, _LONGEST_LINE)}") from error.__cause__
    return Model(built, facts).eval().requires_grad_(requires_grad=False)


def _built(facts: Facts, own: _Builder | None, size: int) -> nn.Module:
    """The network, with whatever weights; of ours it is found out before it takes memory whether it is of that size."""
    if own is not None:
        built = _called(own, facts)
        _expect_size("the network that was given", sum(parameter.numel() for parameter in built.parameters()), size)
        return built
    if is_reference(facts.model):
        raise NetworkError(
            f"its network is built by {facts.model}, which is not imported because a file says so: expected that function, as "
            f"load(..., network=) or as --network {facts.model}"
        )
    if facts.model not in MODELS:
        raise NetworkError(f"its network is {facts.model!r}, expected one of {', '.join(MODELS)}, or a newer fedgates")
    classes = len(facts.class_names)
    _expect_size(f"{facts.model} as its facts have it", models.count(facts.model, facts.input_shape, classes) or 0, size)
    return models.build(facts.model, facts.input_shape, classes, seed=facts.seed)


def _called(own: _Builder, facts: Facts) -> nn.Module:
    """What the function that was given builds; it may raise anything, and return anything."""
    asked = f"a function that builds a network from ({facts.input_shape}, {facts.outputs})"
    try:
        built: object = own(facts.input_shape, facts.outputs)
    except Exception as error:
        raise NetworkError(f"network = {_name(own)}: expected {asked}; it raised {error_line(error)}") from error
    if not isinstance(built, nn.Module):
        raise NetworkError(f"network = {_name(own)}: expected {asked}; it returned {type(built).__name__}")
    if any(isinstance(parameter, nn.UninitializedParameter) for parameter in built.parameters()):
        try:
            with torch.no_grad():  # lazy layers have the shapes that an image gives them, as where the model was trained
                built.eval()(torch.zeros(2, *facts.input_shape))
        except Exception as error:
            raise NetworkError(f"network = {_name(own)}: expected {asked}; it raised {error_line(error)}") from error
    return built


def _name(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _expect_size(who: str, found: int, size: int) -> None:
    if found != size:
        raise NetworkError(f"{who} has {found:,} parameters, expected the {size:,} that its weights are for")


def _weights(network: Network, facts: Facts, payload: bytes) -> NDArray[np.float32]:
    if not facts.weight_scale:
        return decoded_weights(payload, _shared(network, facts, network.digest()))
    gates = Gates(network, facts.seed, facts.weight_scale)
    mask = decoded_mask(payload, _shared(network, facts, gates.digest))
    weights: NDArray[np.float32] = gates.frozen.numpy() * mask.astype(np.float32)
    return weights


def _shared(network: Network, facts: Facts, digest: bytes) -> CodingContext:
    """What both ends of a file know; it is of no round and of no client."""
    if facts.digest != digest.hex():
        raise NetworkError(
            f"another network than the file's {facts.model}: digest {digest.hex()}, expected {one_line(facts.digest, 16)}"
        )
    if layers_of(network) != facts.layers:
        raise NetworkError(f"another network than the file's {facts.model}: its layers are others")
    return CodingContext(digest, tuple(slot.size for slot in network.slices))
