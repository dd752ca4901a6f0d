"""What runs have left: the list of them, one told again, and what a round costs a device."""

import math
from pathlib import Path
from typing import Annotated

import click
import typer

from fedgates.cli.app import cli

_Run = Annotated[str, typer.Argument(metavar="RUN", help='A run\'s folder, its name, or "last".', show_default=False)]
_Json = Annotated[bool, typer.Option("--json", help="For scripts.")]


@cli.command(epilog="Example: fedgates runs")
def runs(
    folder: Annotated[Path, typer.Option(help="Where runs are kept: their output-dir.")] = Path("~/fedgates/runs"),
    *,
    as_json: _Json = False,
) -> None:
    """List runs: how far each came, what it reached, and what it cost."""
    import json  # noqa: PLC0415

    from fedgates.run_list import as_values, entries, table  # noqa: PLC0415

    if not folder.expanduser().is_dir():
        raise click.UsageError(f"--folder = {str(folder)!r}: expected a folder; the first run makes it")
    found = list(entries(folder.expanduser()))
    typer.echo(json.dumps(as_values(found), indent=2) if as_json else table(found))


@cli.command(epilog="Example: fedgates report last --follow")
def report(
    run: _Run,
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Keep a view of the run up to date until it ends.")] = False,
    as_json: _Json = False,
) -> None:
    """Tell a run: its rounds and what they cost, and write its page, report.html."""
    import json  # noqa: PLC0415

    from fedgates.page import write_page  # noqa: PLC0415
    from fedgates.report import summary  # noqa: PLC0415
    from fedgates.run_list import as_values, entry, find, rounds  # noqa: PLC0415
    from fedgates.totals import parameters  # noqa: PLC0415

    path = find(run)
    if follow:
        _follow(path)
    written = write_page(path)
    lines, found = rounds(path), entry(path)
    if as_json:
        typer.echo(json.dumps({**as_values([found])[0], "page": str(written)}, indent=2))
        return
    typer.echo(summary(lines, found.strategy, parameters(lines)))
    typer.echo(f"written: {written}")


def _follow(path: Path) -> None:
    """Show the last rounds of a run, and the time left, until it ends."""
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from fedgates.report import Clock  # noqa: PLC0415
    from fedgates.run_list import entry, follow  # noqa: PLC0415

    console = Console(highlight=False)
    with Live(Text(f"{path}: no round yet"), console=console, auto_refresh=False) as view:
        for lines in follow(path):
            clock = Clock(entry(path).of_rounds)
            told = [clock.line(line) for line in lines][-max(3, console.height - 3) :]
            view.update(Text("\n".join([str(path), *(told or ["no round yet"])])), refresh=True)


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

    from fedgates.cost import LINKS, device_round, seconds, table  # noqa: PLC0415
    from fedgates.run_list import find, rounds  # noqa: PLC0415

    if not all(math.isfinite(speed) for speed in (up or 1.0, down or 1.0, slower)):
        raise click.UsageError("--up, --down, --slower: expected numbers")
    if down is not None and up is None:
        raise click.UsageError("--down needs --up")
    links = LINKS if up is None else ((up, down or up),)
    found = device_round(rounds(find(run)))
    if found is None:
        raise click.UsageError(f"RUN = {run!r}: expected a run with replies in its rounds.jsonl")
    if not as_json:
        typer.echo(table(found, links, slower))
        return
    of_links = [{"up_kbps": u, "down_kbps": d, "slower": slower, **asdict(seconds(found, u, d, slower))} for u, d in links]
    typer.echo(json.dumps({**asdict(found), "links": of_links}, indent=2))
