"""Initialisation of the last layer from class means: clients upload sums of features once, before the first round.

The layer's inputs f are modelled as Gaussian within each class c, with mean mu_c over all clients and one variance v for all
classes and features. The logits are then ``mu_c f / v - |mu_c|^2 / (2 v)``, a linear layer that selects the nearest class mean
(Legate et al.: Guiding The Last Layer in Federated Learning with Pre-Trained Models, NeurIPS 2023, arXiv 2306.03937).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedgates.config import MaskConfig
from fedgates.data.inputs import mapped
from fedgates.errors import ConfigError
from fedgates.methods.evaluation import outputs_of
from fedgates.methods.training import Task
from fedgates.models.probe import random_inputs
from fedgates.nn.network import Network
from fedgates.nn.roles import last_layer
from fedgates.types import Problem

KEY = "gates.sent-start"


def check_class_means(network: Network, config: MaskConfig, problem: Problem) -> None:
    """Check that the last layer can start from class means, by running the network on random inputs.

    Raises
    ------
    ConfigError
        Key `gates.sent-start`: the last layer is not a linear layer with a bias and the role "sent", or its outputs for
        features ``[n, F]`` are not the network's outputs.
    """
    name = last_layer(network.module)
    layer = network.module.get_submodule(name)
    sent = {each.name for each in network.tail.slices}
    own = {f"{name}.{key}" for key, _ in layer.named_parameters(recurse=False)}
    if config.gates.frozen != "given":
        expected = "initial, or gates.frozen = given: a random network has not learned any features yet"
        raise ConfigError(KEY, config.gates.sent_start, expected)
    if network.task != "classes":
        raise ConfigError(KEY, config.gates.sent_start, f"initial: class means need a classification task, not {network.task}")
    shared = own - {key for key, _ in network.module.named_parameters()}
    if shared:
        raise ConfigError(KEY, config.gates.sent_start, f"initial: the last layer shares {min(shared)!r} with an earlier layer")
    if not isinstance(layer, nn.Linear) or not own <= sent:
        expected = f"initial: the last layer, {name!r} ({type(layer).__name__}), is not a linear layer matched by gates.sent"
        raise ConfigError(KEY, config.gates.sent_start, expected)
    if layer.bias is None or not _gives_the_output(network, layer, problem):
        what = "has no bias" if layer.bias is None else "does not compute the network's output from one vector per example"
        raise ConfigError(KEY, config.gates.sent_start, f"initial: the last layer, {name!r}, {what}")


def _gives_the_output(network: Network, layer: nn.Linear, problem: Problem) -> bool:
    """Return whether a layer is called once, on ``[n, F]``, and returns the network's output."""
    calls: list[tuple[Tensor, Tensor]] = []
    handle = layer.register_forward_hook(lambda _, inputs, output: calls.append((inputs[0], output)))
    try:
        network.eval()
        with torch.inference_mode():
            output = network(mapped(random_inputs(problem, 2), lambda each: each.to(network.device)))
    finally:
        handle.remove()
    return len(calls) == 1 and calls[0][0].ndim == 2 and torch.equal(calls[0][1], output)


def feature_sums(network: Network, task: Task, precision: str) -> NDArray[np.float64]:
    """Return sums of the last layer's inputs over a client's examples, with the network's current weights.

    Returns
    -------
    numpy.ndarray
        Float64 ``[C + C F + 1]``: number of examples of each of C classes, sum of each of F features by class, and sum of the
        squares of all features.
    """
    layer = network.module.get_submodule(last_layer(network.module))
    classes, features = _shape(network)
    counts = torch.zeros(classes, dtype=torch.float64)
    sums, squares = torch.zeros(classes, features, dtype=torch.float64), 0.0
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        for indices, _ in outputs_of(network, task.x, precision):
            values, labels = seen.pop().double().cpu(), task.y[indices].cpu()
            counts += torch.bincount(labels, minlength=classes)
            sums.index_add_(0, labels, values)
            squares += float(values.square().sum())
    finally:
        handle.remove()
    return torch.cat([counts, sums.flatten(), torch.tensor([squares], dtype=torch.float64)]).numpy()


def feature_sums_size(network: Network) -> int:
    """Return the length of the array that :func:`feature_sums` returns."""
    classes, features = _shape(network)
    return classes * (1 + features) + 1


def feature_counts(network: Network, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the number of examples behind each sum, ``[m]``, the same for all."""
    return np.full(len(sums), _split(network, sums)[0].sum())


def check_feature_sums(network: Network, sums: NDArray[np.float64]) -> str:
    """Return the reason why `sums` cannot be sums of features, or an empty string if they can."""
    counts, first, squares = _split(network, sums)
    if (counts < 0).any() or (counts != np.rint(counts)).any() or not counts.sum():
        return "numbers of examples that are negative, fractional, or all 0"
    if (first[counts == 0] != 0).any() or np.square(first).sum(1) @ (1 / np.maximum(counts, 1)) > squares * (1 + 1e-6) + 1e-6:
        return "sums of features that no set of examples can have"
    return ""


def class_means_layer(network: Network, sums: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weight ``[C, F]`` and bias ``[C]`` of the nearest-class-mean layer.

    A class without examples has zero weights and the lowest bias of the other classes.
    """
    counts, first, squares = _split(network, sums)
    means = first / np.maximum(counts, 1)[:, None]
    within = squares - counts @ np.square(means).sum(1)
    variance = max(within / (counts.sum() * means.shape[1]), 1e-12)
    bias = -np.square(means).sum(1) / (2 * variance)
    bias[counts == 0] = bias[counts > 0].min(initial=0.0)
    return (means / variance).astype(np.float32), bias.astype(np.float32)


def _split(network: Network, sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    classes, features = _shape(network)
    return sums[:classes], sums[classes:-1].reshape(classes, features), float(sums[-1])


def _shape(network: Network) -> tuple[int, int]:
    classes, features = network.module.get_parameter(f"{last_layer(network.module)}.weight").shape
    return classes, features
