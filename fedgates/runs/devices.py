"""Files with what a resumed run needs to know of its real devices.

``devices.json`` maps client numbers to Flower node IDs; ``device-classes.json`` lists the names of the classes by label.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedgates.errors import ConfigError
from fedgates.util.files import write_atomically

FILE_NAME = "devices.json"
CLASSES = "device-classes.json"


def write_devices(folder: Path, owners: Mapping[int, int]) -> None:
    """Write the mapping from client numbers to node IDs."""
    write_atomically(folder / FILE_NAME, json.dumps({str(name): owners[name] for name in sorted(owners)}, indent=1).encode())


def read_devices(folder: Path) -> dict[int, int]:
    """Return the mapping from client numbers to node IDs; empty if the file does not exist.

    Raises
    ------
    ConfigError
        Key `resume`: the file is damaged.
    """
    try:
        found = _read(folder, FILE_NAME)
        return {int(name): int(node) for name, node in found.items()} if found is not None else {}
    except (ValueError, TypeError, AttributeError) as error:
        raise _damaged(folder, FILE_NAME, error, "devices get new client numbers") from error


def write_classes(folder: Path, class_names: Sequence[str]) -> None:
    """Write the names of the classes."""
    write_atomically(folder / CLASSES, json.dumps(list(class_names), indent=1).encode())


def read_classes(folder: Path) -> tuple[str, ...]:
    """Return the names of the classes; empty if the file does not exist.

    Raises
    ------
    ConfigError
        Key `resume`: the file is damaged.
    """
    try:
        return tuple(map(str, _read(folder, CLASSES) or ()))
    except (ValueError, TypeError) as error:
        raise _damaged(folder, CLASSES, error, "the class names of the majority of devices are used") from error


def _read(folder: Path, name: str) -> Any:  # noqa: ANN401  # a damaged file may hold any JSON
    try:
        return json.loads((folder / name).read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(str(error)) from error


def _damaged(folder: Path, name: str, error: Exception, without: str) -> ConfigError:
    expected = f"a run with a valid {name} ({type(error).__name__}); without the file, {without}"
    return ConfigError("resume", str(folder), expected)
