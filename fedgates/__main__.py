"""The command ``fedgates``, where what it is made with is installed: a model's file loads without."""

import sys


def main() -> None:
    """Run the command; ends the process."""
    try:
        from fedgates.cli import main as command  # noqa: PLC0415, TID251
    except ModuleNotFoundError as error:
        lacking = f"the command needs the package {error.name}, which is not installed"
        sys.exit(f"fedgates: {lacking}; fedgates.load takes torch and numpy alone")
    except KeyboardInterrupt:  # so soon
        sys.stderr.write("fedgates: stopped\n")
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
