"""Software versions of a run: packages, and git commits of the code."""

import platform
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import fedgates

_PACKAGES = ("torch", "flwr", "numpy")
_PATIENCE = 5
"""Timeout of a git command, seconds."""


def software() -> dict[str, str]:
    """Return versions and commits of the code in this process.

    Returns
    -------
    dict
        Versions of ``fedgates``, ``python``, ``torch``, ``flwr`` and ``numpy``, as far as installed; ``commit``, of the
        checkout that fedgates is imported from; ``app-commit``, of the first folder on ``sys.path``, such as that of an app or
        a script. A commit is left out if its folder is not in a git repository.
    """
    found = {"fedgates": fedgates.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    folders = {"commit": Path(fedgates.__file__).parent, "app-commit": Path(sys.path[0] if sys.path else "")}
    return found | {key: commit for key, folder in folders.items() if (commit := commit_of(folder))}


def commit_of(folder: Path) -> str:
    """Return the git commit of a folder, with ``-dirty`` if tracked files have changed; empty if no file in it is tracked."""
    if not _git(folder, "ls-files", "--error-unmatch", "."):
        return ""
    return _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str:
    """Return the output of a git command; empty if it fails or git is not installed."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE)  # noqa: S603
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
