"""Libraries that a module of the user's own hides, because its folder comes first on the path."""

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
"""Libraries that are imported when they are needed, by us and by those that we use."""
_INSTALLED = {"site-packages", "dist-packages"}


@cache
def expect_libraries() -> None:
    """Check that no module beside the user's code has the name of a library.

    Raises
    ------
    ConfigError
        One has, and the library of that name is installed; names the file.
    """
    for name in LIBRARIES:
        own = _found(name, sys.path)
        if own is None or _is_installed(own):
            continue
        library = _found(name, [entry for entry in sys.path if _INSTALLED & set(Path(entry).parts)])
        if library is not None:
            file = one_line(own.origin or name)
            raise ConfigError("app", file, f"another name for it: it hides the library {name}, because its folder comes first")


def _found(name: str, path: list[str]) -> ModuleSpec | None:
    """Return what ``import name`` finds on a path, without importing it; None for nothing, or a folder without code."""
    found = PathFinder.find_spec(name, path)
    return found if found is not None and found.origin else None


def _is_installed(found: ModuleSpec) -> bool:
    return bool(_INSTALLED & set(Path(found.origin or "").parts))
