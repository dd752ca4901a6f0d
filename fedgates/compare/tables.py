"""Numbers as Markdown: a row a method, mean and spread over seeds."""

import os
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from statistics import mean, stdev

from fedgates.compare.numbers import Numbers, over_seeds, worst
from fedgates.compare.study import Question

NOTHING = "-"
"""What stands where nobody measured."""


def header(question: Question, columns: Sequence[str]) -> list[str]:
    """The names of the columns of :func:`row`."""
    unit = ", %" if is_share(question.metric) else ""
    targets = [
        f"{what} to {shown(target, question.metric)}{' %' if unit else ''}"
        for target in question.targets
        for what in ("rounds", "bytes")
    ]
    return [
        "method",
        question.metric + unit,
        "worst seed",
        *(key + (", %" if is_share(key) else "") for key in columns),
        "up bpp",
        "down bpp",
        "bytes up",
        "bytes down",
        "bytes both",
        *targets,
    ]


def row(method: str, runs: Sequence[Numbers], question: Question, columns: Sequence[str]) -> list[str]:
    """A method: mean and standard deviation over its runs."""
    targets = []
    for target in question.targets:
        reached = [found for run in runs if (found := run.reached[target]) is not None]
        some = f" ({len(reached)}/{len(runs)})" if reached and len(reached) < len(runs) else ""
        targets += [
            f"{mean(r.round for r in reached):.1f}{some}" if reached else NOTHING,
            f"{mean(r.bytes for r in reached):,.0f}{some}" if reached else NOTHING,
        ]
    metric = [run.metric for run in runs]
    return [
        method,
        _spread(metric, question.metric),
        shown(worst(metric, question), question.metric),
        *(_spread([run.columns[key] for run in runs], key) for key in columns),
        _spread([run.uplink_bpp for run in runs], "uplink_bpp"),
        _spread([run.downlink_bpp for run in runs], "downlink_bpp"),
        *(f"{mean(values):,.0f}" for values in zip(*((r.bytes_up, r.bytes_down, r.bytes) for r in runs), strict=True)),
        *targets,
    ]


def shown(value: float | None, key: str) -> str:
    """A value of a key: accuracies in percent, others with three digits after the point or in all."""
    if value is None:
        return NOTHING
    if is_share(key):
        return f"{100 * value:.1f}"
    return f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1e5 else f"{value:.3g}"


def is_share(key: str) -> bool:
    """Whether a key's values are from 0 to 1 and shown in percent."""
    return "accuracy" in key


def spread(values: Sequence[float], digits: int = 1, scale: float = 100) -> str:
    """Mean and sample standard deviation over seeds, percent by default."""
    values = [scale * v for v in values]
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}" if len(values) > 1 else f"{values[0]:.{digits}f}"


def markdown(names: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A table's lines."""
    return ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)] + [
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |" for cells in rows
    ]


def machine() -> str:
    """Where and with what a table was made; the GPU only where torch has been imported, which a table alone does not need."""
    torch = sys.modules.get("torch")
    gpu = f", {torch.cuda.get_device_name()}" if torch is not None and torch.cuda.is_available() else ""
    versions = f"Python {platform.python_version()}, torch {version('torch')}, NumPy {version('numpy')}"
    return f"{os.cpu_count()} cores ({platform.machine()}){gpu}, {versions}."


def _spread(found: Sequence[float | None], key: str) -> str:
    middle, sd = over_seeds(found)
    if sd is None:
        return shown(middle, key)
    text = shown(middle, key)
    digits = f"{sd:.3f}" if not is_share(key) and text[-4:-3] == "." else shown(sd, key)  # as many as the mean has
    return f"{text} ± {digits}"
