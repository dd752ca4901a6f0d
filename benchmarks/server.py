"""python benchmarks/server.py: cost of a round for the server, by numbers of decoder processes and of updates.

FedPM, conv6 on 32x32 images. Masks are samples of probabilities near the broadcast ones, with the coins of each client, and
need as many bits as in real runs. The server reads the coded updates from files, decodes and counts them, and closes the round;
nothing is trained. Each round is a new process; variants alternate, and ratios are medians over neighbouring runs. --before
takes a checkout of another revision to compare with. Memory peaks are those of the kernel; for the server, the growth during
the round.

Wall times depend on other load, because Linux may divide busy cores among sessions regardless of their number of processes.
Therefore the CPU time of each process is shown as well: with one core per process, the round takes as long as the busiest
process. Two processes that only compute show how reliable wall times are, and decoders that sleep instead of computing show
that only cores are missing.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, os.environ.get("FEDGATES_ROOT", str(ROOT)))

SETTINGS = {"strategy": "fedpm", "model": "conv6", "seed": 1}
ROUND, TRIALS, DISTINCT, SHIFT = 3, 100, 20, 0.3
SMALLER = (85_000, 200_000, 500_000, 1_000_000)
"""Numbers of gates of the smaller networks."""
WAIT = 60
"""Milliseconds that a sleeping decoder takes for an update."""
WAITER = f"""
import sys, time
import numpy as np
from fedgates.types import Update
from fedgates.wire import updates, worker
update = Update(np.zeros(-(-int(sys.argv[1]) // 8), np.uint8))
updates.UpdateReader.try_read = lambda *_: time.sleep({WAIT / 1000}) or update
worker.serve(sys.stdin.buffer, sys.stdout.buffer)
"""
COUNTER = """
import time
while time.process_time() < 1.5:
    pass
"""
Found = dict[str, float]


def server_of(processes: int) -> Any:  # noqa: ANN401  # of either checkout
    """Return a server after a few rounds, in which most gates of the masks agree."""
    from fedgates.federation import Server
    from fedgates.methods.registry import build, configure
    from fedgates.types import Problem

    problem = Problem.of_images((3, 32, 32), 10)
    server = Server(build(*configure(SETTINGS | ({"server.decoders": processes} if processes > 1 else {})), problem), problem)
    server.restore(replace(server.state, votes=votes_of(server.state.size), trials=TRIALS), ROUND)
    return server


def votes_of(size: int) -> Any:  # noqa: ANN401
    """Return votes ``[size]`` of 100, most of them near 0 or 100."""
    draw = np.random.default_rng(1)
    return draw.binomial(TRIALS, draw.beta(0.5, 0.5, size)).astype(np.uint32)


def encoded(codec: Any, state: Any, clients: int) -> Iterator[bytes]:  # noqa: ANN401
    """Yield the payload of each client: a sample of one of 20 probabilities near the state's."""
    from fedgates.types import Update, pack

    theta = np.clip(state.state.votes / TRIALS, 0.001, 0.999)
    draw, logits = np.random.default_rng(2), np.log(theta / (1 - theta))
    limits = [
        (2.0**32 / (1 + np.exp(-logits - draw.normal(0, SHIFT, len(theta))))).astype(np.uint32)
        for _ in range(min(DISTINCT, clients))
    ]
    for client in range(clients):
        coins = codec.context_of(state, client).coins()
        yield codec.pack_update(Update(mask=pack(coins < limits[client % DISTINCT])), state, client)


def one_round(processes: int, updates: int, folder: Path) -> Found:
    """Close a round with `updates` updates; return wall and CPU seconds of server and decoders, and memory peaks in MB."""
    from fedgates.federation import Reply

    server = server_of(processes)
    replies = (Reply(name, (folder / str(name)).read_bytes()) for name in range(updates))
    with server.decoding(simulated=False) if processes > 1 else nullcontext():
        server.open_round(ROUND, {name: name for name in range(updates)})
        reset_peak()
        before, started, cpu = peak("self"), time.monotonic(), time.process_time()
        record = server.close_round(replies)
        found = {"seconds": time.monotonic() - started, "server": time.process_time() - cpu, "mb": peak("self") - before}
        lists = Path("/proc/self/task").glob("*/children")  # of each thread
        children = [process for each in lists for process in each.read_text(encoding="ascii").split()]
        found["decoder mb"] = max(map(peak, children), default=0.0)
    if record.counted != updates:
        raise RuntimeError(f"{record.counted} of {updates} updates were counted: {record.rejected}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found | {"decoders": used.ru_utime + used.ru_stime}


def smaller(gates: int, updates: int = 60) -> Found:
    """Return CPU milliseconds per update in one process and in the server with two decoders, and to start a decoder."""
    from fedgates.federation import Reply
    from fedgates.federation.decoders import Decoders
    from fedgates.types import Votes
    from fedgates.wire import Codec, VersionedState, WireOptions

    codec = Codec(WireOptions(seed=1), (gates // 2, gates - gates // 2), b"12345678", "mask")
    state = VersionedState(Votes(votes_of(gates), TRIALS), ROUND)
    payloads = list(encoded(codec, state, updates))
    found = {}
    for name, processes in (("one", 1), ("two", 2)):
        with Decoders(processes) as decoders:
            for _ in range(2):  # in the first time, processes start
                started = time.process_time()
                for _, _, update in decoders.decode(codec.reader(state), ((i, Reply(i, p)) for i, p in enumerate(payloads))):
                    update.gates(gates)  # type: ignore[union-attr]
                found[name] = 1000 * (time.process_time() - started) / updates
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found["start"] = (1000 * (used.ru_utime + used.ru_stime) - 2 * updates * found["one"]) / 2
    return found


def waiting(processes: int, updates: int = 48) -> float:
    """Return the milliseconds per update if decoders sleep instead of computing."""
    from fedgates.federation import Reply, decoders
    from fedgates.wire import VersionedState

    server = server_of(1)
    reader = server.codec.reader(VersionedState(server.state, ROUND))
    command = [sys.executable, "-c", WAITER, str(reader.context.size)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    decoders._start = lambda: subprocess.Popen(command, **pipes)  # type: ignore[call-overload]  # noqa: SLF001
    with decoders.Decoders(processes) as pool:
        for _ in range(2):  # in the first time, processes start
            started = time.monotonic()
            list(pool.decode(reader, ((name, Reply(name, bytes(28_000))) for name in range(updates))))
    return 1000 * (time.monotonic() - started) / updates


def two_that_compute() -> float:
    """Return the wall time of two processes that only compute, divided by that of one; 1 with one core per process."""
    seconds = []
    for number in (1, 2):
        started = time.monotonic()
        for process in [subprocess.Popen([sys.executable, "-c", COUNTER]) for _ in range(number)]:
            process.wait()
        seconds.append(time.monotonic() - started)
    return seconds[1] / seconds[0]


def reset_peak() -> None:
    """Reset the kernel's record of this process's memory peak."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak(process: str) -> float:
    """Return the largest resident memory of a process, in MB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024 / 1e6


def child(root: Path, *arguments: object) -> Found:
    """Run this script in a new process with the fedgates of a checkout, and return its result."""
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "FEDGATES_ROOT": str(root)}
    command = [sys.executable, __file__, "--measure", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **one_thread})
    found: Found = json.loads(done.stdout.splitlines()[-1])
    print(" ", root.name, *arguments[:2], found, file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--before", default="", help="checkout of another revision")
    parser.add_argument("--payloads", default="", help="folder in which to cache the coded updates")
    parser.add_argument("--measure", nargs="*", default=[], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        kind, count, *folder = args.measure
        print(json.dumps(one_round(int(kind), int(count), Path(*folder)) if folder else smaller(int(count))))
        return
    from sweep import table

    from fedgates.wire import VersionedState

    with tempfile.TemporaryDirectory() as name:
        target, server = Path(args.payloads or name), server_of(1)
        if not (target / str(args.updates - 1)).exists():
            target.mkdir(exist_ok=True)
            for client, payload in enumerate(encoded(server.codec, VersionedState(server.state, ROUND), args.updates)):
                (target / str(client)).write_bytes(payload)
        total = sum((target / str(client)).stat().st_size for client in range(args.updates))
        few = min(100, args.updates)
        arms = {"one": (ROOT, 1), "two": (ROOT, 2)}
        if args.before:
            arms = {"before": (Path(args.before).resolve(), 1), **arms}
        found: dict[str, list[Found]] = {arm: [] for arm in arms}
        controls = []
        for _ in range(args.repeats):
            controls.append(two_that_compute())
            for arm, (root, processes) in arms.items():
                found[arm].append(child(root, processes, few, target))
        counts = sorted({min(n, args.updates) for n in (50, 200, args.updates)})
        load = os.getloadavg()[0]
        by_count = {(n, updates): child(ROOT, n, updates, target) for updates in counts for n in (1, 2)}
    size = server.state.size
    names = {"before": "one, before", "one": "one: the server's own", "two": "the server's, and two that decode"}
    table(
        "What a round costs the server",
        f"python benchmarks/server.py --updates {args.updates} --repeats {args.repeats}" + " --before DIR" * bool(args.before),
        f"A round of {few} updates of {size:,} gates, {8 * total / args.updates / size:.3f} bits per gate, medians of"
        f" {args.repeats} alternating runs; ratios are to one process. Load of the machine {load:.1f}: two processes that only"
        f" compute took {median(controls):.2f} times as long as one.",
        ["processes", "ms an update", "ratio", "CPU ms an update: server", "all decoders", "ratio of the busiest process's"],
        [_costs(names[arm], found[arm], found["one"], few, processes) for arm, (_, processes) in arms.items()],
        "Rounds of more updates, one run each. MB: what the round adds to the server's peak, and the peak of a decoder.",
        ["processes", "updates", "seconds", "CPU s: server", "all decoders", "MB added", "MB of a decoder"],
        [
            [
                names["one" if n == 1 else "two"],
                updates,
                f"{each['seconds']:.1f}",
                f"{each['server']:.1f}",
                f"{each['decoders']:.1f}" if n > 1 else "-",
                f"{each['mb']:.0f}",
                f"{each['decoder mb']:.0f}" if n > 1 else "-",
            ]
            for (n, updates), each in sorted(by_count.items())
        ],
        f"Decoders that wait {WAIT} ms an update instead of computing, and return as large a mask.",
        ["decoders", "ms an update"],
        [[number, f"{waiting(number):.1f}"] for number in (2, 4, 8)],
        "Smaller networks: CPU milliseconds. With a core for each process, two decoders pay for their start after so many"
        " updates.",
        ["gates", "an update, decoded by the server", "the server's part, with decoders", "start of a decoder", "updates"],
        [_gain(gates, child(ROOT, "smaller", gates)) for gates in SMALLER],
    )


def _costs(name: str, runs: list[Found], one: list[Found], updates: int, processes: int) -> list[object]:
    def busiest(run: Found) -> float:
        return max(run["server"], run["decoders"] / processes)

    ms = {key: 1000 * median(run[key] for run in runs) / updates for key in ("seconds", "server", "decoders")}
    ratio = median(run["seconds"] / base["seconds"] for run, base in zip(runs, one, strict=True))
    busy = median(busiest(run) / busiest(base) for run, base in zip(runs, one, strict=True))
    decoders = f"{ms['decoders']:.1f}" if processes > 1 else "-"
    return [name, f"{ms['seconds']:.0f}", f"{ratio:.2f}", f"{ms['server']:.1f}", decoders, f"{busy:.2f}"]


def _gain(gates: int, found: Found) -> list[object]:
    saved = found["one"] - max(found["two"], found["one"] / 2)
    return [f"{gates:,}", f"{found['one']:.1f}", f"{found['two']:.1f}", f"{found['start']:.0f}", round(found["start"] / saved)]


if __name__ == "__main__":
    main()
