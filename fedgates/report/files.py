"""What a run's folder holds as JSON: objects, and the samples of ``predictions.json``, each checked before it is shown."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedgates.util.text import one_line

_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_SAMPLES, _MOST_IMAGE_BYTES = 36, 150_000
"""Samples on a page, and bytes of all their images, so that the page stays small whatever the images are."""


@dataclass(frozen=True)
class Sample:
    """A test image and what the model makes of it."""

    image: str
    """A PNG file in base64, checked to be one."""
    label: str
    predicted: str
    probability: float | None
    right: bool


def json_object(path: Path, problems: list[str]) -> dict[str, Any]:
    """A JSON object; empty where there is no such file, and where it holds something else, which is added to `problems`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        problems.append(f"{path.name}: no JSON object")
        return {}
    return found


def read_samples(path: Path, problems: list[str]) -> list[Sample]:
    """The samples, as many as there is room for; wrong ones first, because they are what one looks at."""
    told = json_object(path, problems)
    if not told:
        return []
    try:
        found = [_sample(sample, told["classes"]) for sample in told["samples"][:_MOST_SAMPLES]]
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        problems.append(f"{path.name}: not samples with image, label and predicted class")
        return []
    kept, room = [], _MOST_IMAGE_BYTES
    for sample in sorted(found, key=lambda sample: sample.right):
        room -= len(sample.image)
        if room >= 0:
            kept.append(sample)
    return kept


def _sample(told: Mapping[str, Any], classes: Sequence[object]) -> Sample:
    label, predicted = int(told["label"]), int(told["predicted"])
    try:
        image = base64.b64decode(told["image"], validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error
    if not image.startswith(_PNG):
        raise ValueError("no PNG")
    names = [_name(classes[i]) if 0 <= i < len(classes) else one_line(i, 60) for i in (label, predicted)]
    probability = told.get("probability")
    if probability is not None and not 0 <= probability <= 1:
        raise ValueError("no probability")
    return Sample(
        image=base64.b64encode(image).decode(),
        label=names[0],
        predicted=names[1],
        probability=None if probability is None else float(probability),
        right=label == predicted,
    )


def _name(of_class: object) -> str:
    if not isinstance(of_class, str):
        raise TypeError("no name")
    return one_line(of_class, 60)
