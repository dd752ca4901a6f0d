"""Four attacks of one stranger, at 127.0.0.2, on the devices' port; and what they cost the gate and other callers.

``python attacks.py NAME PORT`` is the stranger.
"""

import asyncio
import http.client
import itertools
import os
import re
import resource
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

STRANGER, SECONDS = "127.0.0.2", 6.0
HEAD = b"POST /v1/fleet/push-object HTTP/1.1\r\nHost: gate\r\n"
MB = b"x" * 1_000_000


def headers():
    """A call whose header does not end before 400 MB."""
    return itertools.chain([HEAD], itertools.repeat((b"x-more: " + b"x" * 990 + b"\r\n") * 100, 4000)), b""


def body(megabytes):
    """A call with so many megabytes, whose last byte comes when the others of all calls are there."""
    announced = HEAD + b"Content-Length: %d\r\n\r\n" % (megabytes * len(MB))
    return itertools.chain([announced], itertools.repeat(MB, megabytes - 1), [MB[1:]]), b"x"


def url():
    """A call of an address of 200 MB."""
    return itertools.chain([b"POST /"], itertools.repeat(MB, 200)), b""


ATTACKS = {
    "endless headers": (1, headers),
    "60 bodies of 16 MB": (60, lambda: body(16)),
    "60 bodies of 8 MB": (60, lambda: body(8)),
    "one long URL": (1, url),
    "1,100 open connections": (1100, lambda: ([HEAD], b"")),
}
"""Number of connections, and what is sent over each: at once, and at last."""


async def _send(writer, pieces):
    for piece in pieces:
        writer.write(piece)
        await writer.drain()


async def attack(name, port):
    """Connect, send until all is sent or refused, and hold what is open, for `SECONDS` each."""
    connections, calls = ATTACKS[name]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    turn = asyncio.Semaphore(50)

    async def connect():
        async with turn:
            return await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port, ssl=context, local_addr=(STRANGER, 0)), 10)

    opened = await asyncio.gather(*(connect() for _ in range(connections)), return_exceptions=True)
    writers = [one[1] for one in opened if not isinstance(one, BaseException)]
    pieces, last = zip(*(calls() for _ in writers), strict=True)
    sending = [asyncio.create_task(_send(writer, piece)) for writer, piece in zip(writers, pieces, strict=True)]
    await asyncio.wait(sending, timeout=SECONDS)
    for writer, piece in zip(writers, last, strict=True):
        writer.write(piece)
    await asyncio.sleep(SECONDS)
    os._exit(0)  # what is not sent by now never is


@dataclass(frozen=True)
class Cost:
    """Peak memory of the gate, and what another caller met: the slowest answer, and the statuses or errors of all its calls."""

    megabytes: float
    seconds: float
    statuses: list[int | str]


def family(pid):
    """Return a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def memory(pid):
    """Megabytes in memory of a process and its children; a page that they share counts once."""
    rollups = (Path(f"/proc/{one}/smaps_rollup").read_text() for one in family(pid))
    return sum(int(re.search(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)[1]) for rollup in rollups) * 1024 / 1e6


def ask(port, ca, patience=20.0):
    """Call as a device does, from another address than the stranger; return the status and the seconds it took."""
    start = time.monotonic()
    context = ssl.create_default_context(cafile=ca)
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=patience)
    try:
        connection.request("POST", "/v1/fleet/pull-messages", b"")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        status = type(error).__name__
    finally:
        connection.close()
    return status, time.monotonic() - start


def under_attack(name, gate, port, ca):
    """Return what an attack costs the gate, a process that listens on a port."""
    stranger = subprocess.Popen([sys.executable, __file__, name, str(port)])
    answers, peaks = [], [memory(gate)]

    def watch():
        while stranger.poll() is None:
            peaks.append(memory(gate))
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    while stranger.poll() is None:
        answers.append(ask(port, ca))
        time.sleep(0.1)
    watcher.join()
    return Cost(max(peaks), max(seconds for _, seconds in answers), [status for status, _ in answers])


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    os.nice(5)  # in earnest the stranger has a machine of its own
    asyncio.run(attack(sys.argv[1], int(sys.argv[2])))
