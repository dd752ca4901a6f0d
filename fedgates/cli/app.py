"""The typer app that commands hang on, and what they share."""

import sys
from pathlib import Path

import click
import typer

from fedgates.config import folder

cli = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@cli.callback()
def _fedgates() -> None:
    """Federated learning that sends gates, not weights: start runs, look at them, compare methods, use the model."""


def import_from_here() -> None:
    """Let the user's own code lie in the current folder, as it may for ``python -m``."""
    sys.path.insert(0, str(Path.cwd()))


def writable(out: Path) -> Path:
    """The folder for what is made, found out to be one before hours are spent on it."""
    out = folder(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--out = {str(out)!r}: expected a folder that can be written ({error.strerror})") from None
    return out
