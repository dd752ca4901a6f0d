"""python benchmarks/step.py: a gated training step beside a dense one of the same network, in time and in memory; bfloat16 too.

conv4 on 1x28x28, batch 64, one CPU thread as a simulated client has. Both steps are timed alternately in one process, and the
figure is the median of the ratios of neighbours. Memory is what training adds to the resident peak of a process that only holds
the images, in units of the network's own float32 size; activations are in both.
"""

import argparse
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sweep import table

from fedgates import keys, models
from fedgates.gates import Gates
from fedgates.network import Network
from fedgates.training import Task, backward

BATCH = 64


def task() -> Task:
    """One batch of random images."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (BATCH, 1, 28, 28), dtype=torch.uint8, generator=draw)
    return Task(x, torch.randint(0, 10, (BATCH,), generator=draw), server_round=1, client=0)


def gated(precision: str) -> Callable[[], None]:
    """A FedPM step: sample a mask, backward, straight-through, Adam on the scores."""
    network, batch, images = Network(models.build("conv4", (1, 28, 28), 10)), torch.arange(BATCH), task()
    gates, scores, draw = Gates(network, seed=1), torch.zeros(network.size), keys.generator(1, "masks")
    scores.grad = network.gradient
    adam = torch.optim.Adam([scores], lr=0.1, fused=True)

    def step() -> None:
        gates.load_sample(scores, draw)
        backward(network, images, batch, precision)
        gates.straight_through(scores)
        adam.step()

    return step


def dense(precision: str) -> Callable[[], None]:
    """The same network's own step: backward, Adam on its weights."""
    network, batch, images = Network(models.build("conv4", (1, 28, 28), 10)), torch.arange(BATCH), task()
    network.weights.grad = network.gradient
    adam = torch.optim.Adam([network.weights], lr=1e-3, fused=True)

    def step() -> None:
        backward(network, images, batch, precision)
        adam.step()

    return step


def seconds(step: Callable[[], None]) -> float:
    """Wall time of one step."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def resident_peak() -> float:
    """Bytes, from the kernel's own count, which unlike getrusage's does not include the parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024.0 * int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])


def _peak_growth(kind: str, precision: str, answer: "multiprocessing.Queue[float]") -> None:
    torch.set_num_threads(1)
    task()
    before = resident_peak()
    step = {"gated": gated, "dense": dense}[kind](precision)
    for _ in range(3):
        step()
    answer.put(resident_peak() - before)


def peak_growth(kind: str, precision: str) -> float:
    """Bytes that training adds to the resident peak of a fresh process."""
    context = multiprocessing.get_context("spawn")
    answer: multiprocessing.Queue[float] = context.Queue()
    process = context.Process(target=_peak_growth, args=(kind, precision, answer))
    process.start()
    process.join()
    return answer.get()


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
            if i >= 3:  # the first steps pay for allocation
                times[key].append(took)
    unit = 4 * Network(models.build("conv4", (1, 28, 28), 10)).size
    rows = []
    for kind in kinds:
        ratio = median(a / b for a, b in zip(times["gated", kind], times["dense", kind], strict=True))
        faster = median(a / b for a, b in zip(times["gated", "float32"], times["gated", kind], strict=True))
        memory = {name: peak_growth(name, kind) / unit for name in ("gated", "dense")}
        rows.append(
            [
                kind,
                f"{1000 * median(times['dense', kind]):.0f} ms",
                f"{ratio:.3f}",
                f"{faster:.2f}",
                f"{memory['dense']:.1f}",
                f"{memory['gated']:.1f}",
                f"{memory['gated'] - memory['dense']:+.1f}",
            ]
        )
    table(
        "A gated step beside a dense step",
        f"python benchmarks/step.py --steps {args.steps} --threads {args.threads}",
        f"conv4, 1x28x28, batch {BATCH}; memory in units of the network's float32 size ({unit / 1e6:.1f} MB), activations "
        f"included; load of the machine {os.getloadavg()[0]:.1f}.",
        ["precision", "dense step", "gated / dense", "times faster than float32", "dense memory", "gated memory", "difference"],
        rows,
    )


if __name__ == "__main__":
    main()
