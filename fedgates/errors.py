"""Exceptions that end a run or reject a message, each with a message of one line."""

from fedgates.util.text import without_secrets


class ConfigError(ValueError):
    """A configuration key has a value that cannot be used.

    The message is one line: the key, its value (without passwords in URLs), and what was expected.

    Examples
    --------
    >>> from fedgates import ConfigError
    >>> print(ConfigError("batch-size", 0, "at least 1"))
    batch-size = 0: expected at least 1
    """

    def __init__(self, key: str, value: object, expected: str) -> None:
        super().__init__(without_secrets(f"{key} = {value!r}: expected {expected}"))
        self.key = key


class ClassesError(ConfigError):
    """The data of a device have another number of named classes than the run.

    Attributes
    ----------
    class_names : tuple of str
        Names of the device's classes.
    """

    def __init__(self, key: str, value: object, expected: str, class_names: tuple[str, ...]) -> None:
        super().__init__(key, value, expected)
        self.class_names = class_names


class NetworkError(TypeError):
    """A network cannot be federated, or its parameters cannot be gated; the message names the layer."""


class WireError(ValueError):
    """A payload is damaged, or is not what its receiver expects."""


class QuorumError(RuntimeError):
    """A round has too few clients or accepted updates; the run can be resumed from its last checkpoint."""


DIVERGED = "training diverged"
"""Text in the error of a client whose training diverged, by which the server recognises it."""


class DivergenceError(RuntimeError):
    """Training diverged on most clients; repeating the round or resuming the run would give the same result."""


class StorageError(RuntimeError):
    """Files of a run cannot be written or read (a full disk, for example); the run can be resumed from its last checkpoint."""


class ModelFileError(ValueError):
    """A model file cannot be read."""
