"""The subcommand ``config``: list or explain keys, print their schema, or check a file."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from fedgates.cli.app import cli, import_from_here
from fedgates.config import folder, is_reference
from fedgates.errors import ConfigError

if TYPE_CHECKING:
    from fedgates.config.run_config import RunConfig

_WIDEST = 120


@cli.command(epilog="Example: fedgates config --strategy sparsyfed")
def config(
    key: Annotated[
        str | None,
        typer.Argument(metavar="KEY", help="A key or a table to explain, such as fedpm.eps or fedpm.", show_default="all"),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Only the keys that apply to a method, with its defaults, as in: fedgates config --strategy lips",
            show_default="every method",
        ),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Check a pyproject.toml or a file for --run-config, as in: fedgates config --check run.toml",
            show_default=False,
        ),
    ] = None,
    *,
    schema: Annotated[bool, typer.Option("--schema", help="Print JSON Schema: fedgates config --schema > schema.json")] = False,
    toml: Annotated[
        bool, typer.Option("--toml", help="Print the block of a pyproject.toml: fedgates config --toml >> pyproject.toml")
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the reference page: fedgates config --markdown > configuration.md")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts: fedgates config fedpm.eps --json")] = False,
) -> None:
    """List the keys of the configuration, explain one, or check a file."""
    import json  # noqa: PLC0415

    from fedgates.config import reference  # noqa: PLC0415

    forms = {"--schema": schema, "--toml": toml, "--markdown": markdown, "--json": as_json, "--check": check is not None}
    chosen = [name for name, given in forms.items() if given]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(chosen)}: expected one of them")
    if key is not None and chosen not in ([], ["--json"]):
        raise click.UsageError(f"KEY and {chosen[0]}: expected one of them")
    configs = _configs(strategy)
    if check is not None:
        typer.echo(_checked(check, configs, strategy))
    elif schema:
        typer.echo(json.dumps(reference.json_schema(configs, strategy), indent=2))
    elif toml:
        typer.echo(reference.toml_block(configs, strategy), nl=False)
    elif markdown:
        typer.echo(reference.markdown(configs, strategy), nl=False)
    else:
        keys = reference.selected(configs, strategy)
        members = [each for name, each in keys.items() if key is None or name.startswith(f"{key}.")]
        one = not members
        if key is not None and one:
            members = [reference.find_key(key, configs, strategy)]
        width = min(_WIDEST, shutil.get_terminal_size().columns)
        if as_json:
            typer.echo(json.dumps(reference.as_values(members, configs, strategy), indent=2))
        elif one:
            typer.echo(reference.explanation(members[0], configs, strategy, width))
        else:
            typer.echo(reference.listing(members, configs, strategy, width))


def _configs(strategy: str | None) -> "Mapping[str, type[RunConfig]]":
    """Return the configuration classes of the known methods, and of `strategy` if it is "module:Class"."""
    from fedgates.config.parsing import class_of  # noqa: PLC0415
    from fedgates.methods.registry import config_classes  # noqa: PLC0415

    configs = config_classes()
    if strategy is None:
        return configs
    if is_reference(strategy):
        return {**configs, strategy: _own(strategy, "--strategy")}
    class_of(strategy, configs, "--strategy")
    return configs


def _own(reference: str, key: str) -> "type[RunConfig]":
    """Return the configuration class of a user-defined method."""
    from fedgates.config.references import find  # noqa: PLC0415
    from fedgates.config.run_config import RunConfig  # noqa: PLC0415

    import_from_here()
    found = getattr(find(key, reference), "Config", None)
    if not (isinstance(found, type) and issubclass(found, RunConfig)):
        raise ConfigError(key, reference, "a method with a Config derived from fedgates.config.RunConfig")
    return found


def _checked(file: Path, configs: "Mapping[str, type[RunConfig]]", strategy: str | None) -> str:
    """Check a file, and return a line with the method and the keys that differ from their defaults.

    Raises
    ------
    click.UsageError
        The file is invalid; the message has the file and the key.
    """
    from fedgates.config.app import as_pair, read_toml  # noqa: PLC0415
    from fedgates.config.names import DEFAULT_STRATEGY  # noqa: PLC0415
    from fedgates.config.parsing import changed, class_of, parse  # noqa: PLC0415

    path = folder(file)
    try:
        raw = _section(read_toml("--check", path))
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    if strategy is not None:
        raw = {**raw, "strategy": strategy}
    name = raw.get("strategy", DEFAULT_STRATEGY)
    if path.name == "pyproject.toml":  # the app may register methods
        from fedgates.flower.app import load_app  # noqa: PLC0415
        from fedgates.methods.registry import config_classes  # noqa: PLC0415

        configs = {**configs, **config_classes(load_app(path.absolute().parent).server.methods)}
    try:
        sys.path.insert(0, str(path.absolute().parent))  # a user-defined method may be in the same folder
        own = isinstance(name, str) and name not in configs and is_reference(name)
        config_class = _own(str(name), "strategy") if own else class_of(name, configs)
        different = changed(parse(config_class, raw, configs.values()))
    except ConfigError as error:
        raise click.UsageError(f"{file}: {error}") from None
    pairs = " ".join(as_pair(key, value) for key, value in different.items() if key != "strategy")
    return f"{file}: valid for strategy {name}; {f'changed: {pairs}' if pairs else 'every key is at its default'}"


def _section(content: dict[str, Any]) -> Mapping[str, Any]:
    """Return the run config in a file: the block of a ``pyproject.toml``, or the whole content."""
    found: Any = content
    for part in ("tool", "flwr", "app"):
        found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, Mapping):
        config = found.get("config", {})
        return config if isinstance(config, Mapping) else {"config": config}
    return content
