"""Configuration of a Flower app: ``[tool.flwr.app.config]``, and the overrides of ``--run-config``."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedgates.config.aliases import merged
from fedgates.config.flat import flatten
from fedgates.config.names import folder as expanded
from fedgates.errors import ConfigError
from fedgates.types import Value

_FILE = "pyproject.toml"
_PAIRS = 'pairs without spaces around "=", such as model="mlp" seed=3'


@dataclass(frozen=True)
class AppConfig:
    """Description of a Flower app, as read from its ``pyproject.toml``."""

    folder: Path
    config: Mapping[str, Value]
    """``[tool.flwr.app.config]`` under dotted keys, spelled as in the file."""
    serverapp: str
    """"module:name" of its ServerApp."""
    clientapp: str
    """"module:name" of its ClientApp."""

    def overridden(self, overrides: str = "") -> dict[str, Value]:
        """Return the app's config with the overrides of ``--run-config`` (pairs or a file); keys keep their spelling."""
        return merged(self.config, read_overrides(overrides))


def read_app(folder: Path) -> AppConfig:
    """Read the description of the Flower app in a folder.

    Raises
    ------
    ConfigError
        The folder has no readable ``pyproject.toml`` of a Flower app.
    """
    try:
        described = tomllib.loads((folder / _FILE).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("app", str(folder), f"a {_FILE} in TOML ({error})") from None
    except (OSError, ValueError):
        raise ConfigError("app", str(folder), f"the folder of a Flower app, with a {_FILE}") from None
    try:
        app = described["tool"]["flwr"]["app"]
        server, client = (str(app["components"][name]) for name in ("serverapp", "clientapp"))
        config = flatten(app.get("config", {}))
    except (KeyError, TypeError, AttributeError):
        expected = f"the folder of a Flower app, with a {_FILE} that has [tool.flwr.app.components]"
        raise ConfigError("app", str(folder), expected) from None
    return AppConfig(folder, config, server, client)


def read_overrides(text: str) -> dict[str, Any]:
    """Parse the value of ``--run-config`` into dotted keys and values, as ``flwr run`` does.

    Parameters
    ----------
    text : str
        TOML pairs separated by spaces, or the path of a single ``.toml`` file.

    Raises
    ------
    ConfigError
        A pair or the file cannot be read, or a key is given twice.

    >>> read_overrides('seed=3 fedpm.eps=0.01 partition="classes"')
    {'seed': 3, 'fedpm.eps': 0.01, 'partition': 'classes'}
    """
    if text.strip().endswith(".toml"):
        return flatten(read_toml("run-config", expanded(text.strip())))
    found: dict[str, Any] = {}
    for pair in _split(text):
        try:
            read = flatten(tomllib.loads(pair))
        except tomllib.TOMLDecodeError:
            expected = "a single .toml file, without pairs or other files" if pair.endswith(".toml") else _PAIRS
            raise ConfigError("run-config", pair, expected) from None
        for key, value in read.items():
            if key in found:
                raise ConfigError(key, value, "each key once")
            found[key] = value
    return found


def read_toml(key: str, path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    ConfigError
        The file cannot be read or parsed; the message names `key`.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(key, str(path), f"a file in TOML ({error})") from None
    except OSError as error:
        raise ConfigError(key, str(path), f"a file that can be read ({error.strerror})") from None
    except ValueError:
        raise ConfigError(key, str(path), "a file in UTF-8") from None


def as_pair(key: str, value: Value | None) -> str:
    """Format a key and its value for ``flwr run --run-config``: no spaces around "=", strings in double quotes.

    Flower silently ignores a pair with spaces around "=".
    """
    if isinstance(value, str):
        inner = json.dumps(value, ensure_ascii=False)[1:-1].replace('\\"', r"\u0022")
        return f'{key}="{inner}"'
    return f"{key}={json.dumps(value)}"


def _split(text: str) -> list[str]:
    """Split ``a=1 b="x y"`` into pairs, at spaces outside quotes."""
    parts, quote = [""], ""
    for character in text.strip():
        if character in "\"'" and quote in ("", character):
            quote = "" if quote else character
        if character.isspace() and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part]
