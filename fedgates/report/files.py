"""The samples of ``predictions.json``, each checked before it is shown."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedgates.util.text import one_line

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_SAMPLES, _MAX_IMAGE_BYTES = 36, 150_000
"""Samples on a page, and bytes of all their images."""


@dataclass(frozen=True)
class Sample:
    """A test image and the prediction of the model."""

    image: str
    """A PNG file in base64."""
    label: str
    predicted: str
    probability: float | None
    right: bool


def _json_object(path: Path, problems: list[str]) -> dict[str, Any]:
    """Return the JSON object in a file; empty if the file is missing, or is not a JSON object, which is added to `problems`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        problems.append(f"{path.name}: not a JSON object")
        return {}
    return value


def read_samples(path: Path, problems: list[str]) -> list[Sample]:
    """Return the samples, wrong ones first, as many as fit on a page. What is wrong with the file is added to `problems`."""
    values = _json_object(path, problems)
    if not values:
        return []
    try:
        samples = [_sample(sample, values["classes"]) for sample in values["samples"][:_MAX_SAMPLES]]
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        problems.append(f"{path.name}: not a list of samples with image, label and predicted class")
        return []
    kept, room = [], _MAX_IMAGE_BYTES
    for sample in sorted(samples, key=lambda sample: sample.right):
        room -= len(sample.image)
        if room >= 0:
            kept.append(sample)
    return kept


def _sample(values: Mapping[str, Any], classes: Sequence[object]) -> Sample:
    label, predicted = int(values["label"]), int(values["predicted"])
    try:
        image = base64.b64decode(values["image"], validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if not image.startswith(_PNG):
        raise ValueError("not a PNG file")
    names = [_name(classes[i]) if 0 <= i < len(classes) else one_line(i, 60) for i in (label, predicted)]
    probability = values.get("probability")
    if probability is not None and not 0 <= probability <= 1:
        raise ValueError("not a probability")
    return Sample(
        image=base64.b64encode(image).decode(),
        label=names[0],
        predicted=names[1],
        probability=None if probability is None else float(probability),
        right=label == predicted,
    )


def _name(of_class: object) -> str:
    if not isinstance(of_class, str):
        raise TypeError("not a name")
    return one_line(of_class, 60)
