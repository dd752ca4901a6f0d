"""Replies decoded in other processes, where that pays: each payload takes as long as its network is large."""

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
"""Number of gates from which other processes decode. Two of them make up for their start in about 30 updates of so many gates,
and in 200 of 85,000 (`benchmarks/results/server.md`)."""
_MOST = 8
"""Number of processes that `server.decoders` = 0 selects at most."""
_AHEAD = 2
"""Number of replies for each process that are taken before the first of them is decoded."""
_MOST_DEATHS = 3
"""Number of times that a process is started, if it dies again and again."""
Found = Update | WireError


def processes(wanted: int, gates: int, *, simulated: bool) -> int:
    """Return the number of processes that decode updates of so many gates; 1 is the server's own.

    Parameters
    ----------
    wanted : int
        `server.decoders`; 0 is one for each core, at most 8, but the server's own in a simulation.
    gates : int
        Number of gates that are decoded, 0 where masks are not coded.
    simulated : bool
        Whether clients train on the server's cores.
    """
    if gates < FEWEST_GATES:
        return 1
    return wanted or (1 if simulated else min(_MOST, os.cpu_count() or 1))


class Decoders:
    """Processes that decode updates, a context manager; at its end they end, too, as they do if this process is killed.

    They start when they are first needed, a further one only if the others are busy. They import NumPy, but not torch, and do
    not run the program's main module again, as those of :mod:`multiprocessing` would. If one dies, the server decodes its
    update itself.

    Parameters
    ----------
    number : int
        Number of processes; with 1 the server's own decodes everything.
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
        """Yield each client and its reply, in their order, with its update, or the reason why it has none.

        Only a few replies are taken ahead of the one that is yielded.
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
    """A process that decodes one update at a time, started when it is needed, and again if it dies, though not for ever."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: UpdateReader | None = None
        """The round that the process knows."""
        self._deaths = 0

    def read(self, reader: UpdateReader, payload: bytes, client: int) -> Found | None:
        """Return the update of a client, or why it has none; None if the process dies."""
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
        """Have the process end, and no other begin."""
        self._deaths = _MOST_DEATHS
        process = self._process  # a thread may be about to drop it
        if process is not None:
            process.kill()

    def end(self) -> str:
        """End the process, if there is one, and return its exit status in words."""
        process, self._process, self._reader = self._process, None, None
        if process is None:
            return ""
        process.kill()
        with suppress(OSError), process:  # it may not have read all that it was sent
            pass
        return f"status {process.returncode}"


def _start() -> subprocess.Popen[bytes]:
    """Start a process, in a group of its own: an interrupt from a terminal is for the server alone."""
    path = os.pathsep.join(str(part) or os.getcwd() for part in sys.path)  # noqa: PTH109  # as text
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(  # noqa: S603  # our own module
        [sys.executable, "-P", "-m", worker.__name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **one_thread, "PYTHONPATH": path},
        process_group=0,
    )
