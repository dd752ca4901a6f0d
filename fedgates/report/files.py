"""The samples of ``predictions.json``, each checked before it is shown."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import Base64Bytes, BaseModel, Field

from fedgates.util.text import one_line

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_SAMPLES, _MAX_IMAGE_BYTES = 36, 150_000
"""Samples on a page, and bytes of all their images."""


class Sample(NamedTuple):
    """A test image and the prediction of the model."""

    image: str
    """A PNG file in base64."""
    label: str
    predicted: str
    probability: float | None
    right: bool


class _Prediction(BaseModel):
    image: Base64Bytes
    label: int
    predicted: int
    probability: float | None = Field(None, ge=0, le=1)


class _Predictions(BaseModel):
    classes: list[str]
    samples: list[_Prediction]

    def name(self, i: int) -> str:
        return one_line(self.classes[i] if 0 <= i < len(self.classes) else i, 60)


def read_samples(path: Path, problems: list[str]) -> list[Sample]:
    """Return the samples, wrong ones first, as many as fit on a page. What is wrong with the file is added to `problems`."""
    try:
        return list(_samples(_Predictions.model_validate(json.loads(path.read_bytes()))))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError):
        problems.append(f"{path.name}: not a list of samples with image, label and predicted class")
        return []


def _samples(found: _Predictions) -> Iterator[Sample]:
    room = _MAX_IMAGE_BYTES
    for each in sorted(found.samples[:_MAX_SAMPLES], key=lambda each: each.label == each.predicted):
        if not each.image.startswith(_PNG):
            raise ValueError("not a PNG file")
        image, right = base64.b64encode(each.image).decode(), each.label == each.predicted
        room -= len(image)
        if room >= 0:
            yield Sample(image, found.name(each.label), found.name(each.predicted), each.probability, right)
