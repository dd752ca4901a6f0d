"""Loading of a network's weights from a safetensors file."""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from fedgates.config.names import folder
from fedgates.errors import ConfigError
from fedgates.util.text import error_line, name_list, one_line


def load_weights(module: nn.Module, path: str | Path, fresh: Collection[str] = ()) -> None:
    """Load a network's parameters and saved buffers from a file, in place.

    Parameters
    ----------
    module : torch.nn.Module
        The network, as its function returns it.
    path : str or Path
        A safetensors file with tensors under the names of the network's ``state_dict``. Tensors with other names are ignored.
    fresh : collection of str
        Names of parameters that are not loaded.

    Raises
    ------
    ConfigError
        The file cannot be read, a tensor is missing or has a wrong shape, or a number is not finite; the message names
        `weights`.
    """
    stored = _read(str(path))
    wanted = module.state_dict()
    shared = _names_by_storage(wanted)
    missing, misshapen = [], []
    with torch.no_grad():
        for name, own in wanted.items():
            names = shared[_storage(own)]
            if any(each in fresh for each in names):
                continue
            found = stored.get(name)
            if found is None:
                # files store a shared parameter once; num_batches_tracked does not affect outputs
                if not any(each in stored for each in names) and not name.endswith("num_batches_tracked"):
                    missing.append(name)
            elif found.shape != own.shape:
                misshapen.append((name, found.shape, own.shape))
            elif found.is_floating_point() and not bool(found.isfinite().all()):
                raise ConfigError("weights", str(path), f"finite numbers, but {name!r} has others")
            else:
                own.copy_(found)
    if missing:
        expected = f"a file with the network's {name_list(missing)}; it has {name_list(list(stored))}"
        raise ConfigError("weights", str(path), f"{expected} (list parameters that should not be loaded in fresh)")
    if misshapen:
        name, there, here = misshapen[0]
        expected = f"{name!r} of shape {list(here)}, not {list(there)} (list parameters that should not be loaded in fresh)"
        raise ConfigError("weights", str(path), expected)


def _storage(tensor: Tensor) -> tuple[object, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride()


def _names_by_storage(tensors: Mapping[str, Tensor]) -> dict[tuple[object, ...], list[str]]:
    """Group the names of tensors that share the same storage."""
    found: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in tensors.items():
        found.setdefault(_storage(tensor), []).append(name)
    return found


def _read(path: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file  # noqa: PLC0415  # loading a model file does not need safetensors

    try:
        return load_file(folder(path))
    except Exception as error:  # OSError, or safetensors' own exceptions
        raise ConfigError("weights", path, f"a safetensors file that can be read ({one_line(error_line(error))})") from error
