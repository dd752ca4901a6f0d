"""The command ``fedgates``: one function per subcommand, with related subcommands in one module.

Subcommands import modules when they run, so that `--help` is fast. Errors are printed in one line. The exit code is 2 if the
command or a file must be corrected, 1 if something failed while the command ran, and 130 for Ctrl-C.
"""

import sys
from collections.abc import Sequence

import click
import typer

from fedgates.cli import compare, config, data, models, runs, start  # noqa: F401  # importing them registers the subcommands
from fedgates.cli.app import cli
from fedgates.errors import ConfigError, DivergenceError, NetworkError, QuorumError, StorageError
from fedgates.util.text import error_line

_INTERRUPTED, _STOPPED = 130, "stopped"
"""Exit code for Ctrl-C, as in typer, and the message."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit."""
    try:
        code = cli(arguments, standalone_mode=False) or 0  # None without typer.Exit
    except click.exceptions.NoArgsIsHelpError as error:
        typer.echo(error.format_message())
        code = 2
    except click.ClickException as error:
        code = _fail(error.format_message(), error.exit_code)
    except (ConfigError, NetworkError) as error:
        code = _fail(str(error), 2)
    except (QuorumError, DivergenceError, StorageError) as error:
        code = _fail(str(error), 1)
    except (click.Abort, KeyboardInterrupt) as error:
        code = _fail(str(error) or _STOPPED, _INTERRUPTED)
    except Exception as error:  # noqa: BLE001  # one line instead of a traceback
        code = _fail(error_line(error), 1)
    else:
        if code == _INTERRUPTED:  # typer caught the interrupt
            _fail(_STOPPED, code)
    sys.exit(code)


def _fail(message: str, code: int) -> int:
    typer.echo(f"fedgates: {' '.join(message.split())}", err=True)
    return code
