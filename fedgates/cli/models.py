"""The subcommands for model files: ``inspect``, ``predict``, ``export`` and ``card``."""

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
    typer.Argument(metavar="MODEL", help='A model.fedgates, or a run: its folder, its name, or "last".', show_default=False),
]
_Network = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="MODULE:FUNCTION",
        help="Function that builds a network of your own, in the current folder or installed; a file never imports one.",
        show_default=False,
    ),
]
_Weights = Annotated[
    Path | None,
    typer.Option("--weights", help="The safetensors file of the network's initial weights.", show_default=False),
]
_MaxGates = Annotated[int, typer.Option("--max-gates", min=1, help="Refuse networks with more parameters.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
_LONGEST_LINE, _MOST_REASONS = 1000, 20
_MOST_GATES = MAX_GATES
"""Default of `fedgates.load`."""


class Form(StrEnum):
    """Format of an exported model."""

    ONNX = "onnx"
    SAFETENSORS = "safetensors"


@cli.command(epilog="Example: fedgates inspect last")
def inspect(model: _File, max_gates: _MaxGates = _MOST_GATES, *, as_json: _Json = False) -> None:
    """Describe a model file: its training, layers and their densities, bytes, and the size without dead units."""
    import json  # noqa: PLC0415

    from fedgates.errors import ModelFileError  # noqa: PLC0415
    from fedgates.model_file import read_contents  # noqa: PLC0415
    from fedgates.model_file.description import describe, table  # noqa: PLC0415

    file = _file(model)
    try:
        description = describe(file, read_contents(file, max_gates=max_gates))
    except ModelFileError as error:
        _refuse(f"MODEL = {error}")
    typer.echo(json.dumps(description, indent=2) if as_json else table(description))


@cli.command(epilog="Example: fedgates predict model.fedgates digit.png")
def predict(
    model: _File,
    images: Annotated[
        str,
        typer.Argument(metavar="IMAGE|FOLDER|NPZ|TABLE", help="Images, arrays or a table.", show_default=False),
    ],
    top: Annotated[int, typer.Option(min=1, help="Number of labels per image.")] = 1,
    network: _Network = None,
    weights: _Weights = None,
    max_gates: _MaxGates = _MOST_GATES,
    *,
    resize: Annotated[
        bool, typer.Option("--resize", help="Scale images (not arrays) to the input size of the network.")
    ] = False,
    features: Annotated[
        str, typer.Option(help="Columns of a table, separated by commas.", show_default="all numeric columns")
    ] = "",
    as_json: _Json = False,
) -> None:
    """Print predictions for an image, a folder of images, an npz file with x or x_test (or x_NAME), or a table.

    Unusable images in a folder are skipped and listed, and the exit code is then 1.
    """
    import json  # noqa: PLC0415

    from fedgates.model_file.prediction import ImageError, format_predictions, predictions, read_images  # noqa: PLC0415
    from fedgates.util.text import one_line  # noqa: PLC0415

    if not images:  # an empty path would be the current folder
        _refuse("IMAGE = '': expected an image, or a folder of them")
    loaded = _loaded(_file(model), network, weights, max_gates)
    try:
        read = read_images(folder(images), loaded.facts.problem, resize=resize, features=features)
    except ImageError as error:
        _refuse(error)
    results = predictions(loaded, read, top)
    typer.echo(json.dumps(results, indent=2) if as_json else format_predictions(results))
    if read.passed_over:
        files = "file whose name has" if read.passed_over == 1 else "files whose names have"
        typer.echo(f"fedgates: skipped {read.passed_over:,} {files} no image suffix", err=True)
    if read.num_transparent:
        images = "image is" if read.num_transparent == 1 else "images are"
        typer.echo(f"fedgates: {read.num_transparent:,} {images} partly transparent, blended with white", err=True)
    if read.left_out:
        for reason in read.left_out[:_MOST_REASONS]:
            typer.echo(f"fedgates: skipped {one_line(reason, _LONGEST_LINE)}", err=True)
        if len(read.left_out) > _MOST_REASONS:
            typer.echo(f"fedgates: skipped {len(read.left_out) - _MOST_REASONS:,} more", err=True)
        raise typer.Exit(1)


@cli.command(epilog="Example: fedgates export last --to onnx")
def export(
    model: _File,
    to: Annotated[
        Form, typer.Option("--to", help="safetensors: the dense weights | onnx: the network, images in, logits out.")
    ],
    out: Annotated[Path | None, typer.Option(help="The file.", show_default="named like the model, beside it")] = None,
    network: _Network = None,
    weights: _Weights = None,
    max_gates: _MaxGates = _MOST_GATES,
    *,
    as_json: _Json = False,
) -> None:
    """Export a model for other programs.

    ONNX: the network without dead units, for pixels from 0 to 1; requires the extra onnx. safetensors: the dense weights of the
    network, which takes normalised pixels. The metadata of both have the class names and a description of the input.
    """
    import json  # noqa: PLC0415

    from fedgates.model_file.export import ExportError, write_onnx, write_safetensors  # noqa: PLC0415

    file = _file(model)
    target = _target(file, out, to)
    loaded = _loaded(file, network, weights, max_gates)
    try:
        size = (write_onnx if to is Form.ONNX else write_safetensors)(loaded, target)
    except ExportError as error:
        _refuse(f"--to {to.value}: {error}")
    except OSError as error:
        _refuse(f"--out = {str(target)!r}: expected a writable file ({error.strerror or error})")
    typer.echo(json.dumps({"file": str(target), "bytes": size}) if as_json else f"written: {target}, {size:,} bytes")


@cli.command(epilog="Example: fedgates card last")
def card(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help='A run, or a model file in it: a path, a name, or "last".', show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; it must be new or empty.", show_default="card, in the run's folder")
    ] = None,
    network: _Network = None,
    weights: _Weights = None,
    max_gates: _MaxGates = _MOST_GATES,
) -> None:
    """Write a folder for the Hugging Face Hub: a model card (README.md), model.safetensors and model.fedgates.

    The card describes the model, its training, settings, traffic and results. Nothing is uploaded; add a license first.
    """
    from fedgates.cli.model_card import CARD, MODEL, WEIGHTS, model_card  # noqa: PLC0415
    from fedgates.model_file import read_contents  # noqa: PLC0415
    from fedgates.model_file.export import write_safetensors  # noqa: PLC0415
    from fedgates.runs.listing import find_run  # noqa: PLC0415
    from fedgates.util.files import write_atomically  # noqa: PLC0415

    file, path = _file(run), find_run(run)
    target = path / "card" if out is None else folder(out)
    loaded = _loaded(file, network, weights, max_gates)
    text = model_card(path, read_contents(file, max_gates=max_gates))
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            _refuse(f"--out = {str(target)!r}: expected a new or empty folder")
        target.mkdir(parents=True, exist_ok=True)
        write_atomically(target / MODEL, file.read_bytes())
        write_safetensors(loaded, target / WEIGHTS)
        write_atomically(target / CARD, text.encode())
    except OSError as error:
        _refuse(f"--out = {str(target)!r}: expected a writable folder ({error.strerror or error})")
    typer.echo(f"written: {target}")


def _file(model: str) -> Path:
    """Return the path of a model file, given its path or a run."""
    from fedgates.runs.listing import find_run, read_entry  # noqa: PLC0415

    path = folder(model)
    with suppress(OSError):  # an invalid path may be the name of a run; `find_run` reports other errors
        if path.is_file():
            return path
    try:
        run = find_run(model)
        file = run / "model.fedgates"
        if not file.is_file():
            _refuse(f"MODEL = {model!r}: expected a run with a model.fedgates; {read_entry(run).progress}")
    except ConfigError as error:
        _refuse(f"MODEL is not a file, and {error}")
    return file


def _target(file: Path, out: Path | None, to: Form) -> Path:
    """Return the output file of an export, after checking it before any work is done."""
    target = file.with_suffix(f".{to.value}") if out is None else folder(out)
    try:
        if (target.exists() and not target.is_file()) or not target.parent.is_dir():  # is_file is False for a device file
            _refuse(f"--out = {str(target)!r}: expected the name of a file in an existing folder")
        if target.exists() and target.samefile(file):
            _refuse(f"--out = {str(target)!r}: expected a file other than the model itself")
    except OSError as error:
        _refuse(f"--out = {str(target)!r}: expected a writable file ({error.strerror})")
    return target


def _loaded(path: Path, network: str | None, weights: Path | None, max_gates: int) -> "Model":
    from fedgates.errors import ModelFileError  # noqa: PLC0415
    from fedgates.model_file import load  # noqa: PLC0415

    try:
        own = None if network is None else _builder(network)
        return load(path, network=own, weights=weights, max_gates=max_gates)
    except ModelFileError as error:
        _refuse(f"MODEL = {error}")


def _builder(reference: str) -> "Callable[..., Any]":
    """Import the user's function that builds a network."""
    from fedgates.config.references import find  # noqa: PLC0415

    if not is_reference(reference):
        raise ConfigError("--network", reference, '"module:function"')
    import_from_here()
    function = find("--network", reference)
    if not callable(function):
        raise ConfigError("--network", reference, f"a function, not {type(function).__name__}")
    return function


def _refuse(reason: object) -> NoReturn:
    """End the command with a one-line error, with unprintable characters escaped."""
    from fedgates.util.text import one_line  # noqa: PLC0415

    raise click.UsageError(one_line(reason, _LONGEST_LINE)) from None
