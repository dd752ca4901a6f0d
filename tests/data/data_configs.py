"""Configurations from flat keyword arguments, in which underscores stand for dashes."""

from fedgates.config import RunConfig, parse, updated


def run_config(config_class=RunConfig, **values):
    return parse(config_class, _keys(values))


def changed(config, **changes):
    return updated(config, _keys(changes))


def _keys(values):
    return {name.replace("_", "-"): value for name, value in values.items()}
