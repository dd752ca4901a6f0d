"""Load a model file; any invalid file gives a one-line error."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedgates import models
from fedgates.config.names import MODELS, is_reference
from fedgates.errors import ConfigError, ModelFileError, NetworkError, WireError
from fedgates.model_file.batch_norms import fix_statistics
from fedgates.model_file.contents import MOST_GATES, decode_mask, decode_weights, expected_size
from fedgates.model_file.facts import Facts, from_json
from fedgates.model_file.layout import read_bytes, split
from fedgates.model_file.model import Model, parameters_of
from fedgates.models.batch_norm import drop_running_statistics
from fedgates.models.modes import keeping_modes
from fedgates.models.pretrained import load_weights
from fedgates.models.probe import random_inputs, run
from fedgates.nn.gates import Gates
from fedgates.nn.network import Network
from fedgates.nn.roles import Role, matching
from fedgates.util.text import error_line, one_line
from fedgates.wire import CodingContext

_LONGEST_LINE = 600
_Builder = Callable[[Any, int], nn.Module]


def load(
    path: str | Path,
    *,
    network: _Builder | None = None,
    weights: str | Path | None = None,
    max_gates: int = MOST_GATES,
) -> Model:
    """Load a model from a file.

    Parameters
    ----------
    path : str or Path
        The file.
    network : callable, optional
        Function of (input_shape, num_outputs) that builds the network, required for a network of your own. The file has only
        the function's name, which is never imported.
    weights : str or Path, optional
        The file with the network's initial weights, required if the model uses some of them
        (:func:`fedgates.models.pretrained.load_weights`).
    max_gates : int
        Largest number of parameters to accept.

    Returns
    -------
    Model
        The model in eval mode, on the CPU.

    Raises
    ------
    ModelFileError
        The file is missing, damaged, of another format or version, or its network cannot be built.
    """
    try:
        packed, statistics, payload = split(read_bytes(path, max_gates))
        facts = from_json(packed)
        built = _built(facts, network, expected_size(payload, max_gates))
        _load_first_weights(built, facts, weights)
        flat = Network(built, roles=_roles(built, facts))
        values, tail = _weights(flat, facts, payload)
        flat.weights.copy_(torch.from_numpy(values))
        flat.tail.values.copy_(torch.from_numpy(tail))
        with torch.no_grad():
            for parameter in built.parameters():
                parameter.grad = None
                parameter.data = parameter.data.clone()  # otherwise a view of the flat vector
        fix_statistics(built, statistics)
    except (ConfigError, NetworkError, WireError, ModelFileError) as error:
        raise ModelFileError(f"{path}: {one_line(error, _LONGEST_LINE)}") from error.__cause__
    return Model(built, facts).eval().requires_grad_(requires_grad=False)


def _built(facts: Facts, own: _Builder | None, size: int) -> nn.Module:
    """Build the network with arbitrary weights; the size of a built-in network is checked before memory is allocated."""
    if own is not None:
        built = _called(own, facts)
        beside = sum(layer.size for layer in (*facts.tail, *facts.fixed))
        _expect_size("the network passed as network", sum(p.numel() for p in built.parameters()), size + beside)
        return built
    if is_reference(facts.model):
        raise NetworkError(
            f"its network is built by {facts.model}, which is not imported automatically: pass that function, as "
            f"load(..., network=) or as --network {facts.model}"
        )
    if facts.model not in MODELS:
        raise NetworkError(f"its network is {facts.model!r}, expected one of {', '.join(MODELS)}, or a newer fedgates")
    beside = sum(layer.size for layer in (*facts.tail, *facts.fixed))
    _expect_size(f"{facts.model} with its shapes", models.count(facts.model, facts.problem) or 0, size + beside)
    return models.build(facts.model, facts.problem, seed=facts.seed)


def _called(own: _Builder, facts: Facts) -> nn.Module:
    """Call the user's function, which may raise or return anything, and return the network that it builds."""
    shape, outputs = facts.problem.shape, facts.problem.outputs
    asked = f"a function that builds a network from ({shape}, {outputs})"
    try:
        with models.initial_rng(facts.seed):  # buffers may be random, and are not in the file
            built: object = own(shape, outputs)
    except Exception as error:
        raise NetworkError(f"network = {_name(own)}: expected {asked}; it raised {error_line(error)}") from error
    if not isinstance(built, nn.Module):
        raise NetworkError(f"network = {_name(own)}: expected {asked}; it returned {type(built).__name__}")
    if any(isinstance(parameter, nn.UninitializedParameter) for parameter in built.parameters()):
        try:
            with torch.no_grad(), keeping_modes(built):  # a forward pass sets the shapes of lazy layers, as in training
                run(built.eval(), random_inputs(facts.problem, 2))
        except Exception as error:
            raise NetworkError(f"network = {_name(own)}: expected {asked}; it raised {error_line(error)}") from error
    return built


def _name(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _load_first_weights(module: nn.Module, facts: Facts, weights: str | Path | None) -> None:
    """Load the network's initial weights, if they came from a file."""
    if not facts.weights:
        return
    if weights is None:
        raise NetworkError(
            f"its network needs the initial weights in {facts.weights}, which are not in this file: pass that file, as"
            " load(..., weights=) or as --weights"
        )
    drop_running_statistics(module)
    load_weights(module, weights, matching("fresh", facts.fresh, module))


def _roles(module: nn.Module, facts: Facts) -> dict[str, Role] | None:
    """Return the role of each parameter; None if the network's parameters differ from the file's."""
    roles: dict[str, Role] = {layer.name: "gated" for layer in facts.layers}
    roles.update({layer.name: "sent" for layer in facts.tail})
    roles.update({layer.name: "fixed" for layer in facts.fixed})
    return roles if set(roles) == {name for name, _ in module.named_parameters()} else None


def _expect_size(name: str, parameters: int, size: int) -> None:
    if parameters != size:
        raise NetworkError(f"{name} has {parameters:,} parameters, expected {size:,} as in the file")


def _weights(network: Network, facts: Facts, payload: bytes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the weights ``[d]`` and the values stored beside the mask, ``[t]``."""
    if not facts.weight_scale:
        return decode_weights(payload, _context(network, facts, network.digest())), np.empty(0, np.float32)
    gates = Gates(network, facts.seed, facts.weight_scale, facts.given)
    mask, tail = decode_mask(payload, _context(network, facts, gates.digest))
    weights: NDArray[np.float32] = gates.frozen.numpy() * mask.astype(np.float32)
    return weights, tail


def _context(network: Network, facts: Facts, digest: bytes) -> CodingContext:
    """Return the coding context of a file (without a round or client), after checking that the network matches the facts."""
    if facts.digest != digest.hex():
        raise NetworkError(
            f"another network than the file's {facts.model}: digest {digest.hex()}, expected {one_line(facts.digest, 16)}"
        )
    if parameters_of(network) != (facts.layers, facts.tail, facts.fixed):
        raise NetworkError(f"another network than the file's {facts.model}: its layers differ")
    return CodingContext(digest, tuple(part.size for part in network.slices), tail=len(network.tail))
