"""Errors that end a run, or refuse a message, with one line that says why."""

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """A key has a value that cannot be used.

    The message is one line: the key, its value, and what was expected.
    """

    def __init__(self, key: str, value: object, expected: str) -> None:
        super().__init__(f"{key} = {value!r}: expected {expected}")
        self.key = key


class NetworkError(TypeError):
    """A network that cannot be federated, or whose parameters cannot be gated; the message names the layer."""


class WireError(ValueError):
    """A payload that is damaged, or is not what its receiver expects."""


class QuorumError(RuntimeError):
    """Too few clients, or too few accepted updates; the run can be resumed from its last checkpoint."""


class ModelFileError(ValueError):
    """A model file that cannot be read."""


def unknown_key(key: str, value: object, known: Iterable[str]) -> ConfigError:
    """Return the error for a key that does not exist; it suggests the nearest of the `known` keys."""
    near = difflib.get_close_matches(key, known, n=1)
    return ConfigError(key, value, f"a known key; did you mean {near[0]}?" if near else "a known key")
