"""Federated learning where clients send gates, not weights."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedgates.model_file import Model, ModelFileError, load

__all__ = ["Model", "ModelFileError", "load"]


def __getattr__(name: str) -> object:
    """What a finished model needs, imported when it is asked for: torch takes a second that `fedgates --help` has not."""
    if name not in __all__:
        raise AttributeError(f"module 'fedgates' has no attribute {name!r}")
    from fedgates import model_file  # noqa: PLC0415

    return getattr(model_file, name)
