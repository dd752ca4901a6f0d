"""Decode replies in worker processes, which pays off for large networks."""

import logging
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import LifoQueue
from types import TracebackType
from typing import BinaryIO, Self, cast

from fedgates.errors import WireError
from fedgates.federation.messages import Reply
from fedgates.types import Update
from fedgates.wire import worker
from fedgates.wire.updates import UpdateReader

log = logging.getLogger("fedgates")
FEWEST_GATES = 500_000
"""Smallest number of gates for which worker processes are used. Two workers make up for their start-up time after about 30
updates of this size, and after 200 updates of 85,000 gates (`benchmarks/results/server.md`)."""
_MOST = 8
"""Largest number of processes that `server.decoders` = 0 selects."""
_AHEAD = 2
"""Number of replies per process to read ahead."""
_MOST_DEATHS = 3
"""Number of crashes after which a worker process is not restarted."""
Found = Update | WireError


def processes(wanted: int, gates: int, *, simulated: bool) -> int:
    """Return the number of processes to decode updates with; 1 means the server's own process.

    Parameters
    ----------
    wanted : int
        Value of `server.decoders`; 0 selects one process per core, at most 8, or 1 in a simulation.
    gates : int
        Number of coded gates; 0 if masks are not coded.
    simulated : bool
        Whether clients train on the server's cores.
    """
    if gates < FEWEST_GATES:
        return 1
    return wanted or (1 if simulated else min(_MOST, os.cpu_count() or 1))


class Decoders:
    """Context manager with worker processes that decode updates.

    The workers end with the context, or if this process is killed. A worker starts when it is first needed, that is, when all
    others are busy. Unlike those of :mod:`multiprocessing`, workers do not run the program's main module again; they import
    NumPy but not torch. If a worker dies, the server decodes the update itself.

    Parameters
    ----------
    number : int
        Number of processes; with 1, the server's own process decodes everything.
    """

    def __init__(self, number: int = 1) -> None:
        self._workers = [_Worker() for _ in range(number if number > 1 else 0)]
        self._idle = LifoQueue[_Worker]()
        for each in self._workers:
            self._idle.put(each)
        self._threads = ThreadPoolExecutor(number, "decoder") if self._workers else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for each in self._workers:
            each.kill()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        for each in self._workers:
            each.end()

    def decode(self, reader: UpdateReader, replies: Iterable[tuple[int, Reply]]) -> Iterator[tuple[int, Reply, Found]]:
        """Yield each client, its reply, and the decoded update or a :class:`WireError`, in the order of `replies`.

        Only a few replies are read ahead of the one that is yielded.
        """
        pending = deque[tuple[int, Reply, Future[Found | None] | None]]()
        for client, reply in replies:
            begun = self._threads.submit(self._read, reader, reply.payload, client) if self._threads else None
            pending.append((client, reply, begun))
            if len(pending) > _AHEAD * len(self._workers):
                yield _finished(reader, *pending.popleft())
        while pending:
            yield _finished(reader, *pending.popleft())

    def _read(self, reader: UpdateReader, payload: bytes, client: int) -> Found | None:
        idle = self._idle.get()
        try:
            return idle.read(reader, payload, client)
        finally:
            self._idle.put(idle)


def _finished(reader: UpdateReader, client: int, reply: Reply, begun: Future[Found | None] | None) -> tuple[int, Reply, Found]:
    found = begun.result() if begun else None
    return client, reply, reader.try_read(reply.payload, client) if found is None else found


class _Worker:
    """Process that decodes one update at a time; started when needed, and restarted a few times if it dies."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: UpdateReader | None = None
        """Reader of the round whose data the process has."""
        self._deaths = 0

    def read(self, reader: UpdateReader, payload: bytes, client: int) -> Found | None:
        """Return the update of a client, or a :class:`WireError`; None if the process died."""
        if self._deaths >= _MOST_DEATHS:
            return None
        try:
            self._process = self._process or _start()
            requests, answers = cast("BinaryIO", self._process.stdin), cast("BinaryIO", self._process.stdout)
            if self._reader is not reader:
                worker.send(requests, worker.round_message(reader))
                self._reader = reader
            worker.send(requests, ({"client": client}, [payload]))
            return worker.read_update(worker.receive(answers))
        except (OSError, EOFError) as error:
            status = self.end()
            if self._deaths < _MOST_DEATHS:
                self._deaths += 1
                log.warning("a process that decodes updates ended, %s: the server decodes its update", status or repr(error))
            return None

    def kill(self) -> None:
        """Kill the process, and prevent a restart."""
        self._deaths = _MOST_DEATHS
        process = self._process  # a copy, because another thread may set the attribute to None
        if process is not None:
            process.kill()

    def end(self) -> str:
        """Kill the process, if there is one, and return its exit status as text."""
        process, self._process, self._reader = self._process, None, None
        if process is None:
            return ""
        process.kill()
        with suppress(OSError), process:  # unread input of the process may give a broken pipe
            pass
        return f"status {process.returncode}"


def _start() -> subprocess.Popen[bytes]:
    """Start a process in its own process group, so that an interrupt from the terminal reaches only the server."""
    path = os.pathsep.join(str(part) or os.getcwd() for part in sys.path)  # noqa: PTH109  # as text
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(  # noqa: S603  # our own module
        [sys.executable, "-P", "-m", worker.__name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **one_thread, "PYTHONPATH": path},
        process_group=0,
    )
