"""Files whose name only ever stands for the whole of them, and files that one process holds at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(target: Path, data: bytes) -> None:
    """Write a file so that its name only ever stands for the whole of it."""
    part = target.with_name(target.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a file, which is made if it is not there, until left; whatever ends the process lets it go, too.

    Raises
    ------
    BlockingIOError
        Another process holds it, or this one somewhere else.
    OSError
        It cannot be written.
    """
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
