"""The config of an app as Flower would give it to a run: ``[tool.flwr.app.config]``, and what `--run-config` says on top."""

import json
import tomllib
from pathlib import Path

from fedgates.config import RunConfig, key_names, parse
from fedgates.errors import ConfigError, unknown_key
from fedgates.types import Value


def of_app(folder: Path, overrides: str = "") -> RunConfig:
    """What every method shares of an app's config; keys of methods are passed over.

    Parameters
    ----------
    folder : Path
        With the app's ``pyproject.toml``.
    overrides : str
        ``key=value`` pairs in TOML, separated by spaces, as of `flwr run --run-config`.

    Raises
    ------
    ConfigError
        Either cannot be read, a key is not known, or a value cannot be used.
    """
    raw: dict[str, Value] = {}
    try:
        described = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        raw.update(described["tool"]["flwr"]["app"].get("config", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError("app", str(folder), "the folder of a Flower app, with its pyproject.toml") from None
    changed, shared = _pairs(overrides), set(key_names(RunConfig))
    for key, value in changed.items():
        if key not in shared | raw.keys():
            raise unknown_key(key, value, shared | raw.keys())
    raw.update(changed)
    return parse(RunConfig, {key: value for key, value in raw.items() if key in shared})


def as_pair(key: str, value: Value | None) -> str:
    """A key and its value as `flwr run --run-config` reads them: without spaces, texts in quotes, in which there are none.

    Flower passes over what has spaces around its "=", without a word.
    """
    if isinstance(value, str):
        inner = json.dumps(value, ensure_ascii=False)[1:-1].replace('\\"', r"\u0022")
        return f'{key}="{inner}"'
    return f"{key}={json.dumps(value)}"


def _pairs(text: str) -> dict[str, Value]:
    """Read ``a=1 b="x y"``: TOML, but for the spaces between the pairs."""
    pairs: dict[str, Value] = {}
    lines, quote = [""], ""
    for character in text.strip():
        if character in "\"'" and quote in ("", character):
            quote = "" if quote else character
        if character.isspace() and not quote:
            lines.append("")
        else:
            lines[-1] += character
    for line in filter(None, lines):
        try:
            pairs.update(tomllib.loads(line))
        except tomllib.TOMLDecodeError:
            raise ConfigError("run-config", line, 'pairs such as partition="classes" seed=3, in TOML') from None
    return pairs
