"""``devices.json``: the node of each client number in a run on real devices, so that a resumed run keeps them."""

import json
from collections.abc import Mapping
from pathlib import Path

from fedgates.errors import ConfigError
from fedgates.util.files import write_atomically

FILE_NAME = "devices.json"


def write_devices(folder: Path, owners: Mapping[int, int]) -> None:
    """Write the number of the node for each client number."""
    write_atomically(folder / FILE_NAME, json.dumps({str(name): owners[name] for name in sorted(owners)}, indent=1).encode())


def read_devices(folder: Path) -> dict[int, int]:
    """Return client number to node number; empty where the run has not written any.

    Raises
    ------
    ConfigError
        The file is damaged; names `resume`.
    """
    try:
        found = json.loads((folder / FILE_NAME).read_bytes())
        return {int(name): int(node) for name, node in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        expected = f"a run with a valid {FILE_NAME} ({type(error).__name__}); without the file, numbers are given anew"
        raise ConfigError("resume", str(folder), expected) from error
