"""Predictions of a network, and their score."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from fedgates.data.dataset import IGNORED
from fedgates.data.inputs import count, take
from fedgates.methods.training import Inputs, autocast, prepared
from fedgates.models.outputs import as_predictions
from fedgates.nn.network import Network

_EVALUATION_BATCH, _CONVOLUTION_BATCH = 500, 64


@torch.inference_mode()
def predict(network: Network, x: Inputs, precision: str = "float32") -> Tensor:
    """Return the network's predictions with its present weights.

    Parameters
    ----------
    network : Network
        Its `task` says what its outputs are.
    x : Tensor or mapping
        Inputs ``[n, ...]``, as :func:`fedgates.data.to_tensors` returns them.
    precision : str
        ``float32`` or ``bfloat16``.

    Returns
    -------
    Tensor
        Float32, in the order of `x`: probabilities of classes ``[n, classes, *positions]``, probabilities of labels
        ``[n, labels]``, or the numbers ``[n, outputs]`` of a regression.
    """
    return as_predictions(all_outputs(network, x, precision), network.task)


@torch.inference_mode()
def all_outputs(network: Network, x: Inputs, precision: str = "float32") -> Tensor:
    """Return the outputs of :func:`outputs_of` in the order of the examples, float32 ``[n, outputs, *positions]``."""
    parts = list(outputs_of(network, x, precision))
    output = torch.empty(count(x), *parts[0][1].shape[1:], device=network.device)
    for indices, part in parts:
        output[indices] = part
    return output


def outputs_of(network: Network, x: Inputs, precision: str = "float32") -> Iterator[tuple[Tensor, Tensor]]:
    """Run the network on all examples with its present weights, a batch at a time; yield the indices and outputs of each.

    Batches have at most 500 examples, are equal in size but for one, and are drawn at random, always in the same way. That
    matters to a network that normalises by batch statistics: no batch is a small remainder, and every batch has the classes in
    about the shares of the whole, whether a test set is sorted by class or repeats them in turn. Plain convolutional networks
    on a CPU, whose outputs depend on no other example, run 64 at a time: the activations then fit the cache.
    """
    network.eval()
    examples = count(x)
    batches = max(1, math.ceil(examples / _evaluation_batch(network)))
    order = torch.randperm(examples, generator=torch.Generator().manual_seed(0)) if batches > 1 else torch.arange(examples)
    with network.channels_last():
        for first in range(batches):
            indices = order[first::batches].to(network.device)
            with torch.inference_mode(), autocast(network.device, precision):
                output = network(prepared(take(x, indices), precision)).float()
            yield indices, output


def _evaluation_batch(network: Network) -> int:
    """Return the largest batch of an evaluation; small where it is faster, and torch's own layers keep the examples apart."""
    layers = list(network.module.modules())
    apart = all(type(each).__module__.startswith("torch.nn.") and not isinstance(each, _BatchNorm) for each in layers)
    convolutional = any(isinstance(each, _ConvNd) for each in layers)
    return _CONVOLUTION_BATCH if apart and convolutional and network.device.type == "cpu" else _EVALUATION_BATCH


def score(predictions: Tensor, y: Tensor, own_classes: Sequence[int] = ()) -> dict[str, float]:
    """Return metrics of predictions; every number is finite, whatever the weights.

    Parameters
    ----------
    predictions : Tensor
        As :func:`predict` returns them.
    y : Tensor
        As of :class:`fedgates.data.Examples`.
    own_classes : sequence of int
        For labels: the classes to which the predictions are limited for ``own_class_accuracy``; without any there is no such
        metric.

    Returns
    -------
    dict
        For labels ``accuracy``, a share in 0 to 1, and ``loss``, the mean cross-entropy in nats, where a probability counts as
        at least 1e-12. A row that is not finite, as weights that overflow give it, is a wrong prediction of probability 0.
        With `own_classes` also ``own_class_accuracy``, of the likeliest among them, where a label of another class is wrong.
        For labels of positions the same, over the positions that are not labelled -100.
        For targets ``r2 = 1 - SSE / SST``, the mean over the outputs, and ``loss``, the mean squared error. A prediction that
        is not finite counts as the largest float32, so it is worse than any other; r2 of targets that are all the same is 0.
        For several labels ``accuracy``, the share of labels predicted right, ``f1``, that of all labels together (micro), and
        ``loss``, the mean binary cross-entropy; a label is predicted where its probability is above .5.
        Where predictions are not finite, also ``not_finite``, the share of examples with one.
    """
    finite = predictions.isfinite().flatten(1).all(1)
    overflow = {} if finite.all() else {"not_finite": float((~finite).double().mean())}
    if y.is_floating_point():
        return {**_score_regression(predictions, y.double().reshape(predictions.shape)), **overflow}
    if y.dtype == torch.uint8:
        return {**_score_labels(predictions, y.bool()), **overflow}
    if y.ndim > 1:
        finite = finite.view(-1, *[1] * (y.ndim - 1)).expand_as(y)[y != IGNORED]
        predictions, y = predictions.movedim(1, -1)[y != IGNORED], y[y != IGNORED]
        if not len(y):
            return {"accuracy": 0.0, "loss": 0.0, **overflow}
    right = ((predictions.argmax(1) == y) & finite).double().mean()
    chance = predictions.gather(1, y[:, None])[:, 0].where(finite, 0)
    metrics = {"accuracy": float(right), "loss": float(-chance.clamp_min(1e-12).log().double().mean())}
    if own_classes:
        own = torch.tensor(own_classes, device=y.device)
        limited = own[predictions[:, own].argmax(1)]
        metrics["own_class_accuracy"] = float(((limited == y) & finite).double().mean())
    return {**metrics, **overflow}


def confusion_matrix(predictions: Tensor, y: Tensor) -> Tensor:
    """Return how many examples of each class are predicted as each class, int64 ``[C, C]``; row i is true class i.

    Parameters
    ----------
    predictions : Tensor
        Probabilities of classes, ``[n, C]``.
    y : Tensor
        Labels, int64 ``[n]``.
    """
    classes = predictions.shape[1]
    return torch.bincount(classes * y + predictions.argmax(1), minlength=classes**2).reshape(classes, classes)


def _score_regression(predictions: Tensor, y: Tensor) -> dict[str, float]:
    largest = torch.finfo(torch.float32).max
    errors = predictions.double().nan_to_num(nan=largest, posinf=largest, neginf=-largest) - y
    losses = errors.square().mean(0)
    # not by the variance, which rounding keeps from being 0
    varies = (y != y[:1]).any(0)
    r2 = (1 - losses / y.var(0, correction=0)).where(varies, 0)
    return {"r2": float(r2.mean()), "loss": float(losses.mean())}


def _score_labels(predictions: Tensor, y: Tensor) -> dict[str, float]:
    finite = predictions.isfinite()
    on = predictions > 0.5
    hits, wanted, found = (int(each.sum()) for each in (on & y & finite, y, on | ~finite))
    chance = torch.where(y, predictions, 1 - predictions).where(finite, 0)
    return {
        "accuracy": float(((on == y) & finite).double().mean()),
        "f1": 2 * hits / (wanted + found) if wanted + found else 0.0,
        "loss": float(-chance.clamp_min(1e-12).log().double().mean()),
    }
