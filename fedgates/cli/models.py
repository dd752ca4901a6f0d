"""What a finished model is, says, and can be made into."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from fedgates.cli.app import cli

if TYPE_CHECKING:
    from fedgates.artifact import Model

_File = Annotated[
    str,
    typer.Argument(metavar="MODEL", help='A model.fedgates; or of a run: its folder, its name, or "last".', show_default=False),
]
_Json = Annotated[bool, typer.Option("--json", help="For scripts.")]


class Form(StrEnum):
    """What a model can be written as."""

    ONNX = "onnx"
    SAFETENSORS = "safetensors"


@cli.command(epilog="Example: fedgates inspect last")
def inspect(model: _File, *, as_json: _Json = False) -> None:
    """What a model file holds: how it was trained, its layers and how dense they are, its bytes, and what it shrinks to."""
    import json  # noqa: PLC0415

    from fedgates.model_report import facts_of, table  # noqa: PLC0415

    file = _file(model)
    found = facts_of(file, _loaded(file))
    typer.echo(json.dumps(found, indent=2) if as_json else table(found))


@cli.command(epilog="Example: fedgates predict model.fedgates digit.png")
def predict(
    model: _File,
    images: Annotated[Path, typer.Argument(metavar="IMAGE|FOLDER|NPZ", show_default=False)],
    top: Annotated[int, typer.Option(min=1, help="How many labels an image.")] = 1,
    *,
    as_json: _Json = False,
) -> None:
    """Labels, with probabilities, of an image, of all images in a folder, or of x (or x_test) in an npz file."""
    import json  # noqa: PLC0415

    from fedgates.prediction import ImageError, predictions, read_images, told  # noqa: PLC0415

    loaded = _loaded(_file(model))
    try:
        found = predictions(loaded, read_images(images.expanduser(), loaded.facts.input_shape), top)
    except ImageError as error:
        raise click.UsageError(str(error)) from None
    typer.echo(json.dumps(found, indent=2) if as_json else told(found))


@cli.command(epilog="Example: fedgates export last --to onnx")
def export(
    model: _File,
    to: Annotated[
        Form, typer.Option("--to", help="safetensors: the dense weights | onnx: the network, images in, logits out.")
    ],
    out: Annotated[Path | None, typer.Option(help="The file.", show_default="named like the model, beside it")] = None,
) -> None:
    """Write a model for other programs. ONNX is without the units that no path uses, and needs the extra named onnx."""
    from fedgates.export import ExportError, write_onnx, write_safetensors  # noqa: PLC0415

    file = _file(model)
    loaded = _loaded(file)
    target = (out or file.with_suffix(f".{to.value}")).expanduser()
    try:
        size = (write_onnx if to is Form.ONNX else write_safetensors)(loaded, target)
    except (ExportError, OSError) as error:
        raise click.UsageError(f"--to {to.value}: {error}") from None
    typer.echo(f"written: {target}, {size:,} bytes")


def _file(model: str) -> Path:
    """The file that is meant."""
    from fedgates.run_list import find  # noqa: PLC0415

    path = Path(model).expanduser()
    return path if path.is_file() else find(model) / "model.fedgates"


def _loaded(path: Path) -> "Model":
    from fedgates.artifact import ModelFileError, load  # noqa: PLC0415

    try:
        return load(path)
    except ModelFileError as error:
        raise click.UsageError(f"MODEL = {error}") from None
