"""Runs as rows of a table with a column for each result and setting: filter, sort, and format as text or CSV."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedgates.config.suggestions import did_you_mean
from fedgates.errors import ConfigError
from fedgates.runs.listing import Entry, list_runs
from fedgates.runs.totals import format_number
from fedgates.util.text import columns, name_list, one_line

Row = Mapping[str, Any]
"""Mapping from column to value; columns without a value are missing or None."""
_RENAMED = {"loss": "config.loss", "metric": "config.metric"}
"""Column names of the settings whose names are also those of results."""
_SHOWN = frozenset({"strategy", "dataset", "num-server-rounds", "output-dir", "resume", "trackers", "data-digest", "keep-best"})
"""Settings that other columns of the text show already, or that do not affect results."""
_CONDITION = re.compile(r"\s*([^\s=!<>]+)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)
_MAX_DIFFERING = 6
"""Largest number of settings in the text."""
_MAX_CELL = 10_000
"""Largest number of characters of a cell in CSV."""


def read_rows(base: Path) -> list[dict[str, Any]]:
    """Return the runs in a folder as rows, oldest first, ready for ``pandas.DataFrame(read_rows(base))``."""
    return [to_row(entry) for entry in list_runs(base)]


def to_row(entry: Entry) -> dict[str, Any]:
    """Return a run as a row with its name, rounds, bytes, latest metrics, and settings.

    The settings `loss` and `metric` are ``config.loss`` and ``config.metric``, because ``loss`` and ``metric`` are results.
    """
    own = {name: value for name, value in vars(entry).items() if name not in {"figures", "settings"}}
    results = {**own, **entry.figures}
    return results | {name: v for key, v in entry.settings.items() if (name := _RENAMED.get(key, key)) not in results}


def matching(rows: Sequence[Row], conditions: Iterable[str]) -> list[Row]:
    """Return the rows that meet all conditions, such as ``strategy=fedpm`` or ``accuracy>0.9``.

    A condition is a column, one of ``= != < <= > >=``, and a value. Numbers are compared as numbers, everything else as text. A
    row without a value in the column satisfies only ``!=``.

    Raises
    ------
    ConfigError
        Key `--where`: a condition is malformed, no row has its column, or the column has numbers but the value is not a number.
    """
    found = list(rows)
    for condition in conditions:
        match = _CONDITION.fullmatch(condition)
        if match is None:
            raise ConfigError("--where", condition, "COLUMN=VALUE, or !=, <, <=, > or >= instead of =")
        column, sign, value = match.groups()
        _expect_column("--where", condition, column, rows)
        found = [row for row in found if _meets(row.get(column), sign, value, condition)]
    return found


def _meets(found: object, sign: str, value: str, condition: str) -> bool:
    if found is None:
        return sign == "!="
    left: Any = str(found).lower() if isinstance(found, bool) else found if isinstance(found, int | float) else str(found)
    right: Any = value
    if not isinstance(left, str):
        try:
            right = float(value)
        except ValueError:
            raise ConfigError("--where", condition, "a number, like the values of the column") from None
    match sign:
        case "=":
            return bool(left == right)
        case "!=":
            return bool(left != right)
        case "<" | "<=":
            return bool(left < right) or (sign == "<=" and left == right)
    return bool(left > right) or (sign == ">=" and left == right)


def ordered(rows: Sequence[Row], column: str, *, reverse: bool = False) -> list[Row]:
    """Return rows sorted by a column, ascending or with `reverse` descending; rows without a value come last.

    Raises
    ------
    ConfigError
        Key `--sort`: no row has the column.
    """
    _expect_column("--sort", column, column, rows)
    with_value = [row for row in rows if row.get(column) is not None]
    with_value.sort(key=lambda row: (isinstance(row[column], str), row[column]), reverse=reverse)
    return with_value + [row for row in rows if row.get(column) is None]


def differing(rows: Sequence[Row], names: Iterable[str]) -> list[str]:
    """Return the columns among `names` that have more than one distinct value."""
    return [name for name in names if len({str(row[name]) for row in rows if row.get(name) is not None}) > 1]


def settings_of(entries: Iterable[Entry]) -> list[str]:
    """Return the columns of settings, except those that the table of runs always shows or that do not affect results."""
    return [_RENAMED.get(key, key) for key in _names(entry.settings for entry in entries) if key not in _SHOWN]


def to_csv(rows: Sequence[Row]) -> str:
    """Return rows as CSV with a header and all columns, missing values as empty cells; empty if there are no rows."""
    text = io.StringIO()
    names = [name for name in _names(rows) if name != "problems"]
    writer = csv.writer(text, lineterminator="\n")
    for row in ([names] if rows else []) + [[row.get(name) for name in names] for row in rows]:
        writer.writerow([one_line(value, _MAX_CELL) if isinstance(value, str) else value for value in row])
    return text.getvalue()


def runs_table(entries: Sequence[Entry]) -> str:
    """Return a table with a row for each run, and a column for each of up to six settings that differ between runs."""
    rows = [to_row(entry) for entry in entries]
    different = differing(rows, settings_of(entries))
    header = ["run", "method", "data", "rounds", "result", "MB, both ways", "model, bytes"]
    shown = different[:_MAX_DIFFERING]
    cells = [
        [*_row(entry), *(one_line(row.get(name, "-"), 40) for name in shown)] for entry, row in zip(entries, rows, strict=True)
    ]
    lines = [line.rstrip() for line in columns([[*header, *(one_line(name, 40) for name in shown)], *cells], left=3)]
    more = different[_MAX_DIFFERING:]
    return "\n".join([*lines, *([f"other settings that differ: {name_list(more)}"] if more else [])])


def _row(entry: Entry) -> list[str]:
    return [
        one_line(entry.name, 80),
        one_line(entry.strategy, 40),
        one_line(entry.dataset, 40),
        f"{entry.rounds}/{entry.of_rounds}{entry.status}",
        _result(entry),
        f"{entry.bytes / 1e6:,.2f}",
        "-" if entry.model_bytes is None else f"{entry.model_bytes:,}",
    ]


def _result(entry: Entry) -> str:
    if entry.reached is None:
        return "-"
    return f"{100 * entry.reached:.1f} %" if "accuracy" in entry.metric else f"{entry.metric} {format_number(entry.reached)}"


def _expect_column(key: str, value: str, column: str, rows: Sequence[Row]) -> None:
    names = _names(rows)
    if rows and column not in names:
        suggestion = did_you_mean(column, names)
        raise ConfigError(key, value, f"a column of fedgates runs --csv, such as accuracy, bytes or strategy{suggestion}")


def _names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))
