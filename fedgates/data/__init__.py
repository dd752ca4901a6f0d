"""Data sets (:func:`load`, :func:`own`), their partition among clients (:func:`partition`, :func:`shares`), and tensors."""

from fedgates.data.dataset import Dataset, Examples
from fedgates.data.partition import partition
from fedgates.data.shares import shares, unheld
from fedgates.data.sources import load, load_once, own
from fedgates.data.tensors import normalise, to_tensors

__all__ = ["Dataset", "Examples", "load", "load_once", "normalise", "own", "partition", "shares", "to_tensors", "unheld"]
