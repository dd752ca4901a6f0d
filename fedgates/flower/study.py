"""Run the jobs of a study on the loopback grid: check all jobs first, then run several in parallel, each in its own process.

A run is written to ``seed1.part/`` and renamed to ``seed1/`` when it has finished, so a folder with its final name has a
finished run.
"""

import hashlib
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from fedgates.compare.runs import NOT_COMPARED, read_run
from fedgates.compare.study import Job
from fedgates.config import merged
from fedgates.errors import ConfigError, NetworkError
from fedgates.federation.setup import prepare
from fedgates.flower.app import AppError, load_app, run_one
from fedgates.runs.config_file import run_values
from fedgates.runs.round_log import LogReader
from fedgates.runs.totals import Line
from fedgates.util.files import locked
from fedgates.util.text import error_line

_LOG = "log.txt"
_LOOK = 0.25
"""Seconds between polls of the runs in progress."""
_FRESH = (
    multiprocessing.get_context("forkserver")
    if "forkserver" in multiprocessing.get_all_start_methods()
    else multiprocessing.get_context("spawn")
)
"""Context of processes that share nothing with this one: no modules of the app, no CUDA context, no logger. If possible, they
are forked from a server that has imported everything that runs need, because imports take longer than a short run."""
_PRELOADED = ["fedgates.flower.study", "flwr_datasets.partitioner", "matplotlib.figure", "torch"]
if isinstance(_FRESH, ForkServerContext):  # safe: importing torch starts no threads and opens no device
    _FRESH.set_forkserver_preload(_PRELOADED)


class StudyError(RuntimeError):
    """Raised if a run of a study cannot be started; the message is one line."""


Progress = Mapping[Job, Sequence[Line]]
"""Lines of ``rounds.jsonl`` so far of each job that has started."""


@dataclass(frozen=True)
class Outcome:
    """Result of the jobs of a study."""

    folders: dict[Job, Path]
    """Folder of each run that finished."""
    failed: dict[Job, str]
    """Reason for each job that failed."""
    logs: dict[Job, Path]
    """Log file of each job that failed."""


def study_folder(runs: Path, app: Path, study: Path) -> Path:
    """Return the folder for a study's runs: its name, with a suffix that is unique for the study file and the app."""
    identity = hashlib.blake2b(f"{app.resolve()}\n{study.resolve()}".encode(), digest_size=4).hexdigest()
    return runs / f"{study.stem}-{identity}"


@contextmanager
def lock_study(folder: Path) -> Iterator[None]:
    """Context manager that creates a study's folder and locks it for this process.

    Raises
    ------
    ConfigError
        Key `--runs`: the folder is not writable, or another process is running the study.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder / ".lock"))
        except BlockingIOError:
            raise ConfigError("--runs", str(folder), "a folder in which no other process is running this study") from None
        except OSError as error:
            raise ConfigError("--runs", str(folder), f"a writable folder ({error.strerror})") from None
        yield


def check_jobs(folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Check all jobs in a separate process, and return the values of the ``config.json`` of each.

    Raises
    ------
    StudyError
        The app cannot be loaded, or a job is invalid; the message names the first such job.
    """
    ignore = (signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C, which reaches both
    with ProcessPoolExecutor(1, mp_context=_FRESH, initializer=signal.signal, initargs=ignore) as pool:
        found = pool.submit(_check, folder, jobs).result()
    if isinstance(found, str):
        raise StudyError(found)
    return found


def finished(folder: Path, wanted: Mapping[str, Any]) -> bool:
    """Return whether a folder has a finished run with this ``config.json``, ignoring where the run was written."""
    try:
        found = read_run(folder).config
    except ConfigError:
        return False
    return _compared(found) == _compared(wanted)


def run_jobs(app: Path, jobs: Mapping[Job, Path], workers: int, on_progress: Callable[[Progress, Outcome], None]) -> Outcome:
    """Run jobs, `workers` in parallel; the failure of a job does not stop the others.

    Parameters
    ----------
    app : Path
        The Flower app's folder.
    jobs : mapping
        Mapping from job to the folder of its run; an existing run is replaced when the new one has finished.
    workers : int
        Number of parallel processes, each with one thread.
    on_progress : callable
        Called several times a second with the lines of all jobs and the outcome so far.
    """
    waiting, running = deque(jobs), dict[Job, BaseProcess]()
    outcome, logs = Outcome({}, {}, {}), dict[Job, LogReader]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.popleft()
                running[job] = _start(app, job, _part(jobs[job]))
            wait([process.sentinel for process in running.values()], _LOOK)
            for job, process in list(running.items()):
                _read_rounds(job, _part(jobs[job]), logs)
                if process.exitcode is not None:
                    del running[job]
                    _close(job, process.exitcode, jobs[job], outcome)
            on_progress({job: log.lines for job, log in logs.items()}, outcome)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.join()
    return outcome


def _start(app: Path, job: Job, part: Path) -> BaseProcess:
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    process = _FRESH.Process(target=_work, args=(app, job, part))
    process.start()
    return process


def _close(job: Job, exit_code: int, folder: Path, outcome: Outcome) -> None:
    """Move a finished run to its folder, or record the reason why it failed."""
    part = _part(folder)
    found = [path.parent for path in part.glob("*/config.json")]
    if exit_code or len(found) != 1:
        outcome.logs[job] = part / _LOG
        outcome.failed[job] = _reason(part / _LOG, exit_code)
        return
    (part / _LOG).replace(found[0] / _LOG)
    shutil.rmtree(folder, ignore_errors=True)
    found[0].replace(folder)
    shutil.rmtree(part)
    outcome.folders[job] = folder


def _reason(log: Path, exit_code: int) -> str:
    if exit_code < 0:
        return f"ended by {signal.Signals(-exit_code).name}"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), f"ended with exit code {exit_code}")


def _read_rounds(job: Job, part: Path, logs: dict[Job, LogReader]) -> None:
    """Read the new lines in the log of a run, if the run has started."""
    if job not in logs:
        logs.update((job, LogReader(path.parent)) for path in part.glob("*/config.json"))
    if job in logs:
        logs[job].update()


def _part(folder: Path) -> Path:
    return folder.with_name(folder.name + ".part")


def _compared(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in NOT_COMPARED}


# --- in the processes


def _check(folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any]] | str:
    """Check all jobs; return errors as text, because not all exceptions can be pickled."""
    torch.set_num_threads(1)
    job, found = None, []
    try:
        app = load_app(folder)
        for job in jobs:
            setup = prepare(merged(app.config, job.config), app.server.methods, partial(int, job.clients))
            found.append(run_values(setup.method.config, job.clients, setup.dataset.digest))
    except Exception as error:  # noqa: BLE001  # user-defined methods may raise anything
        line = str(error) if isinstance(error, ConfigError | NetworkError) else error_line(error)
        return f"{job}: {line}" if job else line
    return found


def _work(app: Path, job: Job, part: Path) -> None:
    """Run one job; if it fails, the last line of its log has the error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal, and the parent handles it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log = os.open(part / _LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, encoding="utf-8", closefd=False)
    torch.set_num_threads(1)
    try:
        run_one(load_app(app), job.config, job.clients, part)
    except Exception as error:  # noqa: BLE001  # any exception of an app ends only this run
        traceback.print_exc()
        print(str(error) if isinstance(error, ConfigError | AppError) else error_line(error))  # noqa: T201  # standard output is the log
        sys.exit(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
