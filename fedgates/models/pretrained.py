"""Weights for a network from a safetensors file."""

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
        The network, with the parameters and buffers of its function.
    path : str or Path
        A safetensors file, with tensors under the names of the network's ``state_dict``. Tensors of other names are ignored.
    fresh : collection of str
        Names of parameters that are left as they are, whatever the file has.

    Raises
    ------
    ConfigError
        The file cannot be read, or lacks a tensor, or has one of another shape or with a number that is not finite; names
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
                # files have a shared parameter once; no network computes with the number of batches
                if not any(each in stored for each in names) and not name.endswith("num_batches_tracked"):
                    missing.append(name)
            elif found.shape != own.shape:
                misshapen.append((name, found.shape, own.shape))
            elif found.is_floating_point() and not bool(found.isfinite().all()):
                raise ConfigError("weights", str(path), f"finite numbers; {name!r} has others")
            else:
                own.copy_(found)
    if missing:
        expected = f"a file with {name_list(missing)}, which the network has; it has {name_list(list(stored))}"
        raise ConfigError("weights", str(path), f"{expected} (fresh names what is not to be loaded)")
    if misshapen:
        name, there, here = misshapen[0]
        expected = f"{name!r} of shape {list(here)}, not {list(there)} (fresh names what is not to be loaded)"
        raise ConfigError("weights", str(path), expected)


def _storage(tensor: Tensor) -> tuple[object, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride()


def _names_by_storage(tensors: Mapping[str, Tensor]) -> dict[tuple[object, ...], list[str]]:
    """Return the names of the tensors that are one and the same."""
    found: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in tensors.items():
        found.setdefault(_storage(tensor), []).append(name)
    return found


def _read(path: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file  # noqa: PLC0415  # loading a model file without it needs no safetensors

    try:
        return load_file(folder(path))
    except Exception as error:  # an operating system's errors and safetensors' own
        raise ConfigError("weights", path, f"a safetensors file that can be read ({one_line(error_line(error))})") from error
