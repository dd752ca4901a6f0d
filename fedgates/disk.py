"""Files whose name only ever stands for the whole of them."""

import os
from pathlib import Path


def write_atomically(target: Path, data: bytes) -> None:
    """Write a file so that its name only ever stands for the whole of it."""
    part = target.with_name(target.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(target)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
