"""The command ``fedgates``: one function a subcommand, a file for those that belong together.

What a subcommand needs is imported when it runs, so that help comes at once. What goes wrong is one line and an exit code: 2
for what the user can put right in the command or a file, 1 for what went wrong while it ran, 130 for Ctrl-C.
"""

import sys
from collections.abc import Sequence

import click
import typer

from fedgates.cli import compare, data, models, runs  # noqa: F401  # they hang themselves on the app
from fedgates.cli.app import cli

_INTERRUPTED = 130
"""The exit code for Ctrl-C, typer's, too."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; ends the process."""
    from fedgates.config import ConfigError  # noqa: PLC0415
    from fedgates.text import error_line  # noqa: PLC0415

    try:
        code = cli(arguments, standalone_mode=False) or 0  # the code of typer.Exit, or nothing
    except click.exceptions.NoArgsIsHelpError as error:
        typer.echo(error.format_message())
        code = 2
    except click.ClickException as error:
        code = _fail(error.format_message(), error.exit_code)
    except ConfigError as error:
        code = _fail(str(error), 2)
    except (click.Abort, KeyboardInterrupt) as error:
        sys.exit(_fail(str(error) or "stopped", _INTERRUPTED))
    except Exception as error:  # noqa: BLE001  # whatever it is, a traceback is for those who debug this
        code = _fail(error_line(error), 1)
    if code == _INTERRUPTED:
        _fail("stopped", code)
    sys.exit(code)


def _fail(message: str, code: int) -> int:
    typer.echo(f"fedgates: {' '.join(message.split())}", err=True)
    return code
