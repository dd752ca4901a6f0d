"""The sections on the configuration and on the commands that reproduce the run."""

import shlex
from collections.abc import Sequence

from fedgates.config import CLIENTS
from fedgates.config.app import as_pair
from fedgates.report import numbers
from fedgates.report.markup import Html, el, join
from fedgates.report.parts import folded, more, note, section, table
from fedgates.report.run_data import RunData
from fedgates.util.text import one_line

_MAX_ROWS, _MAX_CODE = 200, 4000
"""Keys in a table, and characters of a command."""


def settings(run: RunData) -> Html | None:
    """Return the section on the configuration: changed keys first, then all; None without a configuration."""
    if not run.config:
        return None
    changed = _table(run, run.changed, "Keys that differ from their defaults")
    return section(
        "Configuration",
        changed if run.changed else note("Every key has its default value."),
        folded(f"All {len(run.config):,} keys", _table(run, list(run.config), "All keys of config.json")),
    )


def _table(run: RunData, keys: Sequence[str], name: str) -> Html:
    """Return a table of keys, values and defaults."""
    rows = [
        (one_line(key, 60), _code_of(run.config[key]), _code_of(run.defaults[key]) if key in run.defaults else "")
        for key in keys[:_MAX_ROWS]
    ]
    left_out = more(len(keys) - _MAX_ROWS, "and {} more, in config.json")
    return el("div", table(("key", "value", "default"), rows, words=3, name=name), left_out)


def reproduce(run: RunData) -> Html | None:
    """Return the section with the commands that resume and repeat the run, or None without a configuration."""
    if not run.config:
        return None
    clients = run.config.get(CLIENTS)
    where = (
        "In a clone of the repository, with the same number of simulated clients."
        if clients is not None
        else "The run was on real devices: start it on the same federation, with the same data on each device."
    )
    version = run.model and run.model.contents.facts.training.get("fedgates")
    made = f" The run used fedgates {one_line(version, 20)}." if version else ""
    resume = [note("To resume it:"), _code(command(run, resume=True)), note("To repeat it from the start:")]
    return section("Reproduce this run", note(where, made), *(resume if run.ended_early else []), _code(command(run)))


def _code(text: str) -> Html:
    if len(text) > _MAX_CODE:
        return note("The command is too long for this page; config.json has all of its values.")
    return el("pre", el("code", text), tabindex=0)


def command(run: RunData, *, resume: bool = False) -> str:
    """Return the shell command that repeats the run or, with `resume`, resumes it; keys with default values are left out."""
    parts = ["uv run flwr run . --stream"]
    clients = run.config.get(CLIENTS)
    if clients is not None:
        parts.append(f"--federation-config {shlex.quote(f'num-supernodes={clients} client-resources-num-cpus=1')}")
    pairs = [as_pair(key, run.config[key]) for key in run.changed]
    if resume:
        pairs.append(as_pair("resume", str(run.folder)))
    if pairs:
        parts.append(f"--run-config {shlex.quote(' '.join(pairs))}")
    return " \\\n  ".join(parts)


def _code_of(value: object) -> Html | str:
    return el("code", numbers.plain(value)) if value != "" else join(["(empty)"])
