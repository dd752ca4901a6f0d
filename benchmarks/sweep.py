"""Shared functions of the benchmarks: parallel runs on the loopback grid, and tables with command, machine and versions."""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fedgates.compare import machine, markdown, spread  # noqa: E402  # found by the line above

__all__ = ["Line", "arguments", "machine", "run", "spread", "sweep", "table"]

Line = dict[str, Any]
RESULTS = Path(__file__).resolve().parent / "results"


def run(job: tuple[Mapping[str, Any], int]) -> list[Line]:
    """Run one federation on the loopback grid, given its config and number of clients, and return its rounds."""
    from fedgates.flower.app import load_app, run_one  # imported in the worker process

    log = logging.getLogger("fedgates")
    log.addHandler(logging.NullHandler())  # prevents the app from adding a handler that prints
    log.setLevel(logging.ERROR)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return run_one(load_app(ROOT), *job, Path(folder)).round_log.read()


def sweep(jobs: Sequence[tuple[Mapping[str, Any], int]], workers: int) -> list[list[Line]]:
    """Run all jobs, `workers` in parallel with one thread each, and return their rounds in the order of the jobs."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(workers) as pool:
        results = []
        for done, lines in enumerate(pool.map(run, jobs), 1):
            print(f"  {done}/{len(jobs)} runs", file=sys.stderr, flush=True)
            results.append(lines)
        return results


def arguments(doc: str, **extra: Any) -> argparse.Namespace:  # noqa: ANN401
    """Parse --workers and an option for each item of `extra`, with its default."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    for name, default in extra.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    return parser.parse_args()


def table(name: str, command: str, *parts: object) -> None:
    """Print Markdown tables with their command, machine and versions, and write them to ``results/``.

    `parts` has a text, a header and rows for each table.
    """
    lines = [f"# {name}", "", f"`{command}`", ""]
    for text, header, rows in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        lines += [str(text), "", *markdown(header, rows), ""]  # type: ignore[arg-type]
    lines += [machine(), ""]
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / (command.split()[1].rsplit("/", 1)[-1].removesuffix(".py") + ".md")
    target.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))
