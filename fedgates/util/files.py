"""Atomic writing of files, and files that one process locks at a time."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PART = ".part"
_LOOKS, _PAUSE = 3, 0.01
"""Attempts to lock a file to find out whether it is locked, and seconds between them, which become longer."""


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
    if os.name == "nt":  # which opens no folders
        return
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
    from filelock import lock_descriptor  # noqa: PLC0415  # what only trains needs no lock, and may have an older version

    with file.open("w") as lock:
        if not lock_descriptor(lock.fileno(), blocking=False):
            raise BlockingIOError(f"{file} is locked")
        yield


def is_locked(file: Path) -> bool:
    """Return whether a process has locked a file. Needs no right to write to it; a file that cannot be read is not locked."""
    from filelock import lock_descriptor  # noqa: PLC0415

    try:
        with file.open("r+" if os.access(file, os.W_OK) else "r") as lock:  # NFS locks only what is open for writing
            for attempt in range(_LOOKS):
                time.sleep(_PAUSE * attempt)  # another process that looks has the lock for an instant
                if lock_descriptor(lock.fileno(), blocking=False):
                    return False
    except OSError:
        return False
    return True
