"""Whole runs on inputs and tasks of every kind: they learn, their model file loads, and it predicts as the server did."""

import json

import numpy as np
import odd_inputs
import pytest
import torch
from loopback_runs import run

import fedgates
from fedgates.methods.evaluation import score
from fedgates.model_file.prediction import ImageError, predictions, read_images
from fedgates.models.outputs import as_predictions
from fedgates.runs.round_log import read_rounds

KINDS = {
    "windows": ("odd_inputs:windows", "accuracy", 0.6),
    "tokens": ("odd_inputs:Tokens", "accuracy", 0.7),
    "two": ("odd_inputs:Two", "accuracy", 0.7),
    "pixels": ("odd_inputs:pixels", "accuracy", 0.8),
    "labels": ("mlp", "f1", 0.7),
    "numbers": ("mlp", "r2", 0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("whole_runs")
def test_a_run_on_any_task(tmp_path, kind):
    model, metric, least = KINDS[kind]
    settings = {
        "dataset": odd_inputs.write(tmp_path / "d.npz", kind),
        "model": model,
        "strategy": "fedavg",
        "learning-rate": 0.1,
        "local-epochs": 5,
        "num-server-rounds": 4,
        "fraction-evaluate": 1.0,
        "output-dir": str(tmp_path),
    }
    folder = run(settings, clients=2).path
    last = read_rounds(folder).lines[-1]
    assert last[metric] > least, last
    if metric != "r2":
        assert 0.5 < last[f"client_{metric}"] <= 1
    assert last["client_loss"] < read_rounds(folder).lines[0]["client_loss"]
    network = None if model == "mlp" else getattr(odd_inputs, model.partition(":")[2])
    loaded = fedgates.load(folder / "model.fedgates", network=network)
    examples = read_images(tmp_path / "d.npz", loaded.facts.problem)
    found = predictions(loaded, examples, 1)
    assert len(found) == 40
    json.dumps(found)
    with np.load(tmp_path / "d.npz") as file:
        y = torch.from_numpy(file["y_test"])
    x = examples.pixels
    with torch.no_grad():
        outputs = (
            loaded(**{k: torch.from_numpy(v) for k, v in x.items()}) if isinstance(x, dict) else loaded(torch.from_numpy(x))
        )
    labels = y.byte() if kind == "labels" else y
    again = score(as_predictions(outputs, loaded.facts.problem.task), labels)
    assert again[metric] == pytest.approx(last[metric], abs=1e-6)


@pytest.mark.usefixtures("whole_runs")
def test_the_model_file_has_what_inputs_were_standardised_by(tmp_path):
    settings = {
        "dataset": odd_inputs.write(tmp_path / "d.npz", "windows"),
        "model": "mlp",
        "data.standardise": True,
        "strategy": "fedavg",
        "learning-rate": 0.1,
        "num-server-rounds": 3,
        "output-dir": str(tmp_path),
    }
    folder = run(settings, clients=2).path
    last = read_rounds(folder).lines[-1]
    assert last["accuracy"] > 0.8
    loaded = fedgates.load(folder / "model.fedgates")
    raw = read_images(tmp_path / "d.npz", loaded.facts.problem).pixels  # the file has mean and standard deviation
    with torch.no_grad(), np.load(tmp_path / "d.npz") as file:
        accuracy = float((loaded(torch.from_numpy(raw)).argmax(1).numpy() == file["y_test"]).mean())
    assert accuracy == pytest.approx(last["accuracy"])


def test_other_arrays_than_the_models_are_one_line(tmp_path):
    problem = fedgates.types.Problem((fedgates.types.InputSpec("x", (20, 2), "float32"),), "classes", 3)
    np.savez(tmp_path / "d.npz", x=np.zeros((3, 20, 3)))
    with pytest.raises(ImageError, match=r"x is float64 \[3, 20, 3\], expected float32 \[n, 20, 2\]"):
        read_images(tmp_path / "d.npz", problem)
    with pytest.raises(ImageError, match=r"expected an .npz file with the model's inputs, which are not images"):
        read_images(tmp_path, problem)
