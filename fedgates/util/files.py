"""Atomic writes, and file locks."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PART = ".part"
_LOOKS, _PAUSE = 6, 0.002
"""Number of attempts of :func:`is_locked` to lock a file, and seconds between the first two; later pauses are longer."""


def write_atomically(target: Path, data: bytes) -> None:
    """Write a file atomically: readers see either the old or the complete new content. Symbolic links are followed.

    Several processes may write the same file. A process that is killed while writing leaves ``.NAME.….part`` behind.

    Raises
    ------
    OSError
        The file cannot be written; `filename` of the error is the target.
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
        error.filename = str(target)  # Python names no file if the disk is full
        with suppress(OSError):
            part.unlink()
        raise
    if os.name == "nt":  # Windows cannot open folders
        return
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def sweep(folder: Path, *names: str) -> None:
    """Remove partial files that killed processes left for these file name patterns; no process may be writing such a file."""
    for name in names:
        for part in folder.glob(f".{name}.*{_PART}"):
            part.unlink(missing_ok=True)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Lock a file within the context, and create it if it is missing; the lock is also released when the process ends.

    Raises
    ------
    BlockingIOError
        The file is locked by another process, or elsewhere in this one.
    OSError
        The file cannot be written.
    """
    from filelock import lock_descriptor  # noqa: PLC0415  # training needs no lock, and may run with an older version

    with file.open("w") as lock:
        if not lock_descriptor(lock.fileno(), blocking=False):
            raise BlockingIOError(f"{file} is locked")
        yield


def is_locked(file: Path) -> bool:
    """Return whether a process holds the lock of a file; False if the file cannot be read. Write permission is not needed."""
    from filelock import lock_descriptor  # noqa: PLC0415

    try:
        with file.open("r+" if os.access(file, os.W_OK) else "r") as lock:  # NFS locks only files that are open for writing
            for attempt in range(_LOOKS):
                time.sleep(_PAUSE * attempt)  # a concurrent is_locked holds the lock for an instant
                if lock_descriptor(lock.fileno(), blocking=False):
                    return False
    except OSError:
        return False
    return True
