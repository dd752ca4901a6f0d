"""How a simulation starts: the config is checked before Ray, and what is wrong with it is the last thing printed.

Flower's simulation runs the ServerApp in a thread; beside it, its main thread loads the ClientApp and then starts Ray. The
ClientApp is ours, so the main thread can be held there until the ServerApp has checked everything, or has ended the process.
"""

import os
import signal
import sys
import threading
import warnings
from pathlib import Path

_SERVER_THREAD = "server_th_with_start_checks"
"""Part of the name of the thread in which Flower runs the ServerApp; if none is called so, nobody waits for it."""
_checked = threading.Event()


def config_is_checked() -> None:
    """The ServerApp found nothing wrong: Ray may start."""
    _checked.set()


def wait_for_check() -> None:
    """Hold the main thread of Flower's simulation process until :func:`config_is_checked`; elsewhere do nothing."""
    if Path(sys.argv[0]).name == "flwr-simulation" and threading.current_thread() is threading.main_thread():
        warnings.filterwarnings("ignore", message="Tip: In future versions of Ray", category=FutureWarning)
        _leave_folder()
        while not _checked.wait(0.1) and any(_SERVER_THREAD in thread.name for thread in threading.enumerate()):
            pass


def _leave_folder() -> None:
    """Leave the folder in which the SuperLink happened to be started: nothing that a run reads or writes lies there.

    Ray's workers would look for modules in it before they look in the app that was sent, and it may be another clone of it.
    """
    os.chdir("/")


def end_flower_process() -> None:
    """Let Flower's process end the way it ends when told to stop: at once, and with the run marked as failed.

    Raising alone would mark the run, too, but only after Ray has come and gone, and under a traceback. Where the process is not
    Flower's own (its handler of SIGTERM tells), nothing happens here.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if getattr(handler, "__module__", "").startswith("flwr."):
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGTERM)
