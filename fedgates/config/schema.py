"""A run's configuration: the flat ``[tool.flwr.app.config]`` of a Flower app as a frozen, checked dataclass.

Keys are kebab-case outside and snake_case inside. :class:`RunConfig` holds what every method shares; a method with keys
of its own subclasses it. Everything is checked here, once: a :class:`ConfigError` is one line that names the key, the value
and what was expected.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast, get_type_hints

from fedgates.config.names import (
    DATASETS,
    DEVICES,
    MODELS,
    OWN_DATASETS,
    TRACKERS,
    UPLINKS,
    devices_shape,
    is_reference,
    split_trackers,
)
from fedgates.errors import ConfigError, unknown_key
from fedgates.types import Value

C = TypeVar("C", bound="RunConfig")


def number(default: float, low: float, high: float = math.inf, *, above: bool = False) -> Any:  # noqa: ANN401
    """A field for an int or float (as the field's annotation says) from low (not included if `above`) to high."""
    bounds = [] if low == -math.inf else [f"{'above' if above else 'of at least'} {_plain(low)}"]
    if high != math.inf:
        bounds.append(f"at most {_plain(high)}")

    def check(value: float) -> bool:
        return abs(value) < math.inf and (value > low if above else value >= low) and value <= high

    return field(default=default, metadata={"check": check, "expected": " and ".join(bounds)})


def _plain(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def choice(default: str, *names: str, reference: bool = False) -> Any:  # noqa: ANN401
    """A field for one of `names`, or with `reference` also for the user's own "module:name"."""
    expected = "one of " + ", ".join(names) + (' or "module:name"' if reference else "")
    return field(
        default=default,
        metadata={"check": lambda v: v in names or (reference and is_reference(v)), "expected": expected},
    )


def text(default: str, check: Callable[[str], bool], expected: str | Callable[[str], str]) -> Any:  # noqa: ANN401
    """A field for a string that passes `check`; `expected` may depend on what was given instead."""
    return field(default=default, metadata={"check": check, "expected": expected})


def _is_dataset(value: str) -> bool:
    kind, colon, rest = value.partition(":")
    if kind == DEVICES:
        return devices_shape(value) is not None
    return value in DATASETS or (bool(colon) and kind in ("npz", "folder") and _is_path(rest))


def _expected_dataset(value: str) -> str:
    kind, colon, _ = value.partition(":")
    if colon and kind in ("npz", "folder"):
        return f'{_PATH}, after "{kind}:"'
    return f"one of {', '.join(DATASETS)}, {OWN_DATASETS}"


def _are_trackers(value: str) -> bool:
    found = split_trackers(value)
    names = [name for name, _ in found]
    known = all(name in TRACKERS or is_reference(name) for name in names)
    return known and len(set(names)) == len(names) and not dict(found).get("tensorboard")


def _is_path(value: str) -> bool:
    try:
        return "\0" not in value and Path(value).expanduser().is_absolute()
    except RuntimeError:  # ~ of a user who is not known here
        return False


_NOUNS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
_TRACKER_NAMES = 'tensorboard, wandb or wandb=entity/project, mlflow or mlflow=URI, "module:Class"'
_PATH = "an absolute path, or one under ~ (the app's working directory is not yours)"


@dataclass(frozen=True)
class RunConfig:
    """What every method shares; each field is the key of the same name in `pyproject.toml`, where it is explained."""

    strategy: str = text("fedpm", bool, "a strategy's name")
    dataset: str = text("digits", _is_dataset, _expected_dataset)
    data_dir: str = text("~/fedgates/data", _is_path, _PATH)
    synthetic_features: int = number(1000, 1, 1_000_000)
    synthetic_support: int = number(20, 1, 1_000_000)
    synthetic_examples: int = number(200, 1, 1_000_000)
    synthetic_noise: float = number(0.1, 0, 1000)
    model: str = choice("mlp", *MODELS, reference=True)
    partition: str = choice("iid", "iid", "dirichlet", "classes")
    dirichlet_alpha: float = number(0.5, 0, above=True)
    classes_per_client: int = number(2, 1, 1_000_000)
    samples_per_client: int = number(0, 0, 1_000_000_000)
    num_server_rounds: int = number(30, 1, 1_000_000)
    fraction_train: float = number(1.0, 0, 1, above=True)
    fraction_evaluate: float = number(0.0, 0, 1)
    quorum: float = number(0.5, 0, 1)
    max_failed_rounds: int = number(3, 1, 1_000_000)
    round_timeout: float = number(3600.0, 0, above=True)
    min_clients: int = number(2, 1, 1_000_000)
    trim: float = number(0.0, 0, 0.49)
    max_examples: int = number(100_000, 1, 2**31 - 1)
    local_epochs: int = number(3, 1, 1_000_000)
    batch_size: int = number(16, 1, 1_000_000)
    learning_rate: float = number(0.1, 0, above=True)
    precision: str = choice("float32", "float32", "bfloat16")
    client_threads: int = number(1, 0, 1024)
    seed: int = number(1, 0, 2**63 - 1)
    density_penalty: float = number(0.0, 0)
    target_density: float = number(0.0, 0, 1)
    entropy_bonus: float = number(0.0, -math.inf)
    uplink: str = choice("side-info", *UPLINKS)
    sampled_extra_bits: float = number(5.0, 0, 7.5)
    downlink: str = choice("votes", "votes", "float32", "relay")
    value_type: str = choice("float32", "float32", "float16")
    flip_probability: float = number(0.0, 0, 0.49)
    max_gates: int = number(50_000_000, 1, 2**32 - 1)
    max_payload_mb: float = number(512.0, 0, above=True)
    max_decode_mb: float = number(2048.0, 0, above=True)
    max_relay_updates: int = number(256, 0, 1_000_000)
    output_dir: str = text("~/fedgates/runs", _is_path, _PATH)
    trackers: str = text("", _are_trackers, f"nothing, or each once, with commas between them: {_TRACKER_NAMES}")
    resume: str = text("", lambda v: not v or _is_path(v), "empty, or the folder of a stopped run: " + _PATH)

    unused: ClassVar[frozenset[str]] = frozenset({"trim"})
    """Shared fields that a method does not heed; set to anything but their default they are an error, not ignored."""


def key_name(field_name: str) -> str:
    """The kebab-case key of a field."""
    return field_name.replace("_", "-")


def field_name(key: str) -> str:
    """The field of a kebab-case key."""
    return key.replace("-", "_")


def key_names(config: type[RunConfig]) -> tuple[str, ...]:
    """The kebab-case keys of a configuration class."""
    return tuple(key_name(f.name) for f in fields(config))


def parse(config: type[C], raw: Mapping[str, Value], foreign: Iterable[str] = ()) -> C:
    """Check a flat run config and make it a `config`.

    Parameters
    ----------
    config : type
        :class:`RunConfig` or a method's subclass of it.
    raw : mapping
        kebab-case key to value, as Flower hands it over. A key left out has its default.
    foreign : iterable of str
        Keys of other methods, which may stand in `raw` and are passed over.

    Raises
    ------
    ConfigError
        An unknown key, a wrong type, a value out of range, or a key this method does not heed.
    """
    known = {key_name(f.name): f for f in fields(config)}
    passed_over = set(foreign) - set(known)
    for key, value in raw.items():
        if key not in known and key not in passed_over:
            raise unknown_key(key, value, known)
    kinds = get_type_hints(config)
    values: dict[str, Any] = {f.name: _checked(key, raw[key], kinds[f.name], f) for key, f in known.items() if key in raw}
    parsed = config(**values)
    for name in config.unused:
        default = next(f.default for f in fields(config) if f.name == name)
        if getattr(parsed, name) != default:
            raise ConfigError(key_name(name), getattr(parsed, name), f"{default!r}: strategy {parsed.strategy} does not use it")
    return parsed


def _checked(key: str, value: object, kind: type, f: Field[Any]) -> Value:
    rule = f.metadata.get("expected", "")
    rule = rule(str(value)) if callable(rule) else rule
    noun = _NOUNS.get(kind)
    if noun is None:
        raise TypeError(f"config field of {key} is annotated {kind}, expected one of bool, int, float, str")
    expected = (f"{noun}: {rule}" if kind is str else f"{noun} {rule}").strip(": ")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            raise ConfigError(key, value, expected) from None
    if type(value) is not kind:
        raise ConfigError(key, value, expected)
    if "check" in f.metadata and not f.metadata["check"](value):
        raise ConfigError(key, value, rule if kind is str else expected)
    return cast("Value", value)


def require_density(config: RunConfig) -> None:
    """Raise a :class:`ConfigError` where `target-density` is 0, for methods that cannot do without one."""
    if not config.target_density:
        raise ConfigError("target-density", config.target_density, f"a share above 0: strategy {config.strategy} needs one")


def to_dict(config: RunConfig) -> dict[str, Value]:
    """The configuration as kebab-case keys and plain values, for ``config.json``."""
    return {key_name(f.name): getattr(config, f.name) for f in fields(config)}


__all__ = [
    "RunConfig",
    "choice",
    "field_name",
    "key_name",
    "key_names",
    "number",
    "parse",
    "require_density",
    "text",
    "to_dict",
]
