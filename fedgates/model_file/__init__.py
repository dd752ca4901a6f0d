"""``model.fedgates``: a finished model as a small file, and back to a ``torch.nn.Module``.

What a mask method ends with is a network whose weights follow from a seed and a mask that says which of them are kept, so the
file is the mask, coded by :mod:`fedgates.wire`, and some facts, among them the layers, so that a file can be looked into where
its network is unknown. A weight method's file has the kept values, too. Reading needs
torch and NumPy and what they need, no more, and nothing in a file is unpickled, imported or run.

The file, integers little-endian: magic ``FGMD``; version, u16; length of the facts, u32; the facts, JSON compressed by zlib;
length of the statistics, u32; the statistics, float32; the payload, to the last four bytes; and CRC-32 of all before, u32. The
payload is an update of a mask (codec packed or entropy, FORMAT.md) where the weights are frozen ones under one, else a state of
weights. Statistics are mean and variance of each channel of each batch norm, in the order of the layers: in training these come
from the batch; a finished model must not depend on what else is in a batch, so it has the means of those of the images that it
was tried on, and its file is 8 bytes a channel larger.
"""

import importlib
from typing import TYPE_CHECKING

from fedgates.errors import ModelFileError
from fedgates.model_file.contents import Contents, look
from fedgates.model_file.facts import Facts

if TYPE_CHECKING:
    from fedgates.model_file.model import Model
    from fedgates.model_file.reading import load
    from fedgates.model_file.writing import save

__all__ = ["Contents", "Facts", "Model", "ModelFileError", "load", "look", "save"]
_WITH_TORCH = {"Model": "model", "load": "reading", "save": "writing"}


def __getattr__(name: str) -> object:
    """What needs torch, imported when it is asked for: what a file says of itself is read without."""
    if name not in _WITH_TORCH:
        raise AttributeError(f"module 'fedgates.model_file' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fedgates.model_file.{_WITH_TORCH[name]}"), name)
