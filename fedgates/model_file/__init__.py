"""``model.fedgates``: save a trained model to a small file, and load it as a ``torch.nn.Module``.

The weights of a model trained by a mask method follow from a seed and a mask, so the file contains the mask, coded by
:mod:`fedgates.wire`, and a description of the model, called facts. The file of a weight method also contains the nonzero
values. The facts include the layers, so a file can be inspected without its network. Reading a file needs only torch and NumPy,
and never unpickles, imports or executes anything in it.

Format, with little-endian integers: magic ``FGMD``; version, u16; length of the facts, u32; the facts, JSON compressed with
zlib; length of the statistics, u32; the statistics, float32; the payload; and CRC-32 of everything before, u32, in the last
four bytes. The payload is a mask update (codec packed or entropy, FORMAT.md) if the weights are masked frozen weights,
otherwise a state of weights.

Statistics are mean and variance of each channel of each batch norm, in the order of the layers. In training, batch norms use
the statistics of the batch. Predictions of a finished model must not depend on the other examples in a batch, so the file has
the statistics over all clients' examples, 8 bytes per channel.
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
    """Import a name from a module that needs torch; :func:`read_contents` works without torch."""
    if name not in _WITH_TORCH:
        raise AttributeError(f"module 'fedgates.model_file' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fedgates.model_file.{_WITH_TORCH[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
