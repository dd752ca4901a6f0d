"""Check for user modules that hide a library because their folder comes first on ``sys.path``."""

import sys
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from fedgates.errors import ConfigError
from fedgates.util.text import one_line

LIBRARIES = (
    *("constriction", "datasets", "filelock", "flwr", "flwr_datasets", "jinja2", "matplotlib", "numpy", "pandas", "PIL"),
    *("pydantic", "ray", "safetensors", "torch", "torchvision", "tqdm", "yaml"),
)
"""Libraries that fedgates, or a library that it uses, imports lazily."""
_INSTALLED = {"site-packages", "dist-packages"}


@cache
def expect_libraries() -> None:
    """Check that no module of the user's hides an installed library.

    Raises
    ------
    ConfigError
        A module has the name of an installed library; the message names the module's file.
    """
    for name in LIBRARIES:
        own = _found(name, sys.path)
        if own is None or _is_installed(own):
            continue
        library = _found(name, [entry for entry in sys.path if _INSTALLED & set(Path(entry).parts)])
        if library is not None:
            file = one_line(own.origin or name)
            raise ConfigError("app", file, f"a file with another name; this one hides the library {name}")


def _found(name: str, path: list[str]) -> ModuleSpec | None:
    """Find the module that ``import name`` would load from `path`, without importing it; None for a folder without code."""
    found = PathFinder.find_spec(name, path)
    return found if found is not None and found.origin else None


def _is_installed(found: ModuleSpec) -> bool:
    return bool(_INSTALLED & set(Path(found.origin or "").parts))
