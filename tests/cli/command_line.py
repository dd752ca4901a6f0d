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


def refused(capsys, *arguments):
    """The line with which a command refuses what the user can put right; nothing in it moves a terminal's cursor."""
    code, out, err = command(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("fedgates: ")
    assert err.endswith("\n")
    assert err[:-1].isprintable()
    return err[len("fedgates: ") : -1]
