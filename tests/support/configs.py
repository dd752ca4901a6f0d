"""Configurations from keyword arguments, under old flat names or present ones."""

from typing import Any

from fedgates.config import parse


def config_of(config_class: type, **settings: Any) -> Any:
    """Return the parsed configuration: ``config_of(FedPMConfig, eps=0.1)`` sets ``fedpm.eps``; underscores stand for dashes."""
    return parse(config_class, {key.replace("_", "-"): value for key, value in settings.items()})
