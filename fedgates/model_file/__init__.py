"""``model.fedgates``: a finished model as a small file, and back to a ``torch.nn.Module``.

A mask method ends with a network whose weights follow from a seed and a mask of those that are kept, so the file contains the
mask, coded by :mod:`fedgates.wire`, and facts. The facts include the layers, so that a file can be inspected without its
network. The file of a weight method contains the kept values, too. Reading needs only torch and NumPy and their own
requirements, and nothing in a file is unpickled, imported or executed.

The file, integers little-endian: magic ``FGMD``; version, u16; length of the facts, u32; the facts, JSON compressed by zlib;
length of the statistics, u32; the statistics, float32; the payload, to the last four bytes; and CRC-32 of all before, u32. The
payload is an update of a mask (codec packed or entropy, FORMAT.md) where the weights are frozen ones under one, else a state of
weights. Statistics are mean and variance of each channel of each batch norm, in the order of the layers. In training they are
those of the batch; a finished model must not depend on the other images of a batch, so it uses their means over the images that
it was evaluated on, which makes the file 8 bytes per channel larger.
"""

import importlib
from typing import TYPE_CHECKING

from fedgates.errors import ModelFileError
from fedgates.model_file.contents import Contents, read_contents
from fedgates.model_file.facts import Facts

if TYPE_CHECKING:
    from fedgates.model_file.model import Model
    from fedgates.model_file.reading import load
    from fedgates.model_file.writing import save

__all__ = ["Contents", "Facts", "Model", "ModelFileError", "load", "read_contents", "save"]
_WITH_TORCH = {"Model": "model", "load": "reading", "save": "writing"}


def __getattr__(name: str) -> object:
    """Import a name that needs torch; :func:`read_contents` does not."""
    if name not in _WITH_TORCH:
        raise AttributeError(f"module 'fedgates.model_file' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fedgates.model_file.{_WITH_TORCH[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
