"""The command ``fedgates``: one function a subcommand, a file for those that belong together.

What a subcommand needs is imported when it runs, so that help comes at once. What goes wrong is one line and an exit code: 2
for what the user can put right in the command or a file, 1 for what went wrong while it ran, 130 for Ctrl-C.
"""

import sys
from collections.abc import Sequence

import click
import typer

from fedgates.cli import compare, config, data, models, runs, start  # noqa: F401  # they hang themselves on the app
from fedgates.cli.app import cli
from fedgates.errors import ConfigError, NetworkError, QuorumError
from fedgates.util.text import error_line

_INTERRUPTED, _STOPPED = 130, "stopped"
"""The exit code for Ctrl-C, typer's, too, and what is said then."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; ends the process."""
    try:
        code = cli(arguments, standalone_mode=False) or 0  # the code of typer.Exit, or nothing
    except click.exceptions.NoArgsIsHelpError as error:
        typer.echo(error.format_message())
        code = 2
    except click.ClickException as error:
        code = _fail(error.format_message(), error.exit_code)
    except (ConfigError, NetworkError) as error:
        code = _fail(str(error), 2)
    except QuorumError as error:
        code = _fail(str(error), 1)
    except (click.Abort, KeyboardInterrupt) as error:
        code = _fail(str(error) or _STOPPED, _INTERRUPTED)
    except Exception as error:  # noqa: BLE001  # whatever it is, a traceback is for those who debug this
        code = _fail(error_line(error), 1)
    else:
        if code == _INTERRUPTED:  # typer has caught it
            _fail(_STOPPED, code)
    sys.exit(code)


def _fail(message: str, code: int) -> int:
    typer.echo(f"fedgates: {' '.join(message.split())}", err=True)
    return code
