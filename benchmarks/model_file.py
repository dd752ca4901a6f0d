"""python benchmarks/model_file.py --data-dir DIR: bytes of model files, and size and speed without dead units.

Each row is one run on the loopback grid: digits with the MLP, and MNIST (from torchvision's folder DIR) with conv4 on a few
images, where accuracy does not matter. The size of `model.fedgates` is compared with the same weights as dense float32 in
safetensors, as `fedgates export` writes them, and as float16 in a zip file, which compresses zeros. Speed is measured on 256
images, alternately with the whole network and with the network without dead units; the ratio is that of medians.
"""

import io
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import numpy as np
import torch
from sweep import arguments, table

import fedgates
from client_app import app
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.model_file import read_contents
from fedgates.model_file.description import describe
from fedgates.model_file.export import write_safetensors
from fedgates.nn.dead_units import remove_dead_units
from fedgates.types import Value

_SPARSE: Mapping[str, Value] = {"strategy": "one-bit-gates", "target-density": 0.05}
_MNIST: Mapping[str, Value] = {"dataset": "mnist", "model": "conv4", "samples-per-client": 200, "num-server-rounds": 12}
ROWS: Mapping[str, tuple[int, Mapping[str, Value]]] = {
    "digits, mlp, fedpm": (10, {"num-server-rounds": 30}),
    "digits, mlp, fedpm, density-penalty 10": (10, {"num-server-rounds": 30, "density-penalty": 10.0}),
    "digits, mlp, one-bit gates, .05": (10, {**_SPARSE, "num-server-rounds": 30}),
    "digits, mlp, fediht, .1": (
        10,
        {"strategy": "fediht", "target-density": 0.1, "learning-rate": 0.3, "num-server-rounds": 30},
    ),
    "MNIST, conv4, fedpm": (4, _MNIST),
    "MNIST, conv4, one-bit gates, .05": (4, {**_MNIST, **_SPARSE}),
}
_HEADER = (
    "run",
    "accuracy",
    "kept",
    "model.fedgates",
    "entropy of its mask",
    "float32 safetensors",
    "zipped float16",
    "parameters left",
    "multiply-adds left",
    "speed",
)


def row(name: str, data_dir: str, folder: Path) -> tuple[str, ...]:
    """Run one federation, and return its row of the table."""
    clients, config = ROWS[name]
    raw = {"strategy": "fedpm", "evaluations": "threshold", "output-dir": str(folder), "data-dir": data_dir, **config}
    run = run_on_grid(LoopbackGrid(app, raw, clients), raw)
    file = run.path / "model.fedgates"
    model = fedgates.load(file)
    found = describe(file, read_contents(file))
    weights = {key: value.contiguous() for key, value in model.network.state_dict().items()}
    small, whole = found["slim"], found["whole"]
    return (
        name,
        f"{100 * found['training']['accuracy']:.1f} %",
        f"{100 * found['kept'] / found['parameters']:.1f} %",
        f"{found['bytes']:,}",
        f"{found['mask_entropy_bytes']:,}",
        f"{write_safetensors(model, run.path / 'model.safetensors'):,}",
        f"{zipped(weights):,}",
        f"{100 * small['parameters'] / whole['parameters']:.1f} %",
        f"{100 * small['multiply_adds'] / whole['multiply_adds']:.1f} %",
        f"{speed(model):.2f}x",
    )


def zipped(weights: Mapping[str, torch.Tensor]) -> int:
    """Return the bytes of a deflated zip file with float16 arrays."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for key, value in weights.items():
            archive.writestr(key, value.numpy().astype(np.float16).tobytes())
    return len(file.getvalue())


def speed(model: fedgates.Model) -> float:
    """Return the speed of the network without dead units, divided by that of the whole network."""
    small = remove_dead_units(model.network)
    if small is None:
        return 1.0
    images = torch.rand(256, *model.facts.problem.inputs[0].shape)
    took: dict[str, list[float]] = {"whole": [], "small": []}
    with torch.no_grad():
        for _ in range(15):
            for name, network in (("whole", model.network), ("small", small)):
                started = time.perf_counter()
                network(images)
                took[name].append(time.perf_counter() - started)
    return median(took["whole"]) / median(took["small"])


def main() -> None:
    """Run all rows, and print and write the table."""
    data_dir = str(Path(arguments(__doc__ or "", data_dir="~/fedgates/data").data_dir).expanduser().absolute())
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = [row(name, data_dir, Path(folder)) for name in ROWS]
    text = "Bytes of files; parameters and multiply-adds without the units that no path uses, as shares of the whole network's."
    table("The finished model", "python benchmarks/model_file.py --data-dir DIR", text, _HEADER, rows)


if __name__ == "__main__":
    main()
