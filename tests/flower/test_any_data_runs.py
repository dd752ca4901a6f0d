"""Files of every kind of data through whole federations, of a server's data set and of devices' own."""

import json

import data_networks
import numpy as np
import pandas as pd
import pytest
import torch
from loopback_runs import run, run_on

from client_app import app
from fedgates.cli import main
from fedgates.flower import LoopbackGrid
from fedgates.model_file import load

DRAW = np.random.default_rng(5)
N = 240
TOKENS = DRAW.integers(0, 16, (N, 4))
TABLE = DRAW.normal(3, 2, (N, 5)).astype(np.float32)
SERIES = DRAW.normal(size=(N, 3, 12))
MAPS = DRAW.integers(0, 256, (N, 6, 5), np.uint8)
"""Grey images, whose pixels above 127 are of class 1."""


def npz(path, y, x=None, rows=slice(None), split=40, **several):
    """Write a file of some rows, of which the first `split` are for testing."""
    inputs = several or {"": x}
    arrays = {"y_train": y[rows][split:], "y_test": y[rows][:split]}
    for name, values in inputs.items():
        key = f"_{name}" if name else ""
        arrays |= {f"x_train{key}": values[rows][split:], f"x_test{key}": values[rows][:split]}
    np.savez(path, **arrays)
    return str(path)


FEDAVG = {"strategy": "fedavg", "learning-rate": 0.1, "num-server-rounds": 5, "fraction-evaluate": 1.0, "batch-size": 8}
MASKS = {"strategy": "fedpm", "learning-rate": 0.3, "num-server-rounds": 5, "fraction-evaluate": 1.0, "batch-size": 8}
KINDS = {
    "tokens": ({"x": TOKENS}, (TOKENS[:, 0] > 7).astype(int), "data_networks:tokens", {}),
    "series": ({"x": SERIES}, (SERIES[:, 0].mean(1) > 0).astype(np.uint8), "data_networks:series", {}),
    "table": ({"x": TABLE}, TABLE[:, :1] * 0.5 - TABLE[:, 1:2], "linear", {"data.standardise": True}),
    "multi-label": ({"x": TABLE - 3}, TABLE[:, :2] > 3, "mlp", {}),
    "positions": ({"x": MAPS}, MAPS > 127, "data_networks:pixels", {}),
    "two inputs": ({"table": TABLE - 3, "tokens": TOKENS}, (TABLE[:, 0] > 3).astype(int), "data_networks:both", {}),
}
TASKS = {"table": "regression", "multi-label": "multi-label", "positions": "positions"}


def measured(outputs, y, task):
    """Accuracy or r2 of a model's outputs."""
    if task == "regression":
        return 1 - ((outputs - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    return ((outputs > 0) == y).mean() if task == "multi-label" else (outputs.argmax(1) == y).mean()


@pytest.mark.slow
@pytest.mark.usefixtures("whole_runs")
@pytest.mark.parametrize("method", [FEDAVG, MASKS], ids=["fedavg", "fedpm"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_data_set_of_each_kind_is_learned(raw, tmp_path, kind, method):
    inputs, y, model, more = KINDS[kind]
    config = raw(**{"dataset": f"npz:{npz(tmp_path / 'a.npz', y, **inputs)}", "samples-per-client": 0}, **method)
    config |= {"model": model} | more
    folder = run(config, clients=3)
    first, *_, last = folder.round_log.read()
    assert last["clients_rejected"] == last["clients_failed"] == 0
    assert last["loss"] < first["loss"]
    assert "client_loss" in last
    task = TASKS.get(kind, "classes")
    reached = last["r2" if task == "regression" else "accuracy"]
    assert method is MASKS or reached > 0.65

    network = getattr(data_networks, model.partition(":")[2], None)
    saved = load(folder.path / "model.fedgates", network=network)
    assert saved.facts.problem.task == task
    tests = {"" if len(inputs) == 1 else name: torch.from_numpy(each[:40].copy()) for name, each in inputs.items()}
    if kind == "positions":
        tests[""] = tests[""][:, None]
    with torch.no_grad():
        outputs = saved(*tests.values()) if "" in tests else saved(**tests)
    assert measured(outputs.double().numpy(), y[:40], task) == pytest.approx(
        reached, abs=3e-3
    )  # outputs may be as good as equal


DEVICES = {
    "tokens": "devices:int64:4:2",
    "series": "devices:float32:3x12:2",
    "table": "devices:float32:5:regression",
    "multi-label": "devices:float32:5:multi-label-2",
    "positions": "devices:6x5x1:positions-2",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DEVICES)
def test_devices_hold_each_kind(raw, tmp_path, kind, caplog):
    inputs, y, model, _ = KINDS[kind]
    rows = [slice(0, 80), slice(80, 160), slice(160, 240)]
    nodes = [
        {"data-path": npz(tmp_path / f"{i}.npz", y, rows=part, split=10, **inputs), "partition-id": i}
        for i, part in enumerate(rows)
    ]
    wrong = npz(tmp_path / "wrong.npz", np.zeros(N, int), x=np.zeros((N, 2)))
    nodes.append({"data-path": wrong, "partition-id": 3})
    config = raw(**{"dataset": DEVICES[kind], "samples-per-client": 0}, **FEDAVG) | {"model": model, "learning-rate": 0.005}
    folder = run_on(LoopbackGrid(app, config, node_configs=nodes), config)
    first, *_, last = folder.round_log.read()
    assert last["clients_counted"] == 3
    assert last["client_loss"] < first["client_loss"]
    assert f"client 3 is left out: data-path = '{wrong}': expected " in caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("whole_runs")
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_of_a_server_and_of_devices(raw, tmp_path, suffix, capsys):
    frame = pd.DataFrame(TABLE, columns=list("abcde"))
    frame["kind"] = np.where(TABLE[:, 0] > 3, "tall", "low")
    save = pd.DataFrame.to_parquet if suffix == ".parquet" else pd.DataFrame.to_csv
    save(frame, tmp_path / f"all{suffix}", index=False)
    keys = {"data.label": "kind", "data.standardise": True, "samples-per-client": 0, "model": "logistic"}
    config = raw(dataset=f"table:{tmp_path}/all{suffix}", **FEDAVG) | keys
    folder = run(config, clients=3)
    assert folder.round_log.read()[-1]["accuracy"] > 0.85
    model = load(folder.path / "model.fedgates")
    assert model.facts.class_names == ("low", "tall")
    assert model.facts.problem.inputs[0].mean == pytest.approx(TABLE.mean(0), abs=0.5)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["predict", str(folder.path / "model.fedgates"), str(tmp_path / f"all{suffix}"), "--json"])
    named = [each["labels"][0]["label"] for each in json.loads(capsys.readouterr().out)]
    assert (frame["kind"] == named).mean() > 0.85

    nodes = []
    for i in range(3):
        save(frame[i::3], tmp_path / f"{i}{suffix}", index=False)
        nodes.append({"data-path": str(tmp_path / f"{i}{suffix}"), "partition-id": i})
    of_devices = run_on(LoopbackGrid(app, config, node_configs=nodes), config)
    last = of_devices.round_log.read()[-1]
    assert (last["clients_counted"], last["client_accuracy"] > 0.85) == (3, True)
