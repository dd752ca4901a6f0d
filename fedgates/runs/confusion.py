"""Write and read ``confusion.json``, the confusion matrix on the server's test set at the last evaluation."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fedgates.util.files import write_atomically

FILE_NAME = "confusion.json"
MAX_CLASSES = 200
"""Largest number of classes with a confusion matrix; the file is rewritten after every evaluation and should stay small."""
_MAX_COUNT = 10**9


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix.

    Attributes
    ----------
    round : int
        The round after which the model was evaluated.
    classes : sequence of str
        Names of the C classes.
    counts : sequence of sequences of int
        Shape ``[C, C]``; entry (i, j) is the number of test examples of class i predicted as class j.
    """

    round: int
    classes: Sequence[str]
    counts: Sequence[Sequence[int]]


def write_confusion(folder: Path, confusion: Confusion) -> None:
    """Write ``confusion.json`` in the folder of a run atomically."""
    write_atomically(folder / FILE_NAME, (json.dumps(asdict(confusion)) + "\n").encode())


def read_confusion(folder: Path) -> Confusion | None:
    """Return the confusion matrix in the folder of a run, or None if there is none.

    Raises
    ------
    ValueError
        The file cannot be read, or is not a confusion matrix of at most 200 classes.
    """
    try:
        found = Confusion(**json.loads((folder / FILE_NAME).read_bytes()))
        names, rows = found.classes, found.counts
        counts = [count for row in rows for count in row if type(row) is list and len(row) == len(names)]
        sound = type(names) is list and all(type(name) is str for name in names) and 0 < len(names) <= MAX_CLASSES
        whole = all(type(count) is int and 0 <= count <= _MAX_COUNT for count in [found.round, *counts])
    except FileNotFoundError:
        return None
    except (OSError, TypeError, ValueError, RecursionError):
        sound = False
    if not sound or not whole or len(rows) != len(names) or len(counts) != len(names) ** 2:
        raise ValueError(f"{FILE_NAME}: not a confusion matrix with a round, classes and counts")
    return found
