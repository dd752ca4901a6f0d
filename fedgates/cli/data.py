"""The subcommand ``data``, which shows the labels of each simulated client."""

from pathlib import Path
from typing import Annotated

import click
import typer

from fedgates.cli.app import RunConfigOption, cli, one_text, writable
from fedgates.config.names import folder


@cli.command(epilog="Example: fedgates data --clients 20 --run-config 'partition=\"dirichlet\" data.dirichlet-alpha=0.1'")
def data(
    clients: Annotated[int, typer.Option(min=1, help="Number of simulated clients.")] = 10,
    run_config: RunConfigOption = None,
    app: Annotated[Path, typer.Option(help="Folder of the Flower app.")] = Path(),
    out: Annotated[Path | None, typer.Option(help="Folder for the figure labels.png.", show_default="none")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Show inputs, task and outputs of the app's data set, and the label counts of each simulated client."""
    import json  # noqa: PLC0415

    from fedgates.config import read_app, read_shared  # noqa: PLC0415
    from fedgates.data.label_counts import draw, label_counts, table  # noqa: PLC0415

    try:
        found = label_counts(read_shared(read_app(folder(app)), one_text(run_config)), clients)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    typer.echo(json.dumps(found.to_dict(), indent=2) if as_json else table(found))
    if out is not None:
        typer.echo(f"written: {draw(found, writable(out))}", err=as_json)
