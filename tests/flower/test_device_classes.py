"""Devices whose data name their classes: those with others are left out, and a resumed run has the classes that it had."""

import json
import os

import numpy as np
import pytest
from loopback_runs import run_on
from PIL import Image

from client_app import app
from fedgates.config import DATA_DIGEST
from fedgates.data import sources
from fedgates.data.digits import digits
from fedgates.errors import ConfigError, QuorumError
from fedgates.federation.messages import MAX_CLASS_NAMES, comparable
from fedgates.flower import LoopbackGrid
from fedgates.model_file import load, read_contents

DATASET = "devices:8x8x1:3"
DIGITS = digits().train


def folders(path, *names):
    """A device's own class folders; the names take the digits 0, 1, ... in their order."""
    for label, name in enumerate(names):
        place = path / "train" / name
        place.mkdir(parents=True)
        for i, image in enumerate(DIGITS.x[DIGITS.y == label][:4]):
            Image.fromarray(image[..., 0]).save(place / f"{i}.png")
    (path / "train" / ".ipynb_checkpoints").mkdir()
    return {"data-path": str(path)}


def arrays(path, classes=None):
    chosen = np.flatnonzero(DIGITS.y < 3)[:20]
    np.savez(path, x_train=DIGITS.x[chosen], y_train=DIGITS.y[chosen], **({"classes": classes} if classes else {}))
    return {"data-path": str(path)}


def run(raw, nodes, **changes):
    config = raw(**{"dataset": DATASET, "samples_per_client": 0, "num_server_rounds": 1, "min_clients": 1, **changes})
    nodes = [node | {"partition-id": i} for i, node in enumerate(nodes)]
    return run_on(LoopbackGrid(app, config, node_configs=nodes), config)


def left_out(caplog):
    return [line for line in caplog.messages if "left out" in line]


def test_a_device_with_other_class_folders_is_left_out_and_named(raw, tmp_path, caplog):
    nodes = [
        folders(tmp_path / "other", "b", "c", "d"),
        folders(tmp_path / "all", "a", "b", "c"),
        folders(tmp_path / "lacks-c", "a", "b"),
        folders(tmp_path / "again", "a", "b", "c"),
        arrays(tmp_path / "named.npz", ["a", "c", "b"]),
        arrays(tmp_path / "nameless.npz"),
    ]
    folder = run(raw, nodes)
    lacks = "3 class folders in train/ (empty for a class without images), not 2: a, b"
    assert left_out(caplog) == [
        f"client 2 is left out: data-path = '{tmp_path}/lacks-c': expected {lacks}",
        "client 0 is left out: class 0 is b, not a: its classes are b, c, d, and those of most clients are a, b, c",
        "client 4 is left out: class 1 is c, not b: its classes are a, c, b, and those of most clients are a, b, c",
    ]
    assert "client 2 has no c among its classes: those of the run are a, b, c" in caplog.messages
    (line,) = folder.round_log.read()
    assert line["clients_counted"] == 3
    assert json.loads((folder.path / "device-classes.json").read_text()) == ["a", "b", "c"]
    assert json.loads((folder.path / "config.json").read_text())[DATA_DIGEST] == ""


def test_a_resumed_run_keeps_its_classes_whatever_most_have_then(raw, tmp_path, caplog):
    names = ("a", "b", "c"), ("b", "c", "d"), ("b", "c", "d")
    nodes = [folders(tmp_path / str(i), *each) for i, each in enumerate(names)]
    folder = run(raw, nodes[:1])
    caplog.clear()
    run(raw, nodes, num_server_rounds=2, resume=str(folder.path))
    assert [line[:23] for line in left_out(caplog)] == ["client 1 is left out: c", "client 2 is left out: c"]
    (folder.path / "device-classes.json").write_text("{")
    with pytest.raises(ConfigError, match=r"expected a run with a valid device-classes\.json"):
        run(raw, nodes, num_server_rounds=3, resume=str(folder.path))


@pytest.mark.slow
@pytest.mark.usefixtures("whole_runs")
def test_the_model_has_the_names_of_the_devices(raw, tmp_path):
    named, nameless = folders(tmp_path / "a", "cat", "dog", "eel"), arrays(tmp_path / "nameless.npz")
    changes = {"model": "logistic"}
    assert load(run(raw, [nameless], **changes).path / "model.fedgates").facts.class_names == ("0", "1", "2")
    folder = run(raw, [nameless, named], **changes)
    assert load(folder.path / "model.fedgates").facts.class_names == ("cat", "dog", "eel")
    resumed = run(raw, [nameless], resume=str(folder.path), num_server_rounds=2, **changes)
    assert load(resumed.path / "model.fedgates").facts.class_names == ("cat", "dog", "eel")


def test_the_servers_own_names_count(raw, tmp_path, caplog):
    x, y = DIGITS.x[DIGITS.y < 3][:40], DIGITS.y[DIGITS.y < 3][:40]
    np.savez(tmp_path / "server.npz", x_train=x, y_train=y, x_test=x, y_test=y, classes=["a", "b", "c"])
    names = ("b", "c", "d"), ("b", "c", "d"), ("a", "b", "c")
    nodes = [folders(tmp_path / str(i), *each) for i, each in enumerate(names)]
    nodes.append(folders(tmp_path / "lacks", "a"))
    run(raw, nodes, dataset=f"npz:{tmp_path}/server.npz")
    assert len(left_out(caplog)) == 3
    assert "client 3 has no b, c among its classes: those of the run are a, b, c" in caplog.messages
    assert left_out(caplog)[1].endswith("those of this run are a, b, c")


def test_a_device_whose_data_cannot_be_read_is_left_out_with_the_reason(raw, tmp_path, caplog):
    long = str(tmp_path / ("x" * 300))
    (tmp_path / "file").write_text("")
    nodes = [arrays(tmp_path / "a.npz"), {"data-path": long}, {"data-path": str(tmp_path / "file" / "a.npz")}]
    run(raw, nodes)
    assert left_out(caplog)[0].startswith(f"client 1 is left out: data-path = '{long[:100]}")
    assert (
        left_out(caplog)[1] == f"client 2 is left out: data-path = '{tmp_path}/file/a.npz': expected a file, but there is none"
    )
    with pytest.raises(QuorumError, match=r"0 of 1 clients can take part; the first of the others: data-path = "):
        run(raw, [{"data-path": str(tmp_path / "file")}])


def test_class_folders_whose_names_are_no_utf_8_can_be_compared(raw, tmp_path, caplog):
    nodes = [folders(tmp_path / name, "a", "b", os.fsdecode(b"c\xff")) for name in ("one", "two")]
    run(raw, [*nodes, folders(tmp_path / "other", "a", "b", "c")])
    (line,) = left_out(caplog)
    assert line.startswith("client 2 is left out: class 2 is c, not c\\udcff")


def test_many_names_are_compared_by_their_digest():
    many = [f"class {i}" for i in range(5000)]
    assert comparable(many) == comparable(tuple(many)) != comparable([*many[:-1], "other"])
    assert len(comparable(many)[0]) < 100
    assert comparable("ab") == ("a", "b")
    assert comparable(["a\udcff", "é"]) == ("a\\udcff", "é")
    assert len("".join(comparable(["x" * MAX_CLASS_NAMES]))) == MAX_CLASS_NAMES


# --- data that changed


def test_data_that_changed_are_not_resumed(raw, tmp_path):
    config = raw(dataset=f"npz:{tmp_path}/mine.npz", num_server_rounds=1)
    part = {"x_train": DIGITS.x[:300], "y_train": DIGITS.y[:300], "x_test": DIGITS.x[300:400], "y_test": DIGITS.y[300:400]}
    np.savez(tmp_path / "mine.npz", **part)
    folder = run_on(LoopbackGrid(app, config, 3), config)
    before = json.loads((folder.path / "config.json").read_text())[DATA_DIGEST]
    more = config | {"num-server-rounds": 2, "resume": str(folder.path)}
    run_on(LoopbackGrid(app, more, 3), more)
    np.savez(tmp_path / "mine.npz", **(part | {"x_test": DIGITS.x[301:401]}))
    sources._last.cache_clear()  # a process of its own has nothing cached
    more = more | {"num-server-rounds": 3}
    with pytest.raises(ConfigError, match=rf"^dataset = .*the data of the run to resume .digest {before}, not ") as error:
        run_on(LoopbackGrid(app, more, 3), more)
    assert error.value.key == "dataset"


@pytest.mark.usefixtures("whole_runs")
def test_the_model_file_has_the_names_that_devices_introduced(raw, tmp_path):
    nodes = [folders(tmp_path / name, "cat", "dog", "owl") for name in ("one", "two")]
    path = run(raw, nodes).path / "model.fedgates"
    assert read_contents(path).facts.class_names == ("cat", "dog", "owl")
