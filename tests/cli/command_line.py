"""A command line's exit code and what it printed."""

from fedgates.cli import main


def command(capsys, *arguments):
    """Run `fedgates` in this process: exit code, standard output, standard error."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    return code, out, err
