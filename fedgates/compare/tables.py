"""Tables in Markdown and LaTeX with a row for each method: mean and standard deviation over seeds."""

import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from statistics import mean, stdev

from fedgates.compare.numbers import Numbers, over_seeds, worst
from fedgates.compare.study import Question
from fedgates.util.text import one_line

_LONGEST_CELL = 1000
_NOT_ESCAPED = str.maketrans({"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"})
"""Characters that pandas does not escape, but that LaTeX's default font encoding shows as other characters."""
MISSING = "-"
"""Text for a value that was not measured."""


def header(question: Question, columns: Sequence[str]) -> list[str]:
    """Return the column names for :func:`row`."""
    unit = ", %" if is_share(question.metric) else ""
    targets = [
        f"{what} to {format_value(target, question.metric)}{' %' if unit else ''}"
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
    """Return the cells of a method's row: mean and standard deviation over its runs."""
    targets = []
    for target in question.targets:
        reached = [found for run in runs if (found := run.reached[target]) is not None]
        some = f" ({len(reached)}/{len(runs)})" if reached and len(reached) < len(runs) else ""
        targets += [
            f"{mean(r.round for r in reached):.1f}{some}" if reached else MISSING,
            f"{mean(r.bytes for r in reached):,.0f}{some}" if reached else MISSING,
        ]
    metric = [run.metric for run in runs]
    return [
        method,
        _spread(metric, question.metric),
        format_value(worst(metric, question), question.metric),
        *(_spread([run.columns[key] for run in runs], key) for key in columns),
        _spread([run.uplink_bpp for run in runs], "uplink_bpp"),
        _spread([run.downlink_bpp for run in runs], "downlink_bpp"),
        *(f"{mean(values):,.0f}" for values in zip(*((r.bytes_up, r.bytes_down, r.bytes) for r in runs), strict=True)),
        *targets,
    ]


def format_value(value: float | None, key: str) -> str:
    """Format a value: accuracies in percent, other values with three decimals or three significant digits."""
    if value is None:
        return MISSING
    if is_share(key):
        return f"{100 * value:.1f}"
    return f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1e5 else f"{value:.3g}"


def is_share(key: str) -> bool:
    """Return whether the values of a key are in [0, 1] and shown in percent."""
    return "accuracy" in key


def spread(values: Sequence[float], digits: int = 1, scale: float = 100) -> str:
    """Format mean and sample standard deviation as text, by default in percent."""
    values = [scale * v for v in values]
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}" if len(values) > 1 else f"{values[0]:.{digits}f}"


def markdown(names: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a Markdown table with column names and rows."""
    return ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)] + [
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |" for cells in rows
    ]


def latex(names: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> str:
    """Return a LaTeX table for the package booktabs; the first `left` columns are left-aligned, the others right-aligned."""
    import pandas as pd  # noqa: PLC0415  # takes half a second

    columns = "l" * left + "r" * (len(names) - left)
    frame = pd.DataFrame([[one_line(cell, _LONGEST_CELL) for cell in cells] for cells in rows], columns=list(names))
    text: str = frame.to_latex(index=False, escape=True, column_format=columns)
    return text.translate(_NOT_ESCAPED)


def machine() -> str:
    """Return a line with the machine and software versions; with the GPU if torch is already imported."""
    torch = sys.modules.get("torch")
    gpu = f", {torch.cuda.get_device_name()}" if torch is not None and torch.cuda.is_available() else ""
    versions = [f"Python {platform.python_version()}", *_versions(torch="torch", numpy="NumPy")]
    return f"{os.cpu_count()} cores ({platform.machine()}){gpu}, {', '.join(versions)}."


def _versions(**packages: str) -> Iterator[str]:
    """Yield name and version of each package that is installed."""
    for package, name in packages.items():
        with suppress(PackageNotFoundError):
            yield f"{name} {version(package)}"


def _spread(values: Sequence[float | None], key: str) -> str:
    middle, sd = over_seeds(values)
    if sd is None:
        return format_value(middle, key)
    text = format_value(middle, key)
    digits = f"{sd:.3f}" if not is_share(key) and text[-4:-3] == "." else format_value(sd, key)  # digits as in the mean
    return f"{text} ± {digits}"
