"""Where examples come from: :func:`load` or :func:`own`; who holds which: :func:`partition`, :func:`shares`; and tensors."""

from fedgates.data.dataset import Dataset, Examples
from fedgates.data.partition import partition
from fedgates.data.shares import shares
from fedgates.data.sources import load, load_once, own
from fedgates.data.tensors import normalise, to_tensors

__all__ = ["Dataset", "Examples", "load", "load_once", "normalise", "own", "partition", "shares", "to_tensors"]
