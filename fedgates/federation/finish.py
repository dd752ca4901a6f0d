"""What a run leaves at its end: the model as a file, what it makes of some test images, curves, and its page.

What goes wrong here is told in a line, and neither hides what went wrong before nor takes anything from the run.
"""

import base64
import io
import json
import logging
from collections.abc import Sequence
from copy import deepcopy
from importlib import metadata
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedgates import model_file, rng
from fedgates.config import is_reference, to_dict
from fedgates.data import Dataset, to_tensors
from fedgates.methods.registry import AnyStrategy
from fedgates.report import write_page
from fedgates.runs import summary
from fedgates.runs.checkpoint import RunFolder
from fedgates.util.files import write_atomically
from fedgates.util.text import error_line

log = logging.getLogger("fedgates")
MODEL, PREDICTIONS = "model.fedgates", "predictions.json"
_SAMPLES, _TRIED, _BATCH = 24, 2000, 500
"""Images to keep, images to look for wrong ones among, and images at a time."""


def keep_model(strategy: AnyStrategy, dataset: Dataset, run: RunFolder) -> None:
    """Write the model of the last state into the run's folder, and what it makes of some test images."""
    try:
        lines = run.ledger.read()
        images, _ = to_tensors(dataset.test, strategy.network.device)
        size = model_file.save(
            run.path / MODEL,
            strategy.network,
            _facts(strategy, dataset, lines),
            strategy.model(strategy.state),
            gates=getattr(strategy, "gates", None),
            images=images[:_TRIED] if len(images) else None,
        )
        log.info("model: %s bytes, %s", f"{size:,}", run.path / MODEL)
        if len(images) and dataset.num_classes:
            _write_predictions(strategy, dataset, run)
    except Exception as error:  # noqa: BLE001
        log.warning("no model file: %s", error_line(error))


def tell(strategy: AnyStrategy, run: RunFolder) -> None:
    """Draw the curves, write the page, and log the table; of a run that ended early, too, which has cost something as well."""
    config, size = strategy.config, strategy.network.size
    try:
        summary.draw_curves(run.path, size)
        log.info(summary.summary(run.ledger.read(), config.strategy, size))
        write_page(run.path, to_dict(type(config)()))
    except Exception as error:  # noqa: BLE001
        log.warning("no report: %s", error_line(error))
    log.info("results: %s", run.path)


def _facts(strategy: AnyStrategy, dataset: Dataset, lines: Sequence[dict[str, Any]]) -> model_file.Facts:
    config, last = strategy.config, lines[-1] if lines else {}
    reached = {key: last[key] for key in ("accuracy", "client_accuracy", "r2", "loss") if last.get(key) is not None}
    return model_file.Facts(
        model=config.model,
        input_shape=strategy.input_shape,
        class_names=dataset.class_names,
        seed=config.seed,
        weight_scale="",
        digest="",
        training={
            "strategy": config.strategy,
            "dataset": config.dataset,
            "rounds": last.get("round", 0),
            **reached,
            "fedgates": metadata.version("fedgates"),
        },
    )


def _write_predictions(strategy: AnyStrategy, dataset: Dataset, run: RunFolder) -> None:
    """What the file's model, as anybody loads it, makes of test images: of those it gets wrong up to half, and others."""
    module = strategy.network.module if is_reference(strategy.config.model) else None
    model = model_file.load(
        run.path / MODEL, network=None if module is None else lambda *_: deepcopy(module), max_gates=strategy.network.size
    )
    order = np.argsort(rng.words(len(dataset.test), strategy.config.seed, "samples"), kind="stable")[:_TRIED]
    tried = dataset.test.take(order)
    images, _ = to_tensors(tried, "cpu")
    with torch.no_grad():
        shares = torch.cat([model(part).softmax(1) for part in torch.split(images, _BATCH)])
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
    told = {"classes": list(dataset.class_names), "samples": samples}
    write_atomically(run.path / PREDICTIONS, (json.dumps(told) + "\n").encode())


def _png(image: NDArray[np.uint8]) -> bytes:
    """An image ``[H, W, C]`` of 1 or 3 channels as a PNG file; of another number its first channel."""
    from PIL import Image  # noqa: PLC0415  # comes with torchvision, and only the end of a run needs it

    drawn = image if image.shape[2] == 3 else image[..., 0]
    file = io.BytesIO()
    Image.fromarray(drawn).save(file, "PNG")
    return file.getvalue()
