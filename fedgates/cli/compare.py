"""The subcommand ``compare``, which runs studies and compares finished runs."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from fedgates.cli.app import cli, writable
from fedgates.config import folder

if TYPE_CHECKING:
    from rich.console import Console

    from fedgates.compare import Group, Job, Study
    from fedgates.flower.study import Outcome, Progress


@cli.command(epilog="Example: fedgates compare benchmarks/study/digits_codecs.toml --workers 2")
def compare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY.toml|RUN...",
            help='A study file; or runs, each by its folder, its name, or "last".',
            show_default=False,
        ),
    ],
    app: Annotated[Path, typer.Option(help="Folder of the Flower app that the study runs.")] = Path(),
    runs: Annotated[Path, typer.Option(help="Folder for the runs of studies.")] = Path("~/fedgates/studies"),
    out: Annotated[
        Path | None,
        typer.Option(help="Output folder.", show_default="STUDY without .toml; for runs ./comparison"),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of parallel runs.", show_default="cores")] = os.cpu_count() or 1,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json instead of the table.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print results.csv, one line per run.")] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="Print table.tex, for the package booktabs.")] = False,
) -> None:
    """Compare runs: write a table (table.md, table.tex), numbers (results.json, results.csv) and figures.

    A study file lists scenarios, methods and seeds; every combination is one run on simulated clients. Finished runs with the
    same config are reused; after a change of code, delete their folders to repeat them.
    """
    from fedgates.compare import group_runs, read_run, read_study, write_comparison  # noqa: PLC0415
    from fedgates.compare.numbers import shared_metric  # noqa: PLC0415
    from fedgates.compare.output import CSV, LATEX, RESULTS, TABLE  # noqa: PLC0415
    from fedgates.compare.study import Question  # noqa: PLC0415
    from fedgates.runs.listing import find_run  # noqa: PLC0415

    if as_json + as_csv + as_latex > 1:
        raise click.UsageError("expected one of --json, --csv and --latex")
    command = shlex.join(["fedgates", "compare", *sources, *(["--app", str(app)] if app != Path() else [])])
    if len(sources) == 1 and sources[0].endswith(".toml"):
        file = Path(sources[0])
        study = read_study(file)
        out = writable(out or file.with_suffix(""))
        groups, failed = _run_study(study, folder(app), file, folder(runs), workers)
        question = study.question
    else:
        if any(source.endswith(".toml") for source in sources):
            raise click.UsageError("expected one study file (*.toml), or one or more finished runs")
        out = writable(out or Path("comparison"))
        groups, failed = group_runs(read_run(find_run(source)) for source in sources), []
        metric = shared_metric(groups)
        question = Question(f"{len(sources)} run{'s' * (len(sources) != 1)}", metric)
    if groups:
        write_comparison(out, question, groups, command, failed)
        shown = RESULTS if as_json else CSV if as_csv else LATEX if as_latex else TABLE
        typer.echo((out / shown).read_text(encoding="utf-8"), nl=False)
        typer.echo(f"written: {out}", err=shown != TABLE)
    for line in failed:
        typer.echo(line, err=True)
    if failed:
        raise typer.Exit(1)


def _run_study(study: "Study", app: Path, file: Path, runs: Path, workers: int) -> tuple[list["Group"], list[str]]:
    """Execute the missing runs of a study; return the groups of finished runs, and a message for each failed run."""
    from rich.console import Console  # noqa: PLC0415

    from fedgates.compare import Group, read_run  # noqa: PLC0415
    from fedgates.flower.study import StudyError, check_jobs, finished, lock_study, study_folder  # noqa: PLC0415

    console = Console(stderr=True, highlight=False)
    jobs, app, base = study.jobs(), app.absolute(), study_folder(runs.absolute(), app, file)
    with lock_study(base):
        try:
            with console.status(f"checking {len(jobs)} runs"):
                wanted = dict(zip(jobs, check_jobs(app, jobs), strict=True))
        except StudyError as error:
            raise click.UsageError(str(error)) from None
        folders = {job: base / job.folder for job in jobs}
        missing = {job: path for job, path in folders.items() if not finished(path, wanted[job])}
        console.print(f"{len(jobs)} runs: {len(jobs) - len(missing)} reused, {len(missing)} to run; in {base}", soft_wrap=True)
        outcome = _run_missing(app, missing, workers, {job: wanted[job]["num-server-rounds"] for job in missing}, console)
    failed = [f"failed: {job}: {reason} ({outcome.logs[job]})" for job, reason in outcome.failed.items()]
    jobs = [job for job in jobs if job not in outcome.failed]
    by_group: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        by_group.setdefault((job.scenario, job.method), []).append(job)
    return [Group(*names, tuple(read_run(folders[job]) for job in mine)) for names, mine in by_group.items()], failed


def _run_missing(
    app: Path, missing: dict["Job", Path], workers: int, rounds: dict["Job", int], console: "Console"
) -> "Outcome":
    """Run jobs with a progress bar over all their rounds."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    from fedgates.flower.study import run_jobs  # noqa: PLC0415
    from fedgates.runs.time_left import time_left_of_runs  # noqa: PLC0415

    printed: set[Job] = set()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rounds, {task.fields[left]}"))
    with Bar(*columns, console=console, disable=not missing) as bar:
        task = bar.add_task(f"0/{len(missing)} runs", total=sum(rounds.values()), left="- left")

        def update(lines: "Progress", outcome: "Outcome") -> None:
            ended = {**dict.fromkeys(outcome.folders, "done"), **dict.fromkeys(outcome.failed, "failed")}
            for job in [job for job in ended if job not in printed]:
                bar.print(f"{ended[job]}: {job}", markup=False)
            printed.update(ended)
            # an early stop leaves no rounds, and repeated rounds must not make the number negative
            remaining = {job: 0 if job in ended else max(0, rounds[job] - len(lines.get(job, ()))) for job in missing}
            left = time_left_of_runs(lines, remaining, workers)
            done = sum(rounds.values()) - sum(remaining.values())
            bar.update(task, completed=done, description=f"{len(ended)}/{len(missing)} runs", left=left)

        return run_jobs(app, missing, workers, update)
