"""One round of a small federation with each of many networks, by each method: does it train, export, load and predict?"""

from pathlib import Path

import architectures
import numpy as np
import torch
from safetensors.torch import load_file

import fedgates
from client_app import app
from fedgates.data.inputs import mapped
from fedgates.errors import ConfigError, NetworkError
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.methods.registry import BUILT_IN
from fedgates.model_file.export import write_safetensors
from fedgates.models.probe import random_inputs

CLASSES, TRAIN, TEST = 4, 24, 8
WITH_TARGET = ("one-bit-gates", "entropy-gates", "sparsyfed", "topk", "fediht")
METHODS = tuple(BUILT_IN)
GROUPS = ("IMAGES", "TOKENS", "SERIES", "TWO", "MAPS")
NETWORKS = {name: (group, build) for group in GROUPS for name, build in getattr(architectures, group).items()}
"""Name of each network to the kind of data that it takes, and its function."""


def write_data(folder: Path) -> dict[str, Path]:
    """Write a file of random examples of each kind."""
    random = np.random.default_rng(0)
    files = {}
    for group in GROUPS:
        arrays = {}
        for part, count in (("train", TRAIN), ("test", TEST)):
            images = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
            small = random.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
            inputs = {
                "IMAGES": {"": images},
                "TOKENS": {"": random.integers(0, architectures.VOCABULARY, (count, 12))},
                "SERIES": {"": random.normal(size=(count, 6, 20)).astype(np.float32)},
                "TWO": {"_image": small, "_table": random.normal(size=(count, 5)).astype(np.float32)},
                "MAPS": {"": small},
            }[group]
            arrays |= {f"x_{part}{suffix}": array for suffix, array in inputs.items()}
            labels = np.arange(count) % CLASSES
            arrays[f"y_{part}"] = labels if group != "MAPS" else random.integers(0, CLASSES, (count, 16, 16))
        files[group] = folder / f"{group.lower()}.npz"
        np.savez(files[group], **arrays)
    return files


def outcome(name: str, strategy: str, data: dict[str, Path], folder: Path) -> str:
    """Return "yes" if the network went all the way, or the line that refused it before anything started.

    Raises
    ------
    AssertionError
        It trained, but what it left is not a model that predicts.
    """
    group, build = NETWORKS[name]
    raw = {
        "strategy": strategy,
        "model": f"architectures:{build.__name__}",
        "dataset": f"npz:{data[group]}",
        "num-server-rounds": 1,
        "local-epochs": 1,
        "batch-size": 8,
        "output-dir": str(folder),
        **({"density.target": 0.5} if strategy in WITH_TARGET else {}),
    }
    try:
        run = run_on_grid(LoopbackGrid(app, raw, 2), raw)
    except (ConfigError, NetworkError) as error:
        return str(error).replace(raw["model"], "module:function")
    (line,) = run.round_log.read()
    assert line["clients_counted"] == 2, (line["failed"], line["rejected"])
    model = fedgates.load(run.path / "model.fedgates", network=build)
    problem = model.facts.problem
    x = random_inputs(problem, 3)
    with torch.no_grad():
        predicted = model.network(**x) if isinstance(x, dict) else model.network(x)
        one = mapped(x, lambda each: each[:1])
        alone = model.network(**one) if isinstance(one, dict) else model.network(one)
    assert predicted.shape == (3, *problem.output_shape)
    assert predicted.isfinite().all()
    assert torch.allclose(alone, predicted[:1], rtol=1e-3, atol=1e-4)
    file = run.path / "model.safetensors"
    write_safetensors(model, file)
    plain = build(problem.shape, problem.outputs)
    missing, unexpected = plain.load_state_dict(load_file(file), strict=False)
    assert not unexpected
    if not missing:  # the plain network with the exported weights is the same model
        with torch.no_grad():
            again = plain.eval()(**x) if isinstance(x, dict) else plain.eval()(x)
        assert torch.allclose(again, predicted, rtol=1e-3, atol=1e-4)
    return "yes"
