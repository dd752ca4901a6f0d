"""Studies, and finished runs side by side."""

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
    from fedgates.flower.study import Outcome


@cli.command(epilog="Example: fedgates compare benchmarks/study/digits_codecs.toml --workers 2")
def compare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY.toml|RUN...", help='A study; or runs: their folders, their names, or "last".', show_default=False
        ),
    ],
    app: Annotated[Path, typer.Option(help="Folder of the Flower app that a study runs.")] = Path(),
    runs: Annotated[Path, typer.Option(help="Where a study's runs are kept.")] = Path("~/fedgates/studies"),
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for table and figures.", show_default="named like the study, beside it; or ./comparison"),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time.", show_default="cores")] = os.cpu_count() or 1,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json, for scripts.")] = False,
) -> None:
    """Run a study, or take finished runs, and compare them: table.md, results.json and figures.

    A study file names scenarios, methods and seeds; every combination is a run on simulated clients. Runs that are finished and
    have the same config are not run again; delete their folders to have them run anew, as after a change of code.
    """
    from fedgates.compare import by_what_differs, read_run, read_study, write_comparison  # noqa: PLC0415
    from fedgates.compare.numbers import has  # noqa: PLC0415
    from fedgates.compare.output import RESULTS  # noqa: PLC0415
    from fedgates.compare.study import Question  # noqa: PLC0415
    from fedgates.runs.listing import find  # noqa: PLC0415

    command = shlex.join(["fedgates", "compare", *sources, *(["--app", str(app)] if app != Path() else [])])
    if len(sources) == 1 and sources[0].endswith(".toml"):
        file = Path(sources[0])
        study = read_study(file)
        out = writable(out or file.with_suffix(""))
        groups, failed = _run_study(study, folder(app), file, folder(runs), workers)
        question = study.question
    else:
        if any(source.endswith(".toml") for source in sources):
            raise click.UsageError("expected one study file (*.toml) alone, or runs that have finished")
        out = writable(out or Path("comparison"))
        groups, failed = by_what_differs(read_run(find(source)) for source in sources), []
        metric = "accuracy" if has(groups, "accuracy") else "loss"
        question = Question(f"{len(sources)} run{'s' * (len(sources) != 1)}", metric)
    if groups:
        table = write_comparison(out, question, groups, command, failed)
        typer.echo((out / RESULTS).read_text(encoding="utf-8").strip() if as_json else table)
        typer.echo(f"written: {out}", err=as_json)
    for line in failed:
        typer.echo(line, err=True)
    if failed:
        raise typer.Exit(1)


def _run_study(study: "Study", app: Path, file: Path, runs: Path, workers: int) -> tuple[list["Group"], list[str]]:
    """Check all of a study's runs, run those that are not there, and read them; and a line for each that failed."""
    from rich.console import Console  # noqa: PLC0415

    from fedgates.compare import Group, read_run  # noqa: PLC0415
    from fedgates.flower.study import StudyError, check_jobs, finished, lock_study, study_folder  # noqa: PLC0415

    console = Console(stderr=True, highlight=False)
    jobs, app, kept = study.jobs(), app.absolute(), study_folder(runs.absolute(), app, file)
    with lock_study(kept):
        try:
            with console.status(f"checking {len(jobs)} runs"):
                wanted = dict(zip(jobs, check_jobs(app, jobs), strict=True))
        except StudyError as error:
            raise click.UsageError(str(error)) from None
        folders = {job: kept / job.folder for job in jobs}
        missing = {job: path for job, path in folders.items() if not finished(path, wanted[job])}
        console.print(f"{len(jobs)} runs: {len(jobs) - len(missing)} reused, {len(missing)} to do; in {kept}", soft_wrap=True)
        outcome = _run_missing(app, missing, workers, sum(wanted[job]["num-server-rounds"] for job in missing), console)
    failed = [f"failed: {job}: {reason} ({outcome.logs[job]})" for job, reason in outcome.failed.items()]
    jobs = [job for job in jobs if job not in outcome.failed]
    of_group: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        of_group.setdefault((job.scenario, job.method), []).append(job)
    return [Group(*names, tuple(read_run(folders[job]) for job in mine)) for names, mine in of_group.items()], failed


def _run_missing(app: Path, missing: dict["Job", Path], workers: int, rounds: int, console: "Console") -> "Outcome":
    """Run jobs under a bar of so many rounds in all."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    from fedgates.flower.study import run_jobs  # noqa: PLC0415

    told: set[Job] = set()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), "rounds", TimeRemainingColumn())
    with Progress(*columns, console=console, speed_estimate_period=600, disable=not missing) as bar:
        task = bar.add_task(f"0/{len(missing)} runs", total=rounds)

        def tell(done: int, outcome: "Outcome") -> None:
            ended = {**dict.fromkeys(outcome.folders, "done"), **dict.fromkeys(outcome.failed, "failed")}
            for job in [job for job in ended if job not in told]:
                bar.print(f"{ended[job]}: {job}", markup=False)
            told.update(ended)
            bar.update(task, completed=done, description=f"{len(ended)}/{len(missing)} runs")

        return run_jobs(app, missing, workers, tell)
