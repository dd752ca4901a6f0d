"""Callback that writes the model file at the end of a run, and its predictions for some test images."""

import base64
import io
import json
import logging
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedgates import __version__, model_file, rng
from fedgates.config import is_reference
from fedgates.data import Dataset, normalise, to_tensors
from fedgates.data.inputs import take
from fedgates.federation.callbacks import Record
from fedgates.federation.server import Server
from fedgates.nn.batch_norms import norms_of, statistics_of
from fedgates.runs import checkpoint
from fedgates.runs.callback import Callback
from fedgates.runs.folder import MODEL, MODEL_BEST, PREDICTIONS, RunFolder
from fedgates.runs.round_log import read_rounds
from fedgates.runs.totals import has_quorum
from fedgates.types import Problem, State
from fedgates.util.files import write_atomically
from fedgates.util.text import error_line

log = logging.getLogger("fedgates")
NormSums = Callable[[State, int], NDArray[np.float64]]
"""Function of a state and the round that starts with it that returns sums for the batch norms over all clients."""
_SAMPLES, _TRIED, _BATCH = 24, 2000, 500
"""Number of images to write, to predict in search of errors, and in a batch."""


class ModelCallback(Callback):
    """Callback that writes ``model.fedgates``, ``predictions.json`` and, with `keep-best`, the best model of a finished run.

    Errors are logged in one line and do not fail the run.
    """

    def __init__(self, run: RunFolder, dataset: Dataset, norm_sums: NormSums) -> None:
        self._run, self._dataset, self._norm_sums = run, dataset, norm_sums
        self._last: Record = {}

    def on_start(self, server: Server[Any], first_round: int, *, resumed: bool) -> None:  # noqa: ARG002
        """Read the last round of a resumed run."""
        self._last = (read_rounds(self._run.path).lines or [{}])[-1]

    def on_round_end(self, record: Record, server: Server[Any]) -> None:  # noqa: ARG002
        """Keep the round's metrics for the model's description."""
        self._last = record

    def on_end(self, server: Server[Any], *, finished: bool) -> None:
        """Write the model of the last state, and predictions for some test images."""
        if not finished:
            return
        if server.config.keep_best:
            try:
                self._save_best(server)
            except Exception as error:  # noqa: BLE001
                log.warning("no %s: %s", MODEL_BEST, error_line(error))
        try:
            self._save(server, MODEL, server.state, self._last)
            if len(self._dataset.test) and server.problem.num_classes and _is_drawn(server.problem):
                _write_predictions(server, self._dataset, self._run)
        except Exception as error:  # noqa: BLE001
            log.warning("no model file: %s", error_line(error))

    def _save_best(self, server: Server[Any]) -> None:
        """Write the model of the best checkpoint."""
        kept = checkpoint.load_best(self._run.path, server.method.digest)
        if kept is None:
            log.warning("no %s: no round has been evaluated since keep-best was set", MODEL_BEST)
            return
        state, number = kept
        of_round = [line for line in read_rounds(self._run.path).lines if line["round"] == number and has_quorum(line)]
        self._save(server, MODEL_BEST, state, of_round[-1] if of_round else {"round": number})

    def _save(self, server: Server[Any], name: str, state: State, line: Record) -> None:
        """Write the model of a state, with the metrics in the line of its round."""
        method, path = server.method, self._run.path / name
        statistics = self._statistics(method.network.module, state, int(line.get("round", 0)) + 1)
        method.load_tail(state)
        size = model_file.save(
            path,
            method.network,
            _facts(server, self._dataset, line),
            method.weights(state),
            gates=getattr(method, "gates", None),
            statistics=statistics,
        )
        log.info("model: %s bytes, %s", f"{size:,}", path)

    def _statistics(self, module: nn.Module, state: State, server_round: int) -> NDArray[np.float32] | None:
        """Return statistics of the batch norms over all clients' examples; None without batch norms or measurements."""
        if not norms_of(module):
            return None
        sums = self._norm_sums(state, server_round)
        if not sums.any():
            log.warning("no client measured the batch norms: those of the model will use the statistics of each batch")
            return None
        return statistics_of(module, sums)


def _facts(server: Server[Any], dataset: Dataset, last: Mapping[str, Any]) -> model_file.Facts:
    config = server.config
    reached = {key: last[key] for key in ("accuracy", "client_accuracy", "r2", "loss") if last.get(key) is not None}
    return model_file.Facts(
        model=config.model,
        problem=server.problem,
        class_names=_class_names(server, dataset),
        seed=config.seed,
        weight_scale="",
        digest="",
        weights=PurePath(config.weights).name,
        fresh=config.fresh,
        training={
            "strategy": config.strategy,
            "dataset": config.dataset,
            "rounds": last.get("round", 0),
            **reached,
            "fedgates": __version__,
        },
    )


def _class_names(server: Server[Any], dataset: Dataset) -> tuple[str, ...]:
    """Return the class names, from the devices if the server has no training data of its own."""
    introduced = server.membership.class_names
    return introduced if not len(dataset.train) and len(introduced) == dataset.num_classes else dataset.class_names


def _write_predictions(server: Server[Any], dataset: Dataset, run: RunFolder) -> None:
    """Load the model from its file and write its predictions for some test images, up to half of them wrong."""
    module = server.method.network.module if is_reference(server.config.model) else None
    model = model_file.load(
        run.path / MODEL,
        network=None if module is None else lambda *_: deepcopy(module),
        max_gates=server.method.network.size,
        weights=server.config.weights or None,
    )
    order = np.argsort(rng.words(len(dataset.test), server.config.seed, "samples"), kind="stable")[:_TRIED]
    tried = dataset.test.take(order)
    images, _ = to_tensors(tried, "cpu")
    with torch.no_grad():
        shares = torch.cat(
            [model.network(normalise(take(images, part))).softmax(1) for part in torch.split(torch.arange(len(tried)), _BATCH)]
        )
    predicted = shares.argmax(1).numpy()
    wrong = np.flatnonzero(predicted != tried.y)[: _SAMPLES // 2]
    right = np.flatnonzero(predicted == tried.y)[: _SAMPLES - len(wrong)]
    samples = [
        {
            "image": base64.b64encode(_png(tried.x[i])).decode(),
            "label": int(tried.y[i]),
            "predicted": int(predicted[i]),
            "probability": round(float(shares[i, predicted[i]]), 4),
        }
        for i in (*right, *wrong)
    ]
    predictions = {"classes": list(dataset.class_names), "samples": samples}
    write_atomically(run.path / PREDICTIONS, (json.dumps(predictions) + "\n").encode())


def _is_drawn(problem: Problem) -> bool:
    """Return whether the only input is a grey or RGB image."""
    return len(problem.inputs) == 1 and problem.inputs[0].is_image and problem.inputs[0].shape[0] in (1, 3)


def _png(image: NDArray[Any]) -> bytes:
    """Return an image ``[H, W, C]`` with 1 or 3 channels as a PNG file; floats are scaled to the range of their values."""
    from PIL import Image  # noqa: PLC0415  # comes with torchvision, and only the end of a run needs it

    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        image = ((image - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    drawn = image if image.shape[2] == 3 else image[..., 0]
    file = io.BytesIO()
    Image.fromarray(drawn).save(file, "PNG")
    return file.getvalue()
