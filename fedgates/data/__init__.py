"""Where examples come from and who holds which: :func:`load` or :func:`own`, :func:`partition`, :func:`to_tensors`."""

from fedgates.data.dataset import Dataset, Examples
from fedgates.data.partition import partition
from fedgates.data.sources import load, load_once, own
from fedgates.data.tensors import normalise, to_tensors

__all__ = ["Dataset", "Examples", "load", "load_once", "normalise", "own", "partition", "to_tensors"]
