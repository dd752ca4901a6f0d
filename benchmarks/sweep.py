"""What the benchmarks share: many runs on the loopback grid, several at a time, and a table that says where it came from."""

import argparse
import logging
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

Line = dict[str, Any]
RESULTS = Path(__file__).resolve().parent / "results"


def run(job: tuple[Mapping[str, Any], int]) -> list[Line]:
    """One federation of so many clients on the loopback grid; its rounds."""
    from client_app import app  # noqa: PLC0415  # a worker imports it for itself
    from fedgates.flower import LoopbackGrid, run_federation  # noqa: PLC0415
    from strategies import STRATEGIES  # noqa: PLC0415

    config, clients = job
    logging.getLogger("fedgates").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        raw = {"output-dir": folder, **config}
        _, folder_of_run = run_federation(LoopbackGrid(app, raw, clients), raw, STRATEGIES)
        return folder_of_run.ledger.read()


def sweep(jobs: Sequence[tuple[Mapping[str, Any], int]], workers: int) -> list[list[Line]]:
    """All jobs, `workers` at a time, each on one thread; their rounds in the order of the jobs."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(workers) as pool:
        results = []
        for done, lines in enumerate(pool.map(run, jobs), 1):
            print(f"  {done}/{len(jobs)} runs", file=sys.stderr, flush=True)
            results.append(lines)
        return results


def spread(values: Sequence[float], digits: int = 1, scale: float = 100) -> str:
    """Mean and sample standard deviation over seeds, percent by default."""
    values = [scale * v for v in values]
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}" if len(values) > 1 else f"{values[0]:.{digits}f}"


def arguments(doc: str, **extra: Any) -> argparse.Namespace:  # noqa: ANN401
    """--workers, and an option for each of `extra` with its default."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    for name, default in extra.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    return parser.parse_args()


def machine() -> str:
    """Where and with what a table was made."""
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}"
    return f"{os.cpu_count()} cores ({platform.machine()}), {versions}."


def table(name: str, command: str, *parts: object) -> None:
    """Print Markdown tables with their command, machine and versions, and keep them in ``results/``.

    `parts` are a text, a header and rows, again for each further table.
    """
    lines = [f"# {name}", "", f"`{command}`", ""]
    for text, header, rows in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        lines += [str(text), "", *_markdown(header, rows), ""]  # type: ignore[arg-type]
    lines += [machine(), ""]
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / (command.split()[1].rsplit("/", 1)[-1].removesuffix(".py") + ".md")
    target.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def _markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)] + [
        "| " + " | ".join(str(cell) for cell in row) + " |" for row in rows
    ]
