"""What a finished model is, says, and can be made into."""

from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import click
import typer

from fedgates.cli.app import cli, import_from_here
from fedgates.config.names import MAX_GATES, folder, is_reference
from fedgates.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedgates.model_file import Model

_File = Annotated[
    str,
    typer.Argument(metavar="MODEL", help='A model.fedgates; or of a run: its folder, its name, or "last".', show_default=False),
]
_Network = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="MODULE:FUNCTION",
        help="What builds a network of your own, in the current folder or installed; what the file names is not imported.",
        show_default=False,
    ),
]
_MaxGates = Annotated[int, typer.Option("--max-gates", min=1, help="Refuse networks with more parameters.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
_LONGEST_LINE, _MOST_REASONS = 1000, 20
_MOST_GATES = MAX_GATES
"""As `fedgates.load` and `look` have it, which take NumPy to be asked."""


class Form(StrEnum):
    """What a model can be written as."""

    ONNX = "onnx"
    SAFETENSORS = "safetensors"


@cli.command(epilog="Example: fedgates inspect last")
def inspect(model: _File, max_gates: _MaxGates = _MOST_GATES, *, as_json: _Json = False) -> None:
    """What a model file holds: how it was trained, its layers and how dense they are, its bytes, and what it shrinks to."""
    import json  # noqa: PLC0415

    from fedgates.errors import ModelFileError  # noqa: PLC0415
    from fedgates.model_file import look  # noqa: PLC0415
    from fedgates.model_file.description import facts_of, table  # noqa: PLC0415

    file = _file(model)
    try:
        found = facts_of(file, look(file, max_gates=max_gates))
    except ModelFileError as error:
        _refuse(f"MODEL = {error}")
    typer.echo(json.dumps(found, indent=2) if as_json else table(found))


@cli.command(epilog="Example: fedgates predict model.fedgates digit.png")
def predict(
    model: _File,
    images: Annotated[str, typer.Argument(metavar="IMAGE|FOLDER|NPZ", help="Pictures, or arrays.", show_default=False)],
    top: Annotated[int, typer.Option(min=1, help="How many labels an image.")] = 1,
    network: _Network = None,
    max_gates: _MaxGates = _MOST_GATES,
    *,
    resize: Annotated[bool, typer.Option("--resize", help="Scale pictures (not arrays) of another size.")] = False,
    as_json: _Json = False,
) -> None:
    """Labels, with probabilities, of an image, of all images in a folder, or of x (or x_test) in an npz file.

    Pictures in a folder that cannot be used are left out and named, and the exit code is 1.
    """
    import json  # noqa: PLC0415

    from fedgates.model_file.prediction import ImageError, predictions, read_images, told  # noqa: PLC0415
    from fedgates.util.text import one_line  # noqa: PLC0415

    if not images:  # not the current folder, which is what a path of no characters would be
        _refuse("IMAGE = '': expected an image, or a folder of them")
    loaded = _loaded(_file(model), network, max_gates)
    try:
        read = read_images(folder(images), loaded.facts.input_shape, resize=resize)
    except ImageError as error:
        _refuse(error)
    found = predictions(loaded, read, top)
    typer.echo(json.dumps(found, indent=2) if as_json else told(found))
    if read.passed_over:
        names = "file, whose name does" if read.passed_over == 1 else "files, whose names do"
        typer.echo(f"fedgates: passed over {read.passed_over:,} {names} not end like an image's", err=True)
    if read.left_out:
        for reason in read.left_out[:_MOST_REASONS]:
            typer.echo(f"fedgates: left out {one_line(reason, _LONGEST_LINE)}", err=True)
        if len(read.left_out) > _MOST_REASONS:
            typer.echo(f"fedgates: left out {len(read.left_out) - _MOST_REASONS:,} more", err=True)
        raise typer.Exit(1)


@cli.command(epilog="Example: fedgates export last --to onnx")
def export(
    model: _File,
    to: Annotated[
        Form, typer.Option("--to", help="safetensors: the dense weights | onnx: the network, images in, logits out.")
    ],
    out: Annotated[Path | None, typer.Option(help="The file.", show_default="named like the model, beside it")] = None,
    network: _Network = None,
    max_gates: _MaxGates = _MOST_GATES,
    *,
    as_json: _Json = False,
) -> None:
    """Write a model for other programs.

    ONNX is without the units that no path uses, takes pixels from 0 to 1, and needs the extra named onnx. The network that the
    weights in safetensors are of takes them normalised. The metadata of both say so, and have the class names.
    """
    import json  # noqa: PLC0415

    from fedgates.model_file.export import ExportError, write_onnx, write_safetensors  # noqa: PLC0415

    file = _file(model)
    target = _target(file, out, to)
    loaded = _loaded(file, network, max_gates)
    try:
        size = (write_onnx if to is Form.ONNX else write_safetensors)(loaded, target)
    except ExportError as error:
        _refuse(f"--to {to.value}: {error}")
    except OSError as error:
        _refuse(f"--out = {str(target)!r}: expected a file that can be written ({error.strerror or error})")
    typer.echo(json.dumps({"file": str(target), "bytes": size}) if as_json else f"written: {target}, {size:,} bytes")


def _file(model: str) -> Path:
    """The file that is meant."""
    from fedgates.runs.listing import entry, find  # noqa: PLC0415

    path = folder(model)
    with suppress(OSError):  # a name that no file can have is perhaps a run's, and `find` says the rest
        if path.is_file():
            return path
    try:
        run = find(model)
        file = run / "model.fedgates"
        if not file.is_file():
            _refuse(f"MODEL = {model!r}: expected a run that has left its model.fedgates; {entry(run).so_far}")
    except ConfigError as error:
        _refuse(f"MODEL is no file, and {error}")
    return file


def _target(file: Path, out: Path | None, to: Form) -> Path:
    """Where an export goes, found out to be possible before the work is done."""
    target = file.with_suffix(f".{to.value}") if out is None else folder(out)
    try:
        if (target.exists() and not target.is_file()) or not target.parent.is_dir():  # nor a device's name
            _refuse(f"--out = {str(target)!r}: expected the name of a file, in a folder that is there")
        if target.exists() and target.samefile(file):
            _refuse(f"--out = {str(target)!r}: expected another file than the model itself")
    except OSError as error:
        _refuse(f"--out = {str(target)!r}: expected a file that can be written ({error.strerror})")
    return target


def _loaded(path: Path, network: str | None, max_gates: int) -> "Model":
    from fedgates.errors import ModelFileError  # noqa: PLC0415
    from fedgates.model_file import load  # noqa: PLC0415

    try:
        return load(path, network=None if network is None else _builder(network), max_gates=max_gates)
    except ModelFileError as error:
        _refuse(f"MODEL = {error}")


def _builder(reference: str) -> "Callable[..., Any]":
    """The user's own function."""
    from fedgates.util.references import find  # noqa: PLC0415

    if not is_reference(reference):
        raise ConfigError("--network", reference, '"module:function"')
    import_from_here()
    function = find("--network", reference)
    if not callable(function):
        raise ConfigError("--network", reference, f"a function, not {type(function).__name__}")
    return function


def _refuse(reason: object) -> NoReturn:
    """End the command with a line that is safe to print, wherever its names came from."""
    from fedgates.util.text import one_line  # noqa: PLC0415

    raise click.UsageError(one_line(reason, _LONGEST_LINE)) from None
