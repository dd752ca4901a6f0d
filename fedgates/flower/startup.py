"""The start of a simulation: the config is checked before Ray starts, so that an error is the last line printed.

Flower's simulation runs the ServerApp in a thread, while its main thread loads the ClientApp and then starts Ray. Loading our
ClientApp waits in the main thread until the ServerApp has checked everything, or has ended the process.
"""

import os
import signal
import sys
import threading
import warnings
from pathlib import Path

_SERVER_THREAD = "server_th_with_start_checks"
"""Part of the name of the thread in which Flower runs the ServerApp; without such a thread there is no wait."""
_checked = threading.Event()


def config_is_checked() -> None:
    """Let Ray start: the ServerApp has found no error."""
    _checked.set()


def wait_for_check() -> None:
    """Block the main thread of Flower's simulation process until :func:`config_is_checked`; do nothing in other processes."""
    if Path(sys.argv[0]).name == "flwr-simulation" and threading.current_thread() is threading.main_thread():
        warnings.filterwarnings("ignore", message="Tip: In future versions of Ray", category=FutureWarning)
        _leave_folder()
        while not _checked.wait(0.1) and any(_SERVER_THREAD in thread.name for thread in threading.enumerate()):
            pass


def _leave_folder() -> None:
    """Leave the folder in which the SuperLink was started; a run reads and writes nothing there.

    Ray's workers would look for modules in it before they look in the app, and it may be another clone of the app.
    """
    os.chdir("/")


def end_flower_process() -> None:
    """End Flower's process by SIGTERM, as Flower itself does: at once, with the run marked as failed.

    Raising would mark the run, too, but only after Ray has started and stopped, and with a traceback. Does nothing in a process
    that is not Flower's, which its handler of SIGTERM shows.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if getattr(handler, "__module__", "").startswith("flwr."):
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGTERM)
