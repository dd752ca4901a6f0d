"""Export of a model for other programs: dense weights as safetensors, or the network as ONNX."""

import copy
import io
import json
from contextlib import redirect_stderr
from pathlib import Path

import torch

from fedgates.data.inputs import SINGLE
from fedgates.model_file import Model
from fedgates.nn.dead_units import remove_dead_units
from fedgates.types import InputSpec
from fedgates.util.files import write_atomically
from fedgates.util.text import error_line

_OPSET = 20


class ExportError(RuntimeError):
    """Raised if a model cannot be exported; the message has the reason."""


def without_dead_units(model: Model) -> Model:
    """Return the model without dead units if its network is a chain of layers, otherwise a copy."""
    small = remove_dead_units(model.network)
    return Model(copy.deepcopy(model.network) if small is None else small, model.facts).eval()


def write_safetensors(model: Model, target: Path) -> int:
    """Write all weights, dense float32, as safetensors; return the size of the file in bytes.

    Names are those of the network's ``state_dict``. A parameter shared by several layers is written under each of its names, so
    ``load_state_dict`` of a new network accepts the file. The metadata have the class names and a description of the network's
    inputs, which must be normalised.
    """
    from safetensors.torch import save  # noqa: PLC0415  # loading a model needs no safetensors

    # clones, because safetensors refuses tensors that share memory
    whole = {name: value.clone(memory_format=torch.contiguous_format) for name, value in model.network.state_dict().items()}
    metadata = _metadata(model, normalised=True)
    write_atomically(target, save(whole, metadata={"format": "pt", **metadata}))
    return target.stat().st_size


def write_onnx(model: Model, target: Path) -> int:
    """Write the network without dead units as ONNX; return the size of the file in bytes.

    The batch size n is dynamic. The input is ``images``, float32 ``[n, C, H, W]`` (in [0, 1] if the data are uint8); inputs
    that are not a single image have their own names, float32 or int64 ``[n, *shape]``. The output is ``logits``, or ``values``
    for regression, ``[n, *output_shape]``. The metadata have the class names and a description of the inputs.

    Raises
    ------
    ExportError
        The packages for ONNX are not installed, or torch cannot convert this network.
    """
    try:
        import onnx  # noqa: PLC0415  # an optional dependency
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise ExportError(f"expected the packages of the extra onnx (uv sync --extra onnx); {error_line(error)}") from None
    specs = model.facts.problem.inputs
    names = ["images" if spec.is_image and len(specs) == 1 else spec.name for spec in specs]
    examples = tuple(torch.zeros(2, *spec.shape, dtype=torch.int64 if spec.dtype == "int64" else None) for spec in specs)
    number = torch.export.Dim("n", min=1)
    try:
        with redirect_stderr(io.StringIO()):  # torch prints graphs on failure; the exception has the reason
            program = torch.onnx.export(
                without_dead_units(model),
                examples,
                input_names=names,
                output_names=["values" if model.facts.problem.task == "regression" else "logits"],
                dynamic_shapes={"inputs": tuple({0: number} for _ in specs)},
                opset_version=_OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # torch raises many types, and user-defined networks may raise any
        raise ExportError(f"torch cannot write this network as ONNX ({error_line(error)})") from error
    if program is None:
        raise ExportError("torch returned no ONNX program")
    written = program.model_proto
    onnx.helper.set_model_props(written, _metadata(model, normalised=False))
    write_atomically(target, written.SerializeToString())
    return target.stat().st_size


def _metadata(model: Model, *, normalised: bool) -> dict[str, str]:
    """Return the metadata of an exported file whose inputs are normalised or raw."""
    return {
        "fedgates": model.facts.model,
        "input": "; ".join(_described(spec, normalised=normalised) for spec in model.facts.problem.inputs),
        "class_names": json.dumps(model.facts.class_names),
    }


def _described(spec: InputSpec, *, normalised: bool) -> str:
    text = f"{'int64' if spec.dtype == 'int64' else 'float32'} [n, {', '.join(map(str, spec.shape))}]"
    name = "" if spec.name == SINGLE else f"{spec.name}: "
    values = "pixels from 0 to 1" if spec.dtype == "uint8" else "values"
    if not normalised or not spec.mean:
        return f"{name}{text}" + (f", {values}" if spec.dtype == "uint8" else "")
    if len(spec.mean) == 1:
        return f"{name}{text}, ({values} - {spec.mean[0]:g}) / {spec.std[0]:g}"
    return f"{name}{text}, ({values} - {json.dumps(spec.mean)}) / {json.dumps(spec.std)}, by feature"
