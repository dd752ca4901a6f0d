"""Reference of the configuration in text, TOML, Markdown, JSON and JSON Schema, generated from the declarations of the keys."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fedgates.config.aliases import ALIASES, OLD_NAMES, VALUE_ALIASES, current_name
from fedgates.config.keys import Key, all_keys, table_of, used_keys
from fedgates.config.names import DATASETS, MODELS
from fedgates.config.parsing import suggested_key
from fedgates.config.run_config import RunConfig
from fedgates.errors import ConfigError
from fedgates.types import Value

Configs = Mapping[str, type[RunConfig]]
"""Names of methods to their configuration classes."""
_WRAP: Any = {"break_long_words": False, "break_on_hyphens": False}
"""Options of textwrap that keep names whole."""
SECTION = "tool.flwr.app.config"
_EVERY = "every method"


def selected(configs: Configs, method: str | None = None) -> dict[str, Key]:
    """Return all keys, or only those that a given method uses."""
    return all_keys(configs.values()) if method is None else used_keys(configs[method])


def users(key: Key, configs: Configs) -> list[str]:
    """Return the names of the methods that use a key."""
    return [name for name, config in configs.items() if key.name in used_keys(config)]


def default_of(key: Key, configs: Configs, method: str | None = None) -> Value:
    """Return the default of a key; with a method, ``learning-rate`` and ``strategy`` have the method's own values."""
    if method is not None and key.name == "learning-rate":
        return configs[method].default_learning_rate
    return method if method is not None and key.name == "strategy" else key.default


def accepted(key: Key, configs: Configs) -> str:
    """Describe what a key accepts; for ``strategy``, list the methods."""
    return f'one of {", ".join(configs)} or "module:Class"' if key.name == "strategy" else key.accepted()


def find_key(name: str, configs: Configs, method: str | None = None) -> Key:
    """Find a key by its current or its old name.

    Raises
    ------
    ConfigError
        There is no such key (the message suggests the nearest one), or the method does not use it.
    """
    keys = all_keys(configs.values())
    found = keys.get(current_name(name))
    if found is not None and method is not None and found.name not in used_keys(configs[method]):
        raise ConfigError("KEY", name, f"a key that strategy {method} uses; this one is used by {_used_by(found, configs)}")
    if found is None:
        raise ConfigError("KEY", name, f"a key or a table of the configuration{suggested_key(name, keys)}")
    return found


# --- text


def listing(keys: Iterable[Key], configs: Configs, method: str | None = None, width: int = 100) -> str:
    """Return a list of keys by table, with defaults, accepted values and descriptions."""
    lines = []
    for table, members in _tables(keys):
        heading = f"[{table}]  {_heading(members)}" if table else "Keys without a table"
        lines += ["", *textwrap.wrap(heading, width, subsequent_indent=" " * 4, **_WRAP)]
        for key in members:
            first = f"  {key.name} = {_toml(default_of(key, configs, method))}"
            lines += textwrap.wrap(f"{first}  ({accepted(key, configs)})", width, subsequent_indent=" " * 8, **_WRAP)
            lines += textwrap.wrap(key.description, width, initial_indent=" " * 6, subsequent_indent=" " * 6, **_WRAP)
    return "\n".join(lines[1:])


def explanation(key: Key, configs: Configs, method: str | None = None, width: int = 100) -> str:
    """Return a complete description of one key."""
    rows = [
        ("accepts", accepted(key, configs)),
        ("default", _toml(default_of(key, configs, method))),
        *_own_defaults(key, configs),
        ("used by", _used_by(key, configs)),
    ]
    if key.name in OLD_NAMES:
        rows.append(("old name", OLD_NAMES[key.name]))
    rows += [("old value", f"{old}, now {new}") for old, new in VALUE_ALIASES.get(key.name, {}).items()]
    rows.append(("example", f"flwr run . --run-config '{key.name}={_toml(key.example)}'"))
    text = [key.name, *textwrap.wrap(key.description, width, initial_indent="  ", subsequent_indent="  ", **_WRAP)]
    for name, value in rows:
        text += textwrap.wrap(f"  {name + ':':<10} {value}", width, subsequent_indent=" " * 13, **_WRAP)
    return "\n".join(text)


def _own_defaults(key: Key, configs: Configs) -> list[tuple[str, str]]:
    if key.name != "learning-rate":
        return []
    return [("methods", ", ".join(f"{name} {configs[name].default_learning_rate:g}" for name in users(key, configs)))]


def _own_rate(config: type[RunConfig]) -> str:
    return "none" if "learning-rate" in config.unused else f"{config.default_learning_rate:g}"


def _used_by(key: Key, configs: Configs) -> str:
    names = users(key, configs)
    return _EVERY if len(names) == len(configs) else ", ".join(names) or "none of these methods"


# --- TOML


def toml_block(configs: Configs, method: str | None = None) -> str:
    """Return the block ``[tool.flwr.app.config]`` of a ``pyproject.toml``: each key with its default and a comment."""
    lines = [
        "# Every key with its default and its meaning; `fedgates config KEY` prints the values that it accepts. For one run:",
        "#   flwr run . --stream --run-config 'model=\"conv4\" data.dirichlet-alpha=0.1'",
    ]
    for table, members in _tables(selected(configs, method).values()):
        lines += [f"[{SECTION}]"] if not table else ["", f"[{SECTION}.{table}]  # {_heading(members)}"]
        pairs = [f"{key.name.rpartition('.')[2]} = {_toml(default_of(key, configs, method))}" for key in members]
        wide = max(map(len, pairs))
        lines += [f"{pair:<{wide}}  # {_comment(key, configs)}" for pair, key in zip(pairs, members, strict=True)]
    return "\n".join(lines) + "\n"


def _comment(key: Key, configs: Configs) -> str:
    names = {"strategy": tuple(configs), "dataset": DATASETS, "model": MODELS}.get(key.name, ())
    if names:
        return f"{key.description} Names: {', '.join(names)}."
    if key.choices and not all(choice in key.description for choice in key.choices):
        return f"{key.description} One of {', '.join(key.choices)}."
    if key.method_default is not None:
        return f"{key.description} {_toml(key.method_default)} is the method's own default."
    return key.description


def _toml(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False)


# --- Markdown


def markdown(configs: Configs, method: str | None = None) -> str:
    """Return the reference page of the configuration, for all keys or for those that a given method uses."""
    lines = [
        "# Configuration",
        "",
        "Generated by `fedgates config --markdown`; do not edit.",
        "",
        "Set keys in `[tool.flwr.app.config]` of an app's `pyproject.toml`, and the keys of a table in",
        "`[tool.flwr.app.config.TABLE]`. For one run, use `flwr run . --run-config 'seed=3 fedpm.eps=0.01'` with a single",
        "string or `.toml` file: if two `--run-config` options set keys of the same table, Flower silently drops the first.",
        "A key that the chosen method does not use must have its default value.",
        "",
        "| method | default `learning-rate` | needs `density.target` |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name} | {_own_rate(config)} | {'yes' if config.requires_density else 'no'} |"
        for name, config in configs.items()
        if method in (None, name)
    ]
    for table, members in _tables(selected(configs, method).values()):
        lines += ["", f"## `{table}`" if table else "## Keys without a table", ""]
        lines += [_heading(members), ""] if table else []
        lines += ["| key | default | accepts | used by | description |", "|---|---|---|---|---|"]
        for key in members:
            cells = (accepted(key, configs), _used_by(key, configs), key.description)
            lines.append(f"| `{key.name}` | `{_toml(default_of(key, configs, method))}` | {' | '.join(map(_escaped, cells))} |")
    lines += ["", "## Old names", "", "Renamed keys and values; the old ones are accepted until version 1.0.", ""]
    lines += ["| old | current |", "|---|---|", *(f"| `{old}` | `{new}` |" for old, new in ALIASES.items())]
    lines += [
        f"| `{name} = {_toml(old)}` | `{name} = {_toml(new)}` |"
        for name, values in VALUE_ALIASES.items()
        for old, new in values.items()
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return "".join(f"\\{character}" if character in "|~*<>" else character for character in text)


# --- JSON


def as_values(keys: Iterable[Key], configs: Configs, method: str | None = None) -> list[dict[str, Any]]:
    """Convert keys to plain values for JSON."""
    return [
        {
            "key": key.name,
            "table": table_of(key),
            "type": "text" if key.kind is str else {bool: "boolean", int: "integer", float: "number"}[key.kind],
            "default": default_of(key, configs, method),
            "accepts": accepted(key, configs),
            "choices": list(key.choices),
            "example": key.example,
            "description": key.description,
            "used_by": users(key, configs),
            "old_name": OLD_NAMES.get(key.name),
        }
        for key in keys
    ]


def json_schema(configs: Configs, method: str | None = None) -> dict[str, Any]:
    """Return the JSON Schema of ``[tool.flwr.app.config]``, for all keys or for those of a given method."""
    schemas = [config.model_json_schema() for name, config in configs.items() if method in (None, name)]
    merged: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "fedgates run config"}
    merged |= {"type": "object", "additionalProperties": False, "properties": {}, "$defs": {}}
    for schema in schemas:
        for part in ("properties", "$defs"):
            merged[part] = {**schema.get(part, {}), **merged[part]}
    names = list(configs) if method is None else [method]
    merged["properties"]["strategy"] = {**merged["properties"]["strategy"], "examples": names}
    return merged


def _tables(keys: Iterable[Key]) -> Iterator[tuple[str, Sequence[Key]]]:
    tables: dict[str, list[Key]] = {"": []}  # keys without a table first: after a TOML header they would belong to its table
    for each in keys:
        tables.setdefault(table_of(each), []).append(each)
    yield from ((table, members) for table, members in tables.items() if members)


def _heading(members: Sequence[Key]) -> str:
    return (members[-1].owner.__doc__ or "").strip().partition("\n")[0]
