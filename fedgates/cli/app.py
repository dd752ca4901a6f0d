"""The typer app, and helper functions shared by subcommands."""

import sys
from pathlib import Path
from typing import Annotated

import click
import typer

from fedgates.config import folder
from fedgates.errors import ConfigError

cli = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@cli.callback()
def _fedgates() -> None:
    """Federated learning that sends gates, not weights: start runs, inspect and compare them, use their models."""


def import_from_here() -> None:
    """Make modules in the current folder importable, as ``python -m`` does."""
    sys.path.insert(0, str(Path.cwd()))


RunConfigOption = Annotated[
    list[str] | None,
    typer.Option(help="Keys and values, or one .toml file, as for flwr run; may be repeated.", show_default="none"),
]
"""The option ``--run-config``; :func:`one_text` converts it for :func:`fedgates.config.read_overrides`."""


def one_text(run_config: list[str] | None) -> str:
    """Join the values of ``--run-config`` to one text.

    Raises
    ------
    ConfigError
        There are a file and other values.
    """
    given = run_config or []
    for value in given:
        if len(given) > 1 and value.endswith(".toml"):
            raise ConfigError("run-config", value, "a single .toml file, without pairs or other files")
    return " ".join(given)


def writable(out: Path) -> Path:
    """Create the output folder and return it; called first, so that errors appear before a long computation."""
    out = folder(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--out = {str(out)!r}: expected a writable folder ({error.strerror})") from None
    return out
