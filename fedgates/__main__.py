"""Entry point of the command ``fedgates``; loading a model file does not need the packages of the command."""

import sys


def main() -> None:
    """Run the command and end the process."""
    try:
        from fedgates.cli import main as command  # noqa: PLC0415, TID251
    except ModuleNotFoundError as error:
        missing = f"the command needs the package {error.name}, which is not installed"
        sys.exit(f"fedgates: {missing}; fedgates.load needs only torch and numpy")
    except KeyboardInterrupt:  # during the import
        sys.stderr.write("fedgates: stopped\n")
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
