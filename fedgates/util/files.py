"""Atomic writing of files, and files that one process locks at a time."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PART = ".part"


def write_atomically(target: Path, data: bytes) -> None:
    """Write a file atomically: readers see the old content or the whole new one. A symbolic link is followed.

    Several processes may write the same file. A process that is killed while writing leaves ``.NAME.….part`` behind.
    """
    target = Path(os.path.realpath(target))
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}{_PART}")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        error.filename = str(target)  # Python names no file where the disk is full
        with suppress(OSError):
            part.unlink()
        raise
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def sweep(folder: Path, *names: str) -> None:
    """Remove the partial files of killed processes, for names that match these patterns; no process may be writing them."""
    for name in names:
        for part in folder.glob(f".{name}.*{_PART}"):
            part.unlink(missing_ok=True)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Lock a file, which is created if missing, for the duration of the context; the end of the process releases it, too.

    Raises
    ------
    BlockingIOError
        The file is locked by another process, or elsewhere in this one.
    OSError
        The file cannot be written.
    """
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
