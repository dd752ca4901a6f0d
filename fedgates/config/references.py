"""Import of user code by "module:name"."""

import importlib

from fedgates.errors import ConfigError
from fedgates.util.text import error_line


def find(key: str, reference: str) -> object:
    """Import the object that "module:name" refers to.

    Raises
    ------
    ConfigError
        The module cannot be imported (its code may raise any exception) or has no such name; the message names `key`.
    """
    module_name, _, name = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise ConfigError(key, reference, f"a module that can be imported; {error_line(error)}") from error
    try:
        return getattr(module, name)
    except AttributeError:
        raise ConfigError(key, reference, f"module {module_name} to define {name}") from None
