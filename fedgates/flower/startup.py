"""Start of a Flower simulation: the config is checked before Ray starts, so that an error is the last line printed.

Flower's simulation runs the ServerApp in a thread, while its main thread loads the ClientApp and then starts Ray. Our ClientApp
blocks the main thread while it is loaded, until the ServerApp has checked everything or has ended the process.
"""

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from fedgates.errors import ConfigError

_SERVER_THREAD = "server_th_with_start_checks"
"""Part of the name of the thread in which Flower runs the ServerApp; without such a thread, nothing waits."""
_checked, _registered = threading.Event(), threading.Event()
_SETTLED, _START, _PAUSE = 5.0, 300.0, 0.1
"""Seconds without a new node after which all are registered, seconds to wait for the first node, and seconds between polls."""
_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
"""The longest path of a socket that Ray creates below its temporary folder."""
_LONGEST_SOCKET = 107
"""Largest number of bytes in the path of a Unix socket."""


def config_is_checked() -> None:
    """Let Ray start, because the ServerApp has found no error."""
    _checked.set()


def wait_for_check() -> None:
    """Block the main thread of Flower's simulation process until :func:`config_is_checked`; do nothing in other processes."""
    if in_simulation() and threading.current_thread() is threading.main_thread():
        warnings.filterwarnings("ignore", message="Tip: In future versions of Ray", category=FutureWarning)
        _leave_folder()
        while any(_SERVER_THREAD in thread.name for thread in threading.enumerate()):
            _registered.set()
            if _checked.wait(_PAUSE):
                break


def wait_for_nodes(count: Callable[[], int]) -> None:
    """Block the ServerApp of Flower's simulation until all nodes are registered.

    All nodes are registered when Flower loads our ClientApp. If the ClientApp was loaded before or is not ours, the function
    waits until the number of nodes, as returned by `count`, has not changed for five seconds.
    """
    now = time.monotonic()
    before, since, end = count(), now, now + _START
    while not _registered.wait(_PAUSE):
        found, now = count(), time.monotonic()
        if found != before:
            before, since = found, now
        if now >= end if not found else now - since >= _SETTLED:
            return


def check_temporary_folder() -> None:
    """Check that Ray can create its sockets in the temporary folder.

    Raises
    ------
    ConfigError
        The path in the environment variable `RAY_TMPDIR` or `TMPDIR` is too long.
    """
    key = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    folder, most = os.environ.get(key, ""), _LONGEST_SOCKET - len(_SOCKET)
    if in_simulation() and len(os.fsencode(folder)) > most:
        expected = (
            f"a folder whose path has at most {most} bytes, for Ray's Unix sockets; Flower's local SuperLink keeps its value"
        )
        raise ConfigError(key, folder, expected)


def in_simulation() -> bool:
    """Return whether this process is Flower's simulation engine."""
    return Path(sys.argv[0]).name == "flwr-simulation"


def _leave_folder() -> None:
    """Change the working directory, which is the folder in which the SuperLink was started.

    Ray's workers would search it for modules before the app, and it may have another clone of the app. A run neither reads nor
    writes files there.
    """
    os.chdir("/")


def end_flower_process() -> None:
    """Terminate Flower's process with SIGTERM, as Flower itself does, so that the run is marked as failed at once.

    An exception would mark the run as well, but only after Ray has started and stopped, and with a traceback. Processes other
    than Flower's, recognised by their handler of SIGTERM, are not terminated.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if getattr(handler, "__module__", "").startswith("flwr."):
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGTERM)
