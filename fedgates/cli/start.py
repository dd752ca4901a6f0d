"""The subcommands ``run`` and ``new``: run a federation, and write a Flower app."""

from pathlib import Path
from typing import Annotated

import typer

from fedgates.cli.app import RunConfigOption, cli, import_from_here, one_text
from fedgates.config import folder


@cli.command(epilog="Example: fedgates run --clients 10 --run-config 'strategy=\"fedavg\" num-server-rounds=5'")
def run(
    clients: Annotated[int, typer.Option(min=1, help="Number of clients that share the data set.")] = 10,
    run_config: RunConfigOption = None,
    app: Annotated[
        Path | None,
        typer.Option(help="Folder of a Flower app, for its config and its methods.", show_default="the defaults"),
    ] = None,
) -> None:
    """Run a federation of simulated clients in this process.

    All numbers except seconds are those of `flwr run`; `fedgates config` lists the keys. Code of your own, such as
    model="my_module:my_function", is imported from the current folder.
    """
    from fedgates.config import merged, read_overrides  # noqa: PLC0415
    from fedgates.flower.app import load_app  # noqa: PLC0415
    from fedgates.flower.server_app import log_to_stdout  # noqa: PLC0415
    from fedgates.flower.simulation import simulate  # noqa: PLC0415

    import_from_here()
    settings, methods = read_overrides(one_text(run_config)), None
    if app is not None:
        loaded = load_app(folder(app).absolute())
        settings, methods = merged(loaded.config, settings), loaded.server.methods
    log_to_stdout()
    simulate(settings, clients, methods=methods, progress=False)


@cli.command(epilog="Example: fedgates new my_app && flwr run my_app --stream")
def new(
    target: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder to write; it must be new or empty.", show_default=False)
    ],
) -> None:
    """Write a small Flower app: two entry points, a config with all keys, and an example of your own method."""
    from fedgates.cli.new_app import write_app  # noqa: PLC0415

    written = write_app(folder(target))
    typer.echo(f"written: {written}\nnext: flwr run {written} --stream")
