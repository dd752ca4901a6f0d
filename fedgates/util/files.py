"""Files whose name only ever stands for the whole of them, and files that one process holds at a time."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PART = ".part"


def write_atomically(target: Path, data: bytes) -> None:
    """Write a file, or what a link by this name leads to, so that its name only ever stands for the whole of it.

    Several processes may do so at once. One that is killed meanwhile leaves ``.NAME.….part`` behind.
    """
    target = Path(os.path.realpath(target))
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}{_PART}")
    try:
        with part.open("xb") as file:
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


def sweep(folder: Path, *names: str) -> None:
    """Remove what killed processes have left of files whose names fit these patterns, and that nobody else writes now."""
    for name in names:
        for part in folder.glob(f".{name}.*{_PART}"):
            part.unlink(missing_ok=True)


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
