"""Export of a model for other programs: dense weights as safetensors, or the network as ONNX."""

import copy
import io
import json
from contextlib import redirect_stderr
from pathlib import Path

import torch

from fedgates.model_file import Model
from fedgates.nn.dead_units import remove_dead_units
from fedgates.util.files import write_atomically
from fedgates.util.text import error_line

_OPSET = 20


class ExportError(RuntimeError):
    """A model cannot be exported; the message says what is missing."""


def without_dead_units(model: Model) -> Model:
    """Return the model without its dead units if its network is a chain, else a copy."""
    small = remove_dead_units(model.network)
    return Model(copy.deepcopy(model.network) if small is None else small, model.facts).eval()


def write_safetensors(model: Model, target: Path) -> int:
    """Write all weights, dense float32, under their names in the whole network; return the size of the file in bytes.

    A parameter that layers share is written under the name of each, so ``load_state_dict`` of the network's own function loads
    the file. The metadata describe the network's input, normalised images, and contain the class names.
    """
    from safetensors.torch import save  # noqa: PLC0415  # loading a model needs no safetensors

    # clones, because safetensors refuses tensors that share memory
    whole = {name: value.clone(memory_format=torch.contiguous_format) for name, value in model.network.state_dict().items()}
    mean, std = model.facts.normalisation
    metadata = _metadata(model, f"(pixels from 0 to 1 - {mean:g}) / {std:g}")
    write_atomically(target, save(whole, metadata={"format": "pt", **metadata}))
    return target.stat().st_size


def write_onnx(model: Model, target: Path) -> int:
    """Write the network without its dead units; return the size of the file in bytes.

    The input ``images`` is float32 ``[n, C, H, W]`` from 0 to 1 with any n, the output ``logits`` is ``[n, classes]``. The
    metadata describe the input and contain the class names.

    Raises
    ------
    ExportError
        The packages for ONNX are not installed, or torch cannot convert this network.
    """
    try:
        import onnx  # noqa: PLC0415  # an extra, and only this needs it
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise ExportError(f"expected the packages of the extra onnx (uv sync --extra onnx); {error_line(error)}") from None
    example = torch.zeros(2, *model.facts.input_shape)
    try:
        with redirect_stderr(io.StringIO()):  # torch prints its graphs when it fails; the exception has the reason
            program = torch.onnx.export(
                without_dead_units(model),
                (example,),
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes={"images": {0: torch.export.Dim("n", min=1)}},
                opset_version=_OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # a user's network may contain anything, and torch raises many types
        raise ExportError(f"torch cannot write this network as ONNX ({error_line(error)})") from error
    if program is None:
        raise ExportError("torch returned no ONNX program")
    written = program.model_proto
    onnx.helper.set_model_props(written, _metadata(model, "pixels from 0 to 1"))
    write_atomically(target, written.SerializeToString())
    return target.stat().st_size


def _metadata(model: Model, pixels: str) -> dict[str, str]:
    """Return the metadata of an exported file."""
    shape = ", ".join(map(str, model.facts.input_shape))
    return {
        "fedgates": model.facts.model,
        "input": f"float32 [n, {shape}], {pixels}",
        "class_names": json.dumps(model.facts.class_names),
    }
