"""Keys that every method shares, for commands that need no method."""

from typing import ClassVar

from fedgates.config.aliases import current_names
from fedgates.config.app import AppConfig, read_overrides
from fedgates.config.keys import keys_of
from fedgates.config.parsing import parse, unknown
from fedgates.config.run_config import RunConfig


class SharedConfig(RunConfig):
    """The shared keys, whether or not the app's method uses all of them."""

    unused: ClassVar[frozenset[str]] = frozenset()


def read_shared(app: AppConfig, overrides: str = "") -> RunConfig:
    """Read the shared keys of an app's config, with overrides; keys of methods are ignored.

    Parameters
    ----------
    app : AppConfig
        The app, from :func:`fedgates.config.app.read_app`.
    overrides : str
        Pairs or a file, in the form that :func:`fedgates.config.app.read_overrides` accepts.

    Raises
    ------
    ConfigError
        The overrides cannot be read or name a key that neither the app nor the schema has, or a value is not valid.
    """
    shared, base = keys_of(SharedConfig), current_names(app.config)
    for key, value in read_overrides(overrides).items():
        (name,) = current_names({key: value})
        if name not in shared and name not in base:
            raise unknown(key, value, [*shared, *base])
    raw = current_names(app.overridden(overrides))
    return parse(SharedConfig, {name: value for name, value in raw.items() if name in shared})
