"""Data sets (:func:`load`, :func:`own`), their partition among clients (:func:`partition`, :func:`shares`), and tensors."""

from fedgates.data.dataset import Dataset, Examples
from fedgates.data.digest import data_digest
from fedgates.data.partition import partition
from fedgates.data.shares import not_held, shares
from fedgates.data.sources import load, load_once, own
from fedgates.data.tensors import normalise, to_tensors

__all__ = [
    "Dataset",
    "Examples",
    "data_digest",
    "load",
    "load_once",
    "normalise",
    "not_held",
    "own",
    "partition",
    "shares",
    "to_tensors",
]
