"""Configurations from keyword arguments, under old flat names or present ones."""

from typing import Any

from fedgates.config import parse, updated


def config_of(config_class: type, **settings: Any) -> Any:
    """Return the parsed configuration: ``config_of(FedPMConfig, eps=0.1)`` sets ``fedpm.eps``; underscores stand for dashes."""
    return parse(config_class, _keys(settings))


def with_settings(config: Any, **settings: Any) -> Any:
    """Return a copy of a configuration with other settings, named as in :func:`config_of`."""
    return updated(config, _keys(settings))


def _keys(settings: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("_", "-"): value for key, value in settings.items()}
