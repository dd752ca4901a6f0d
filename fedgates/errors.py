"""Errors that end a run, or refuse a message, with one line that says why."""

from fedgates.util.text import without_secrets


class ConfigError(ValueError):
    """A key has a value that cannot be used.

    The message is one line: the key, its value without passwords in URLs, and what was expected.

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
    """A device's data name another number of classes than the run has.

    Attributes
    ----------
    class_names : tuple of str
        The names.
    """

    def __init__(self, key: str, value: object, expected: str, class_names: tuple[str, ...]) -> None:
        super().__init__(key, value, expected)
        self.class_names = class_names


class NetworkError(TypeError):
    """A network that cannot be federated, or whose parameters cannot be gated; the message names the layer."""


class WireError(ValueError):
    """A payload that is damaged, or is not what its receiver expects."""


class QuorumError(RuntimeError):
    """Too few clients, or too few accepted updates; the run can be resumed from its last checkpoint."""


DIVERGED = "training diverged"
"""Words in the error of a client whose training diverged, by which a server knows it."""


class DivergenceError(RuntimeError):
    """Training diverged on most clients; to repeat the round, or to resume the run, would give the same."""


class StorageError(RuntimeError):
    """A run's files cannot be written or read, as on a full disk; the run can be resumed from its last checkpoint."""


class ModelFileError(ValueError):
    """A model file that cannot be read."""
