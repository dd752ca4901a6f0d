"""The bundled data set: 1,797 handwritten digits of 8x8 pixels; ``digits.json`` names their source."""

import json
from importlib import resources
from typing import Any

import numpy as np

from fedgates.data.dataset import Dataset, Examples

SIDE = 8
INK = 16
_PIXELS = np.array([int(chr(code), 17) if chr(code) in "0123456789abcdefg" else 0 for code in range(256)], np.uint16)


def digits() -> Dataset:
    """Read the digits: 1,437 training and 360 test images, uint8 ``[n, 8, 8, 1]``, 0 for paper and 255 for ink."""
    content = json.loads(resources.files(__package__).joinpath("digits.json").read_text(encoding="ascii"))
    names = tuple(map(str, range(10)))
    return Dataset("digits", _examples(content["train"]), _examples(content["test"]), 10, names)


def _examples(part: dict[str, Any]) -> Examples:
    pixels = _PIXELS[np.frombuffer("".join(part["images"]).encode("ascii"), np.uint8)]
    labels = np.frombuffer(part["labels"].encode("ascii"), np.uint8).astype(np.int64) - ord("0")
    return Examples((pixels * 255 // INK).astype(np.uint8).reshape(-1, SIDE, SIDE, 1), labels)
