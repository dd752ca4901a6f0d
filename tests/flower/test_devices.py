"""`dataset` "devices:…": a server without any data, devices that have all of it, and how they judge the model."""

import json
import logging
import struct

import numpy as np
import pytest
from flwr.app import MetricRecord
from loopback_runs import last_checkpoint, run_on, without

from client_app import app
from fedgates.data.digits import digits
from fedgates.errors import ConfigError
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.flower.records import METRICS

DATASET = "devices:8x8x1:10"


def save(path, part, test=None):
    """A device's own file: some of the digits, and perhaps a test part."""
    train = digits().train
    arrays = {"x_train": train.x[part], "y_train": train.y[part]}
    if test is not None:
        arrays |= {"x_test": train.x[test], "y_test": train.y[test]}
    np.savez(path, **arrays)
    return {"data-path": str(path)}


def of_classes(*classes, count):
    """The first images of these classes."""
    return np.flatnonzero(np.isin(digits().train.y, classes))[:count]


def config_of(raw, **changes):
    settings = {"dataset": DATASET, "samples_per_client": 0, "fraction_evaluate": 1.0, "num_server_rounds": 3}
    return raw(**{**settings, **changes})


def run_of(raw, nodes, grid=LoopbackGrid, **changes):
    config = config_of(raw, **changes)
    return run_on(grid(app, config, node_configs=nodes), config)


# --- a run of devices of different sizes, one of which cannot take part

SIZES = {3: 30, 4: 8, 5: 20}
"""Name to how many images it evaluates on: a test part of 30, and every fifth of 41 and 100 images."""


@pytest.fixture(scope="module")
def finished(shared_raw, tmp_path_factory, writing_everything):
    """A run: its folder, its log, the clients' names, and whoever was sent something."""
    place, said = tmp_path_factory.mktemp("devices"), []
    nodes = [
        save(place / "tested.npz", slice(0, 60), slice(200, 230)) | {"partition-id": 3},
        save(place / "few.npz", of_classes(0, 1, 2, count=41)) | {"partition-id": 4},
        save(place / "many.npz", slice(300, 400)) | {"partition-id": 5},
        {"data-path": str(place / "absent.npz"), "partition-id": 6},
    ]
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    log = logging.getLogger("fedgates")
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        with writing_everything():
            folder = run_of(shared_raw, nodes)
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    return folder, said


def test_who_has_no_usable_data_is_left_out_with_the_reason(finished):
    folder, said = finished
    (line,) = [line for line in said if "left out" in line]
    assert line.startswith("client 6 is left out: data-path = ")
    assert line.endswith("absent.npz': expected a file, but there is none")
    for line in folder.round_log.read():
        assert (line["clients_selected"], line["clients_counted"], line["clients_evaluating"]) == (3, 3, 3)


def test_what_the_server_cannot_measure_is_null_and_what_devices_say_is_there(finished):
    for line in finished[0].round_log.read():
        assert (line["accuracy"], line["loss"]) == (None, None)
        assert "accuracy_sample" not in line
        found = line["client_evaluations"]
        assert {int(name): evaluation["examples"] for name, evaluation in found.items()} == SIZES
        for evaluation in found.values():
            assert set(evaluation) == {"examples", "accuracy", "own_class_accuracy", "loss"}
            right = evaluation["accuracy"] * evaluation["examples"]
            assert right == pytest.approx(round(right), abs=1e-5)  # whole images
        assert line["evaluation_failed"] == {}


@pytest.mark.parametrize("name", ["accuracy", "loss"])
def test_means_are_by_examples_and_macro_by_devices(finished, name):
    for line in finished[0].round_log.read():
        found = line["client_evaluations"]
        by_examples = sum(found[str(client)][name] * size for client, size in SIZES.items()) / 58
        macro = sum(found[str(client)][name] for client in SIZES) / 3
        assert line[f"client_{name}"] == pytest.approx(by_examples)
        assert line[f"client_{name}_macro"] == pytest.approx(macro)
        assert by_examples != pytest.approx(macro)


def test_it_is_judged_by_its_devices(finished):
    folder, said = finished
    lines = folder.round_log.read()
    rounds = [line for line in said if line.startswith("round ")]
    assert len(rounds) == 3
    for line, written in zip(lines, rounds, strict=True):
        assert f"  devices' accuracy {100 * line['client_accuracy']:.1f} %  density " in written
    (table,) = [line for line in said if "bytes up" in line]
    header, row, *_ = table.splitlines()
    assert header.split()[:2] == ["devices'", "accuracy"]
    assert row.split()[:5] == ["coupled-masks,", "3", "rounds", f"{100 * lines[-1]['client_accuracy']:.1f}", "%"]
    assert not [line for line in said if line.startswith("no report")]


def test_there_are_curves(finished):
    data = (finished[0].path / "curves.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (9 * 130, round(3.4 * 130))


# --- what devices may have


def test_it_learns_from_all_of_them(raw, tmp_path):
    nodes = [save(tmp_path / f"{i}.npz", slice(200 * i, 200 * i + 200)) for i in range(4)]
    folder = run_of(raw, nodes, strategy="fedavg", local_epochs=3, num_server_rounds=6)
    accuracies = [line["client_accuracy"] for line in folder.round_log.read()]
    assert accuracies[-1] > max(0.8, accuracies[0])


@pytest.mark.parametrize("count", [1, 4])
def test_a_device_with_too_few_images_to_hold_one_out_trains_and_says_why_it_does_not_evaluate(raw, tmp_path, count):
    nodes = [save(tmp_path / "a.npz", slice(0, 50)), save(tmp_path / "b.npz", slice(50, 50 + count)) | {"partition-id": 1}]
    for line in run_of(raw, nodes, num_server_rounds=2).round_log.read():
        assert (line["clients_counted"], line["clients_evaluating"]) == (2, 2)
        reason = f"no held-out examples to evaluate on: holding out takes 5 examples, found {count}"
        assert line["evaluation_failed"] == {"1": f"error 2: ValueError: {reason}"}
        assert [one["examples"] for one in line["client_evaluations"].values()] == [10]
        assert line["client_accuracy"] == line["client_accuracy_macro"]


def test_of_five_images_one_is_held_out(raw, tmp_path):
    nodes = [save(tmp_path / f"{i}.npz", slice(5 * i, 5 * i + 5)) for i in range(2)]
    (line,) = run_of(raw, nodes, num_server_rounds=1).round_log.read()
    assert [one["examples"] for one in line["client_evaluations"].values()] == [1, 1]


@pytest.mark.usefixtures("whole_runs")
def test_where_nobody_evaluates_there_is_no_accuracy_and_still_a_report(raw, tmp_path, caplog):
    caplog.set_level("INFO", logger="fedgates")
    nodes = [save(tmp_path / f"{i}.npz", slice(40 * i, 40 * i + 40)) for i in range(2)]
    folder = run_of(raw, nodes, fraction_evaluate=0.0)
    for line in folder.round_log.read():
        assert not [key for key in line if key.startswith("client_") and "seconds" not in key]
        assert line["accuracy"] is None
    assert "  training loss " in caplog.text
    assert "no report" not in caplog.text
    assert (folder.path / "curves.png").is_file()


@pytest.mark.parametrize(
    ("shape", "labels", "problem"),
    [
        ((9, 8, 8), range(9), None),
        ((9, 8, 8, 3), range(9), "images of shape (C, H, W) = (1, 8, 8), not (3, 8, 8)"),
        ((9, 28, 28), range(9), "images of shape (C, H, W) = (1, 8, 8), not (1, 28, 28)"),
        ((2, 8, 8), (0, 10), "labels below 10, the number of classes, not 10"),
        ((0, 8, 8), (), "at least one training example, but there is none"),
    ],
    ids=str,
)
def test_data_that_does_not_fit_the_name_leaves_its_device_out(raw, tmp_path, caplog, shape, labels, problem):
    np.savez(tmp_path / "own.npz", x_train=np.zeros(shape, np.uint8), y_train=np.array(labels, np.int64))
    nodes = [save(tmp_path / f"{i}.npz", slice(40 * i, 40 * i + 40)) | {"partition-id": i} for i in range(2)]
    nodes.append({"data-path": str(tmp_path / "own.npz"), "partition-id": 2})
    (line,) = run_of(raw, nodes, num_server_rounds=1).round_log.read()
    assert line["clients_counted"] == (2 if problem else 3)
    said = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert said == ([f"client 2 is left out: data-path = '{tmp_path / 'own.npz'}': expected {problem}"] if problem else [])


def test_a_claim_to_many_images_is_held_within_max_examples(raw, tmp_path):
    class Boasting(LoopbackGrid):
        """Client 0 is never wrong, on two billion images."""

        def deliver(self, message):
            reply = super().deliver(message)
            if message.metadata.message_type == "evaluate" and message.metadata.dst_node_id == 1000:
                reply.content[METRICS] = MetricRecord({"num-examples": 2**31 - 1, "accuracy": 1.0, "loss": 0.0})
            return reply

    nodes = [save(tmp_path / f"{i}.npz", slice(50 * i, 50 * i + 50)) | {"partition-id": i} for i in range(3)]
    (line,) = run_of(raw, nodes, Boasting, num_server_rounds=1, max_examples=3).round_log.read()
    boasted, *honest = (line["client_evaluations"][name] for name in "012")
    assert [boasted["examples"], *(each["examples"] for each in honest)] == [30, 10, 10]
    accuracy = honest[0]["accuracy"] + honest[1]["accuracy"]
    assert line["client_accuracy"] == pytest.approx((30 + 10 * accuracy) / 50)
    assert line["client_accuracy_macro"] == pytest.approx((1 + accuracy) / 3)


def test_the_model_is_the_one_that_a_server_with_data_makes_of_the_same_devices(raw, tmp_path):
    nodes = [save(tmp_path / f"{i}.npz", slice(40 * i, 40 * i + 40)) | {"partition-id": i} for i in range(3)]
    here, elsewhere = (run_of(raw, nodes, dataset=dataset) for dataset in ("digits", DATASET))
    assert last_checkpoint(here).read_bytes() == last_checkpoint(elsewhere).read_bytes()
    of_the_server = ("accuracy", "loss", "accuracy_sample", "accuracy_mean", "model_density")
    assert without(here.round_log.read(), *of_the_server) == without(elsewhere.round_log.read(), *of_the_server)


# --- who cannot use it


@pytest.mark.parametrize("nodes", [None, [{"partition-id": 0, "num-partitions": 1}]], ids=["simulation", "a part of one"])
def test_simulated_clients_have_nothing_to_share(raw, nodes):
    class Untouched(LoopbackGrid):
        def push_messages(self, messages):
            raise AssertionError("something was sent")

    config = config_of(raw)
    with pytest.raises(ConfigError) as error:
        run_on_grid(Untouched(app, config, 3, node_configs=nodes), config)
    expected = "a data set on this machine: simulated clients have no data of their own"
    assert str(error.value) == f"dataset = '{DATASET}': expected {expected}"


def test_a_device_without_data_of_its_own_is_told_to_have_some(raw, tmp_path, caplog):
    nodes = [save(tmp_path / f"{i}.npz", slice(40 * i, 40 * i + 40)) for i in range(2)] + [{"partition-id": 2}]
    (line,) = run_of(raw, nodes, num_server_rounds=1).round_log.read()
    assert line["clients_counted"] == 2
    assert "client 2 is left out: data-path = None: expected a node config with data-path" in caplog.text


def test_a_network_for_a_regression_does_not_fit(raw):
    config = config_of(raw, model="linear")
    with pytest.raises(ConfigError, match=r"^model = 'linear': expected another"):
        run_on_grid(LoopbackGrid(app, config, node_configs=[{"data-path": "/x"}]), config)


def test_a_resumed_run_keeps_the_numbers_of_its_devices(raw, tmp_path, caplog):
    nodes = [save(tmp_path / f"{i}.npz", slice(40 * i, 40 * i + 40)) | {"partition-id": i} for i in range(3)]
    config = config_of(raw, num_server_rounds=1, min_clients=1)
    folder = run_on(LoopbackGrid(app, config, node_configs=nodes), config)
    assert json.loads((folder.path / "devices.json").read_text()) == {"0": 1000, "1": 1001, "2": 1002}
    nodes[1], nodes[2] = nodes[1] | {"partition-id": 2}, nodes[2] | {"partition-id": 3}
    more = config | {"num-server-rounds": 2, "resume": str(folder.path)}
    (_, line) = run_on(LoopbackGrid(app, more, node_configs=nodes), more).round_log.read()
    assert line["clients_selected"] == 1
    assert "node 1001 is left out: client 2 is node 1002, the first with that number in this run" in caplog.text
    assert "node 1002 is left out: it is client 2 in this run, and now has the number 3" in caplog.text
    for damaged in ("{", "[]", '{"a": 1}'):
        (folder.path / "devices.json").write_text(damaged)
        with pytest.raises(ConfigError, match=r"expected a run with a valid devices\.json"):
            run_on(LoopbackGrid(app, more, node_configs=nodes), more | {"num-server-rounds": 3})
