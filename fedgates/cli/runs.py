"""The subcommands ``runs``, ``report`` and ``cost``."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import click
import typer

from fedgates import config
from fedgates.cli.app import cli, import_from_here
from fedgates.errors import ConfigError
from fedgates.util.text import one_line

_Run = Annotated[str, typer.Argument(metavar="RUN", help='A run: its folder, its name, or "last".', show_default=False)]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@cli.command(epilog="Example: fedgates runs --where strategy=fedpm --where 'accuracy>0.9' --sort bytes")
def runs(
    folder: Annotated[Path, typer.Option(help="Folder of the runs, the key output-dir.")] = Path("~/fedgates/runs"),
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="List only runs that meet a condition: a column, one of = != < <= > >=, and a value. May be repeated.",
            show_default="none",
        ),
    ] = None,
    sort: Annotated[str, typer.Option(metavar="COLUMN", help="Sort by a column.", show_default="by start")] = "",
    *,
    reverse: Annotated[bool, typer.Option("--reverse", help="Largest or newest first.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with all columns.")] = False,
    as_json: _Json = False,
) -> None:
    """List runs: rounds done, result, bytes, size of the model, and the settings in which the runs differ.

    --where and --sort accept the columns that --csv prints: results (accuracy, loss, density, bytes, ... of the last round;
    bytes and seconds of all rounds) and settings (strategy, learning-rate, ...).
    """
    import json  # noqa: PLC0415

    from fedgates.runs.listing import list_runs  # noqa: PLC0415
    from fedgates.runs.table import matching, ordered, runs_table, to_csv, to_row  # noqa: PLC0415

    base = config.folder(folder)
    if not base.is_dir():
        raise click.UsageError(f"--folder = {str(folder)!r}: expected an existing folder; the first run creates it")
    if as_csv and as_json:
        raise click.UsageError("expected --csv or --json, not both")
    entries = {entry.name: entry for entry in list_runs(base)}
    if not entries and not as_json:
        typer.echo(
            f"fedgates: no runs in {one_line(str(base))}; runs of a study are in its subfolders SCENARIO/METHOD", err=True
        )
    for entry in entries.values():
        _print_problems(entry.problems, f"{one_line(entry.name)}: ")
    rows = matching([to_row(entry) for entry in entries.values()], where or [])
    if sort:
        rows = ordered(rows, sort, reverse=reverse)
    elif reverse:
        rows.reverse()
    if as_csv:
        typer.echo(to_csv(rows), nl=False)
    else:
        typer.echo(json.dumps(rows, indent=2) if as_json else runs_table([entries[row["name"]] for row in rows]))


@cli.command(epilog="Example: fedgates report last --follow")
def report(
    run: _Run,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show the rounds of a run in progress and update its page until it ends.")
    ] = False,
    trackers: Annotated[
        str,
        typer.Option(help="Log the whole run to these trackers, in the format of the key trackers.", show_default=False),
    ] = "",
    as_json: _Json = False,
) -> None:
    """Print the result and the bytes of a run, and write its page, report.html."""
    import json  # noqa: PLC0415

    from fedgates.cli.follow import show, write_current_page  # noqa: PLC0415
    from fedgates.config.app import as_pair  # noqa: PLC0415
    from fedgates.runs.folder import MODEL_BEST, is_running  # noqa: PLC0415
    from fedgates.runs.listing import find_run, read_entry  # noqa: PLC0415
    from fedgates.runs.round_log import read_rounds  # noqa: PLC0415
    from fedgates.runs.summary import summary_table  # noqa: PLC0415
    from fedgates.runs.table import to_row  # noqa: PLC0415
    from fedgates.runs.totals import network_size  # noqa: PLC0415

    path = find_run(run)
    if follow:
        try:
            show(path, stderr=as_json)
        except KeyboardInterrupt:
            raise click.Abort("stopped following; the run continues" if is_running(path) else "stopped") from None
    if trackers:
        from fedgates.trackers import replay  # noqa: PLC0415

        import_from_here()
        typer.echo(f"logged: {replay(trackers, path)} rounds to {trackers}", err=True)
    page, failure = None, ""
    try:
        page = write_current_page(path)
    except OSError as error:  # the folder may be read-only
        failure = f"the page cannot be written ({error.strerror or error})"
    lines, entry = read_rounds(path).lines, read_entry(path)
    _print_problems(entry.problems)
    if as_json:
        typer.echo(json.dumps({**to_row(entry), "page": None if page is None else str(page)}, indent=2))
    else:
        typer.echo(summary_table(lines, entry.strategy, network_size(lines)))
        if entry.under_way or entry.rounds < entry.of_rounds:
            ended = f"ended early; to resume: {as_pair('resume', str(path.resolve()))}"
            status = "running" if entry.under_way else f"stopped early: {entry.stopped}" if entry.stopped else ended
            typer.echo(f"{entry.rounds} of {entry.of_rounds} rounds done, {status}")
        if (path / MODEL_BEST).is_file():
            typer.echo(f"best model: {path / MODEL_BEST}")
        if page is not None:
            typer.echo(f"written: {page}")
    if failure:
        typer.echo(f"fedgates: {failure}", err=True)
        raise typer.Exit(1)


def _print_problems(problems: Sequence[str], where: str = "") -> None:
    if problems:
        more = f", and {len(problems) - 1:,} more" if len(problems) > 1 else ""
        typer.echo(f"fedgates: {where}left out, because it cannot be read: {problems[0]}{more}", err=True)


@cli.command(epilog="Example: fedgates cost last --up 20 --down 100 --slower 10")
def cost(
    run: _Run,
    up: Annotated[float | None, typer.Option(min=0.001, help="Uplink of the device, kbit/s.", show_default="several")] = None,
    down: Annotated[
        float | None, typer.Option(min=0.001, help="Downlink of the device, kbit/s.", show_default="as --up")
    ] = None,
    slower: Annotated[
        float, typer.Option(min=0.001, help="Ratio of the device's computing time to that of the machine that ran the clients.")
    ] = 1.0,
    *,
    as_json: _Json = False,
) -> None:
    """Print the cost of a round for one device: bytes in both directions, and seconds for given link speeds."""
    import json  # noqa: PLC0415
    from dataclasses import asdict  # noqa: PLC0415

    from fedgates.runs.cost import LINKS, cost_table, device_round, round_seconds  # noqa: PLC0415
    from fedgates.runs.listing import find_run, read_entry  # noqa: PLC0415
    from fedgates.runs.round_log import RoundLog  # noqa: PLC0415

    if not all(math.isfinite(speed) for speed in (up or 1.0, down or 1.0, slower)):
        raise click.UsageError("--up, --down, --slower: expected finite numbers")
    if down is not None and up is None:
        raise click.UsageError("--down needs --up")
    links = LINKS if up is None else ((up, down or up),)
    path = find_run(run)
    costs = device_round(RoundLog(path).read())
    if costs is None:
        raise ConfigError("run", run, f"a run with at least one reply from a client; {read_entry(path).progress}")
    if not as_json:
        typer.echo(cost_table(costs, links, slower))
        return
    of_links = [
        {"up_kbps": u, "down_kbps": d, "slower": slower, **asdict(round_seconds(costs, u, d, slower))} for u, d in links
    ]
    typer.echo(json.dumps({**asdict(costs), "links": of_links}, indent=2))
