"""Predictions of a network, and metrics of predictions."""

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
    """Return the network's predictions with its current weights.

    Parameters
    ----------
    network : Network
        The network; its `task` determines how outputs become predictions.
    x : Tensor or mapping
        Inputs ``[n, ...]``, as :func:`fedgates.data.to_tensors` returns them.
    precision : str
        ``float32`` or ``bfloat16``.

    Returns
    -------
    Tensor
        Float32, in the order of `x`: class probabilities ``[n, classes, *positions]``, label probabilities ``[n, labels]``, or
        the predicted values of a regression ``[n, outputs]``.
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
    """Run the network on all examples in batches, with its current weights; yield the indices and outputs of each batch.

    Batches have at most 500 examples and differ in size by at most one. They are drawn at random with a fixed seed. This
    matters to networks that normalise by batch statistics: no batch is a small remainder, and every batch has about the class
    proportions of the whole set, whatever its order. Convolutional networks on a CPU whose examples do not affect each other
    run 64 examples at a time, so that the activations fit into the cache.
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
    """Return the largest batch size for evaluation; small where that is faster and cannot change the outputs."""
    layers = list(network.module.modules())
    apart = all(type(each).__module__.startswith("torch.nn.") and not isinstance(each, _BatchNorm) for each in layers)
    convolutional = any(isinstance(each, _ConvNd) for each in layers)
    return _CONVOLUTION_BATCH if apart and convolutional and network.device.type == "cpu" else _EVALUATION_BATCH


def score(predictions: Tensor, y: Tensor, own_classes: Sequence[int] = ()) -> dict[str, float]:
    """Return metrics of predictions; all values are finite, even if predictions are not.

    Parameters
    ----------
    predictions : Tensor
        As :func:`predict` returns them.
    y : Tensor
        Labels or targets, as in :class:`fedgates.data.Examples`.
    own_classes : sequence of int
        For classification: the classes to which predictions are limited for ``own_class_accuracy``. Empty: the metric is left
        out.

    Returns
    -------
    dict
        Metrics by name.

    Notes
    -----
    - Classification: ``accuracy``, in [0, 1], and ``loss``, the mean cross-entropy in nats, with probabilities clipped to at
      least 1e-12. A row that is not finite counts as a wrong prediction with probability 0. With `own_classes` also
      ``own_class_accuracy``, the accuracy of the most probable of these classes; examples of other classes count as wrong.
    - Classification of positions: the same metrics over all positions that are not labelled -100.
    - Regression: ``r2 = 1 - SSE / SST``, averaged over the outputs, and ``loss``, the mean squared error. A prediction that is
      not finite counts as the largest float32; r2 is 0 for constant targets.
    - Multi-label classification: ``accuracy``, the share of correct labels, ``f1``, micro-averaged, and ``loss``, the mean
      binary cross-entropy; a label is predicted if its probability is above .5.

    If some predictions are not finite, ``not_finite`` is the share of examples with such a prediction.
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
    """Return the confusion matrix, int64 ``[C, C]``: entry (i, j) is the number of examples of class i predicted as class j.

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
    # the variance of constant targets may differ from 0 by rounding
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
