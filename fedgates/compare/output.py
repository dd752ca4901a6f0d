"""Write the output folder of a comparison: table and results in two formats each, and figures."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fedgates.compare.figures import draw
from fedgates.compare.numbers import Numbers, any_has, curve, measure, over_seeds, worst
from fedgates.compare.runs import Group
from fedgates.compare.study import ONLY_SCENARIO, Question, slug
from fedgates.compare.tables import header, latex, machine, markdown, row
from fedgates.runs.best_round import stopped
from fedgates.util.files import write_atomically
from fedgates.util.text import one_line

Results = Mapping[str, Mapping[str, Sequence[Numbers]]]
"""Mapping from scenario to method to the numbers of its runs."""
TABLE, LATEX, RESULTS, CSV = "table.md", "table.tex", "results.json", "results.csv"
"""Names of the output files."""


def write_comparison(out: Path, question: Question, groups: Sequence[Group], command: str, notes: Iterable[str] = ()) -> str:
    """Write table, figures and results of `groups` to the folder `out`, and return the text of the table.

    Parameters
    ----------
    out : Path
        Output folder, created if missing; files of an earlier comparison are replaced.
    question : Question
        Metric, targets, columns and curves to show.
    groups : sequence of Group
        Groups in the order of rows and legends, each with at least one run.
    command : str
        The command that was run, to print below the title of the table.
    notes : iterable of str
        Notes to print below the table, such as runs that failed.
    """
    keys = (question.metric, *(question.columns or ()), *(question.curves or ()))
    notes = [*notes, *(f"No run has {key}." for key in dict.fromkeys(keys) if not any_has(groups, key))]
    notes += [note for group in groups if (note := _stopped_early(group))]
    question = _with_density(question, groups)
    columns = question.columns or ()
    results: dict[str, dict[str, list[Numbers]]] = {}
    for group in groups:
        results.setdefault(group.scenario, {})[group.method] = [measure(run, question, columns) for run in group.runs]
    out.mkdir(parents=True, exist_ok=True)
    table = _table(question, columns, results, command, notes)
    texts = {
        TABLE: table,
        LATEX: _latex(question, columns, results),
        RESULTS: json.dumps(_results(question, results, command), indent=2) + "\n",
        CSV: _csv(results),
    }
    for name, text in texts.items():
        write_atomically(out / name, text.encode())
    _figures(out, question, groups)
    return table


def _stopped_early(group: Group) -> str:
    """Return a note with the last round of each run if any of them stopped early, otherwise an empty string."""
    if not any(stopped(run.lines, run.config) for run in group.runs):
        return ""
    name = group.method if group.scenario == ONLY_SCENARIO else f"{group.scenario}, {group.method}"
    ends = ", ".join(str(run.lines[-1]["round"]) for run in group.runs)
    return f"{name}: stopped early; last round of each seed: {ends}. Curves end with the shortest run."


def _with_density(question: Question, groups: Sequence[Group]) -> Question:
    """Return the question with default columns and curves: density of the model if known, otherwise that of the sent masks."""
    density = ("model_density",) if any_has(groups, "model_density") else ("density",)
    return replace(
        question,
        columns=density if question.columns is None else question.columns,
        curves=density if question.curves is None else question.curves,
    )


def _table(question: Question, columns: Sequence[str], results: Results, command: str, notes: Iterable[str]) -> str:
    seeds = sorted({len(runs) for of_scenario in results.values() for runs in of_scenario.values()})
    counts = " to ".join(dict.fromkeys(str(n) for n in (seeds[0], seeds[-1])))
    averaged = " (with the prefix mean_: mean over rounds)" if any(key.startswith("mean_") for key in columns) else ""
    text = (
        f"Mean ± standard deviation over seeds ({counts} per method). {question.metric} and the columns from it to bpp: after "
        f"the last round{averaged}. bpp: bits per parameter of a message, mean over rounds. bytes: payloads of all clients and "
        "rounds, evaluation included."
    )
    if question.targets:
        text += (
            " Rounds and bytes (both ways) to a target: means over the seeds that reached it, with their number if some did "
            "not."
        )
    lines = [f"# {question.title}", "", f"`{command}`", "", text, ""]
    for scenario, methods in results.items():
        if scenario != ONLY_SCENARIO:
            lines += [f"## {scenario}", ""]
        rows = [row(method, runs, question, columns) for method, runs in methods.items()]
        lines += [*markdown(header(question, columns), rows), ""]
    lines += [f"{note}\n" for note in notes]
    return "\n".join([*lines, machine(), ""])


def _latex(question: Question, columns: Sequence[str], results: Results) -> str:
    """Return the table of all scenarios as LaTeX."""
    named = list(results) != [ONLY_SCENARIO]
    rows = [
        [*([scenario] if named else []), *row(method, runs, question, columns)]
        for scenario, methods in results.items()
        for method, runs in methods.items()
    ]
    return latex([*(["scenario"] if named else []), *header(question, columns)], rows, left=2 if named else 1)


def _csv(results: Results) -> str:
    """Return the numbers of ``results.json`` as CSV, with a line for each run."""
    import pandas as pd  # noqa: PLC0415  # takes half a second

    runs = [
        {"scenario": one_line(scenario), "method": one_line(method), **_flat(run)}
        for scenario, methods in results.items()
        for method, of_method in methods.items()
        for run in of_method
    ]
    return str(pd.DataFrame(runs).to_csv(index=False))


def _results(question: Question, results: Results, command: str) -> dict[str, Any]:
    """Return the content of ``results.json``: the numbers of the table, and those of each seed."""
    scenarios = {
        scenario: {method: _of_method(runs, question) for method, runs in methods.items()}
        for scenario, methods in results.items()
    }
    return {
        "title": question.title,
        "command": command,
        "machine": machine(),
        "metric": question.metric,
        "scenarios": scenarios,
    }


def _of_method(runs: Sequence[Numbers], question: Question) -> dict[str, Any]:
    flat = [_flat(run) for run in runs]
    pairs = {key: over_seeds([of_run[key] for of_run in flat]) for key in flat[0] if key != "seed"}
    return {
        "mean": {key: middle for key, (middle, _) in pairs.items()},
        "sd": {key: sd for key, (_, sd) in pairs.items()},
        "worst": worst([run.metric for run in runs], question),
        "reached": {f"{target:g}": sum(run.reached[target] is not None for run in runs) for target in question.targets},
        "seeds": flat,
    }


def _flat(run: Numbers) -> dict[str, Any]:
    """Return the numbers of a run by name; other keys of ``rounds.jsonl`` have the prefix ``last_``, to avoid clashes."""
    plain = {key: value for key, value in asdict(run).items() if key not in ("reached", "columns")}
    reached = {
        f"{what}_to_{target:g}": getattr(at, what) if at else None
        for target, at in run.reached.items()
        for what in ("round", "bytes")
    }
    return {**plain, "bytes": run.bytes, **reached, **{f"last_{key}": value for key, value in run.columns.items()}}


def _figures(out: Path, question: Question, groups: Sequence[Group]) -> None:
    for key in dict.fromkeys((question.metric, *(question.curves or ()))):
        panels: dict[str, dict[str, Any]] = {}
        for group in groups:
            panels.setdefault(group.scenario, {})[group.method] = curve(group, key)
        draw(panels, key, "rounds").savefig(out / f"{slug(key)}-rounds.png", dpi=130)
        if key == question.metric:
            draw(panels, key, "bytes").savefig(out / f"{slug(key)}-bytes.png", dpi=130)
