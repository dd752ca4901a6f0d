"""What runs have left: the list of them, one told again, and what a round costs a device."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import click
import typer

from fedgates import config
from fedgates.cli.app import cli, import_from_here
from fedgates.errors import ConfigError

_Run = Annotated[str, typer.Argument(metavar="RUN", help='A run\'s folder, its name, or "last".', show_default=False)]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@cli.command(epilog="Example: fedgates runs")
def runs(
    folder: Annotated[Path, typer.Option(help="Where runs are kept: their output-dir.")] = Path("~/fedgates/runs"),
    *,
    as_json: _Json = False,
) -> None:
    """List runs: how far each came, what it reached, and what it cost."""
    import json  # noqa: PLC0415

    from fedgates.runs.listing import as_values, entries, table  # noqa: PLC0415

    base = config.folder(folder)
    if not base.is_dir():
        raise click.UsageError(f"--folder = {str(folder)!r}: expected a folder; the first run makes it")
    found = list(entries(base))
    for each in found:
        _tell_problems(each.problems, f"{each.name}: ")
    typer.echo(json.dumps(as_values(found), indent=2) if as_json else table(found))


@cli.command(epilog="Example: fedgates report last --follow")
def report(
    run: _Run,
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Keep a view of it and its page up to date until it ends.")] = False,
    trackers: Annotated[
        str,
        typer.Option(
            help="Tell it, from its first round on, to wandb, say: as the key (docs/trackers.md).", show_default=False
        ),
    ] = "",
    as_json: _Json = False,
) -> None:
    """Tell what a run has reached and what it cost, and write its page, report.html."""
    import json  # noqa: PLC0415

    from fedgates.cli.follow import show, write_current_page  # noqa: PLC0415
    from fedgates.config.app import as_pair  # noqa: PLC0415
    from fedgates.runs.listing import as_values, entry, find, under_way  # noqa: PLC0415
    from fedgates.runs.log_reader import read  # noqa: PLC0415
    from fedgates.runs.summary import summary  # noqa: PLC0415
    from fedgates.runs.totals import parameters  # noqa: PLC0415

    path = find(run)
    if follow:
        try:
            show(path, stderr=as_json)
        except KeyboardInterrupt:
            raise click.Abort("the view has ended; the run has not" if under_way(path) else "stopped") from None
    if trackers:
        from fedgates.trackers import retell  # noqa: PLC0415

        import_from_here()
        typer.echo(f"told: {retell(trackers, path)} rounds, to {trackers}", err=True)
    written, unwritten = None, ""
    try:
        written = write_current_page(path)
    except OSError as error:  # the folder may be somebody else's
        unwritten = f"its page cannot be written ({error.strerror or error})"
    lines, found = read(path).sound, entry(path)
    _tell_problems(found.problems)
    if as_json:
        typer.echo(json.dumps({**as_values([found])[0], "page": None if written is None else str(written)}, indent=2))
    else:
        typer.echo(summary(lines, found.strategy, parameters(lines)))
        if found.under_way or found.rounds < found.of_rounds:
            how = "still running" if found.under_way else f"ended early; to go on: {as_pair('resume', str(path.resolve()))}"
            typer.echo(f"{found.rounds} of {found.of_rounds} rounds are done, {how}")
        if written is not None:
            typer.echo(f"written: {written}")
    if unwritten:
        typer.echo(f"fedgates: {unwritten}", err=True)
        raise typer.Exit(1)


def _tell_problems(problems: Sequence[str], where: str = "") -> None:
    if problems:
        more = f", and {len(problems) - 1:,} more" if len(problems) > 1 else ""
        typer.echo(f"fedgates: {where}left out, because it cannot be read: {problems[0]}{more}", err=True)


@cli.command(epilog="Example: fedgates cost last --up 20 --down 100 --slower 10")
def cost(
    run: _Run,
    up: Annotated[float | None, typer.Option(min=0.001, help="The device's uplink, kbit/s.", show_default="several")] = None,
    down: Annotated[float | None, typer.Option(min=0.001, help="Its downlink, kbit/s.", show_default="like --up")] = None,
    slower: Annotated[float, typer.Option(min=0.001, help="How many times slower it computes than what ran the run.")] = 1.0,
    *,
    as_json: _Json = False,
) -> None:
    """What a round costs one device, from a run's ledger: bytes both ways, and seconds on links of given speeds."""
    import json  # noqa: PLC0415
    from dataclasses import asdict  # noqa: PLC0415

    from fedgates.runs.cost import LINKS, device_round, seconds, table  # noqa: PLC0415
    from fedgates.runs.listing import entry, find, rounds  # noqa: PLC0415

    if not all(math.isfinite(speed) for speed in (up or 1.0, down or 1.0, slower)):
        raise click.UsageError("--up, --down, --slower: expected numbers")
    if down is not None and up is None:
        raise click.UsageError("--down needs --up")
    links = LINKS if up is None else ((up, down or up),)
    path = find(run)
    found = device_round(rounds(path))
    if found is None:
        raise ConfigError("run", run, f"a run in which clients have replied; {entry(path).so_far}")
    if not as_json:
        typer.echo(table(found, links, slower))
        return
    of_links = [{"up_kbps": u, "down_kbps": d, "slower": slower, **asdict(seconds(found, u, d, slower))} for u, d in links]
    typer.echo(json.dumps({**asdict(found), "links": of_links}, indent=2))
