"""python benchmarks/step.py: time and memory of a gated training step relative to a dense step, in float32 and bfloat16.

conv4 on 1x28x28, batch 64, one CPU thread as for a simulated client. Both steps are timed alternately in one process, and the
figure is the median of the ratios of neighbouring steps. Memory is the growth of the resident peak of a new process during a
client's work, including torch's own pages, in units of the network's float32 size, for batches of 1, where activations are
small, and of 64.
"""

import argparse
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fedgates.strategies.fedpm import FedPM
from sweep import table

from fedgates import models, rng
from fedgates.config import parse
from fedgates.methods.training import Task, backward
from fedgates.nn.gates import Gates
from fedgates.nn.network import Network
from fedgates.nn.optimizers import Adam
from fedgates.types import Problem, Votes

BATCH = 64
PROBLEM = Problem.of_images((1, 28, 28), 10)
STATE_FILE = Path(tempfile.gettempdir()) / "fedgates-benchmark-state"


def task(batch_size: int = BATCH) -> Task:
    """Return a task with one batch of random images."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (batch_size, 1, 28, 28), dtype=torch.uint8, generator=draw)
    return Task(x, torch.randint(0, 10, (batch_size,), generator=draw), server_round=1, client=0)


def gated(precision: str) -> Callable[[], None]:
    """Return a FedPM step: sample a mask, backward, straight-through, Adam on the scores."""
    network, batch, images = Network(models.build("conv4", PROBLEM)), torch.arange(BATCH), task()
    gates, scores, draw = Gates(network, seed=1), torch.zeros(network.size), rng.generator(1, "masks")
    adam = Adam(scores, network.gradient, learning_rate=0.1)

    def step() -> None:
        with network.channels_last():
            gates.load_sample(scores, draw)
            backward(network, images, batch, precision)
            gates.straight_through(scores)
            adam.step()

    return step


def dense(precision: str, batch_size: int = BATCH) -> Callable[[], None]:
    """Return a dense step of the same network: backward, Adam on its weights."""
    network = Network(models.build("conv4", PROBLEM))
    batch, images = torch.arange(batch_size), task(batch_size)
    adam = Adam(network.weights, network.gradient, learning_rate=1e-3)

    def step() -> None:
        with network.channels_last():
            backward(network, images, batch, precision)
            adam.step()

    return step


def seconds(step: Callable[[], None]) -> float:
    """Return the wall time of one step."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def resident_peak() -> float:
    """Return the resident peak in bytes, as counted by the kernel; unlike getrusage, it does not include the parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024.0 * int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])


def whole_update(batch_size: int) -> None:
    """Do all work of a FedPM client for a message: decode the state, take three steps, sample and code the mask."""
    config = parse(FedPM.Config, {"model": "conv4", "local-epochs": 3, "batch-size": batch_size})
    method = FedPM(config, Network(models.build("conv4", PROBLEM)))
    known = method.codec.unpack_state(STATE_FILE.read_bytes())
    update = method.local_update(known.state, task(batch_size))
    method.codec.pack_update(update, known, client=0)


def dense_update(batch_size: int) -> None:
    """Take three steps of Adam on the weights of the same network."""
    step = dense("float32", batch_size)
    for _ in range(3):
        step()


def _peak_growth(kind: str, batch_size: int, answer: "multiprocessing.Queue[float]") -> None:
    torch.set_num_threads(1)
    before = resident_peak()
    {"gated": whole_update, "dense": dense_update}[kind](batch_size)
    answer.put(resident_peak() - before)


def peak_growth(kind: str, batch_size: int) -> float:
    """Return the bytes that training adds to the resident peak of a new process, the median of three runs."""
    context = multiprocessing.get_context("spawn")
    found = []
    for _ in range(3):
        answer: multiprocessing.Queue[float] = context.Queue()
        process = context.Process(target=_peak_growth, args=(kind, batch_size, answer))
        process.start()
        process.join()
        found.append(answer.get())
    return median(found)


def write_state() -> None:
    """Write the state that `whole_update` decodes, with votes of ten clients."""
    method = FedPM(FedPM.Config(), Network(models.build("conv4", PROBLEM)))
    votes = np.random.default_rng(1).integers(0, 11, method.network.size, dtype=np.uint32)
    STATE_FILE.write_bytes(method.codec.pack_state(Votes(votes, 10), 2))


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    kinds = ("float32", "bfloat16")
    steps = {(name, kind): make(kind) for name, make in (("gated", gated), ("dense", dense)) for kind in kinds}
    times: dict[tuple[str, str], list[float]] = {key: [] for key in steps}
    for i in range(args.steps + 3):
        for key, step in steps.items():
            took = seconds(step)
            if i >= 3:  # the first steps include allocation
                times[key].append(took)
    unit = 4 * Network(models.build("conv4", PROBLEM)).size
    rows = []
    for kind in kinds:
        ratio = median(a / b for a, b in zip(times["gated", kind], times["dense", kind], strict=True))
        faster = median(a / b for a, b in zip(times["gated", "float32"], times["gated", kind], strict=True))
        rows.append(
            [
                kind,
                f"{1000 * median(times['dense', kind]):.0f} ms",
                f"{ratio:.3f}",
                f"{faster:.2f}",
            ]
        )
    write_state()
    memory = []
    for batch_size in (1, BATCH):
        gated_peak, dense_peak = (peak_growth(kind, batch_size) / unit for kind in ("gated", "dense"))
        memory.append(
            [
                batch_size,
                f"{dense_peak:.1f}",
                f"{gated_peak:.1f}",
                f"{gated_peak / dense_peak:.2f}",
                f"{gated_peak - dense_peak:+.1f}",
            ]
        )
    command = f"python benchmarks/step.py --steps {args.steps} --threads {args.threads}"
    table(
        "A gated step beside a dense step",
        command,
        f"conv4, 1x28x28, batch {BATCH}; load of the machine {os.getloadavg()[0]:.1f}.",
        ["precision", "dense step", "gated / dense", "times faster than float32"],
        rows,
        "Memory of one client, in float32 networks of this size "
        f"({unit / 1e6:.1f} MB), activations and torch's own pages included; gated is a whole message, from decoding the "
        "state to the coded mask.",
        ["batch", "dense, Adam", "gated", "gated / dense", "gated - dense"],
        memory,
    )


if __name__ == "__main__":
    main()
