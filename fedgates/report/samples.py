"""The samples of ``predictions.json``, each checked before it is shown."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, Field

from fedgates.util.text import one_line

_PNG = "^iVBORw0KGgo[A-Za-z0-9+/]*=*$"
"""The base64 of a PNG file."""
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
    image: str = Field(pattern=_PNG)
    label: int
    predicted: int
    probability: float | None = Field(None, ge=0, le=1)


class _Predictions(BaseModel):
    classes: list[str]
    samples: list[_Prediction]


def read_samples(path: Path) -> list[Sample]:
    """Return the samples, wrong ones first, as many as fit on a page.

    Raises
    ------
    ValueError
        The file cannot be read, or has other contents.
    """
    try:
        return list(_samples(_Predictions.model_validate(json.loads(path.read_bytes()))))
    except (OSError, ValueError, RecursionError):
        raise ValueError(f"{path.name}: not a list of samples with image, label and predicted class") from None


def _samples(found: _Predictions) -> Iterator[Sample]:
    room, names = _MAX_IMAGE_BYTES, dict(enumerate(found.classes))
    for each in sorted(found.samples[:_MAX_SAMPLES], key=lambda each: each.label == each.predicted):
        room -= len(each.image)
        if room >= 0:
            label, predicted = (one_line(names.get(i, i), 60) for i in (each.label, each.predicted))
            yield Sample(each.image, label, predicted, each.probability, each.label == each.predicted)
