"""Flat lists of the keys of configuration classes, under dotted names such as ``fedpm.eps``."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from fedgates.config.checks import CHECKS
from fedgates.config.fields import (
    KINDS,
    Keys,
    bounds_of,
    check_of,
    choices_of,
    errors_of,
    is_table,
    kebab,
    kind_of,
    method_default_of,
)
from fedgates.config.run_config import DensityConfig, MaskConfig, RunConfig, WeightConfig
from fedgates.config.suggestions import did_you_mean
from fedgates.types import Value


@dataclass(frozen=True)
class Key:
    """A configuration key: its name, meaning and accepted values."""

    name: str
    """Dotted, kebab-case: ``fedpm.eps``."""
    path: tuple[str, ...]
    """Attribute names from the configuration down to the value: ``("fedpm", "eps")``."""
    owner: type[Keys]
    """Class that declares the key."""
    field: FieldInfo

    @property
    def kind(self) -> type:
        """Type of the values: bool, int, float or str."""
        return kind_of(self.field) or str

    @property
    def default(self) -> Value:
        """The declared default."""
        value = self.field.default
        return float(value) if self.kind is float else value

    @property
    def example(self) -> Value:
        """A value to show: the declared example, else one other than the default where the values are few."""
        if self.field.examples:
            declared: Value = self.field.examples[0]
            return float(declared) if self.kind is float else declared
        others = [value for value in (*self.choices, *((False, True) if self.kind is bool else ())) if value != self.default]
        return others[0] if others else self.default

    @property
    def description(self) -> str:
        """Meaning of the key, in one sentence."""
        return self.field.description or ""

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a ``Literal``; empty for any other key."""
        return choices_of(self.field)

    @property
    def method_default(self) -> Value | None:
        """The value that selects the method's own default; None if there is none."""
        return method_default_of(self.field)

    def accepted(self, value: object = "") -> str:
        """Describe what the key accepts, for error messages; for an invalid value, suggest the nearest valid one."""
        rule = self._rule(value)
        if self.kind is not str:
            return f"{KINDS[self.kind]} {rule}".strip()
        return rule if isinstance(value, str) else f"{KINDS[str]}: {rule}".removesuffix(": ")

    def _rule(self, value: object) -> str:
        if self.choices:
            return "one of " + ", ".join(self.choices) + did_you_mean(value, self.choices)
        check = check_of(self.field)
        if check is not None:
            return CHECKS[check].expected(value if isinstance(value, str) else "")
        return _range(bounds_of(self.field), self.method_default)

    def problem(self, value: object) -> str | None:
        """Describe what is expected instead of `value`; return None if `value` is valid."""
        for found in errors_of(self.owner, kebab(self.path[-1]), value):
            return message_of(found) if found["type"] in _OWN_VALIDATORS else self.accepted(value)
        return None


_OWN_VALIDATORS = ("value_error", "assertion_error")
"""Types of pydantic errors whose message comes from a user-defined validator."""


def message_of(error: ErrorDetails) -> str:
    """Return the message of a user-defined validator, without pydantic's prefix."""
    return error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _range(bounds: dict[str, float], method_default: Value | None) -> str:
    low = high = ""
    if "ge" in bounds and "le" in bounds:
        low = f"from {_plain(bounds['ge'])} to {_plain(bounds['le'])}"
    else:
        if "ge" in bounds:
            low = f"of at least {_plain(bounds['ge'])}"
        elif "gt" in bounds:
            low = f"above {_plain(bounds['gt'])}"
        if "le" in bounds:
            high = f"at most {_plain(bounds['le'])}"
        elif "lt" in bounds:
            high = f"below {_plain(bounds['lt'])}"
    words = " and ".join(filter(None, (low, high)))
    if method_default is None:
        return words
    return f"{words}; {_plain(float(method_default))} is the method's own default"


def _plain(bound: float) -> str:
    return f"{int(bound):,}" if math.isfinite(bound) and bound == int(bound) else f"{bound:g}"


@cache
def keys_of(config: type[RunConfig]) -> dict[str, Key]:
    """Return the keys of a configuration class by dotted name, in order of declaration, those without a table first."""
    flat = {key.name: key for key in _keys(config, ()) if len(key.path) == 1}
    return flat | {key.name: key for key in _keys(config, ())}


def _keys(owner: type[Keys], path: tuple[str, ...]) -> Iterator[Key]:
    for name, field in owner.model_fields.items():
        if is_table(field):
            yield from _keys(field.annotation, (*path, name))  # type: ignore[arg-type]
        else:
            yield Key(".".join(map(kebab, (*path, name))), (*path, name), owner, field)


def used_keys(config: type[RunConfig]) -> dict[str, Key]:
    """Return the keys that a method uses: those of its configuration class that are not in its ``unused``."""
    return {name: key for name, key in keys_of(config).items() if name not in config.unused}


def all_keys(configs: Iterable[type[RunConfig]]) -> dict[str, Key]:
    """Return the keys of the shared tables, then those of several configuration classes."""
    found: dict[str, Key] = {}
    for config in (RunConfig, DensityConfig, MaskConfig, WeightConfig, *configs):
        found |= {name: key for name, key in keys_of(config).items() if name not in found}
    return found


def table_of(key: Key) -> str:
    """Return the name of a key's table: ``fedpm`` for ``fedpm.eps``, an empty string for a key without a table."""
    return key.name.rpartition(".")[0]
