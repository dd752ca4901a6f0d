"""Arrays of any dtype, rank and task in one npz file, and what does not fit."""

import numpy as np
import pytest

from fedgates.config import RunConfig, devices_problem, parse
from fedgates.data import load, own, shares
from fedgates.data.labels import read_labels
from fedgates.errors import ConfigError
from fedgates.types import InputSpec, Problem

RNG = np.random.default_rng(1)


def written(path, n=6, **arrays):
    """A file with these arrays for both parts; one whose name ends in _train or _test for one."""
    both = {f"{key[0]}_{part}{key[1:]}": value for key, value in arrays.items() for part in ("train", "test")}
    np.savez(path / "d.npz", **both)
    return f"npz:{path}/d.npz"


def loaded(dataset, **settings):
    return load(parse(RunConfig, {"dataset": dataset, **settings}))


@pytest.mark.parametrize(
    ("x", "spec"),
    [
        (RNG.normal(size=(6, 5)), InputSpec("x", (5,), "float32")),
        (RNG.normal(size=6), InputSpec("x", (1,), "float32")),
        (RNG.normal(size=(6, 7, 3)).astype(np.float16), InputSpec("x", (7, 3), "float32")),
        (RNG.normal(size=(6, 4, 8, 3)), InputSpec("x", (3, 4, 8), "float32")),
        (RNG.normal(size=(6, 2, 3, 4, 5)), InputSpec("x", (2, 3, 4, 5), "float32")),
        (RNG.integers(0, 99, (6, 12), dtype=np.int32), InputSpec("x", (12,), "int64")),
        (RNG.integers(0, 2, (6, 9)).astype(bool), InputSpec("x", (9,), "float32")),
        (RNG.integers(0, 255, (6, 9), dtype=np.uint8), InputSpec("x", (9,), "uint8", (0.5,), (0.5,))),
        (RNG.integers(0, 255, (6, 9, 9), dtype=np.uint8), InputSpec("x", (1, 9, 9), "uint8", (0.5,), (0.5,))),
    ],
)
def test_inputs_of_any_dtype_and_rank(tmp_path, x, spec):
    found = loaded(written(tmp_path, x=x, y=np.arange(6) % 2))
    assert found.problem == Problem((spec,), "classes", 2)
    assert np.array_equal(found.train.x.reshape(x.shape), x.astype(spec.dtype))


@pytest.mark.parametrize(
    ("y", "settings", "expected"),
    [
        (np.arange(6) % 3, {}, ("classes", 3, ())),
        (np.arange(6)[:, None] % 3, {}, ("classes", 3, ())),
        (np.arange(6) % 2 == 0, {}, ("classes", 2, ())),
        (np.arange(6.0), {}, ("regression", 1, ())),
        (np.arange(6), {"data.task": "regression"}, ("regression", 1, ())),
        (np.ones((6, 2)), {}, ("regression", 2, ())),
        (np.ones((6, 4), np.uint8), {}, ("multi-label", 4, ())),
        (np.ones((6, 4), bool), {}, ("multi-label", 4, ())),
        (np.ones((6, 4)), {"data.task": "multi-label"}, ("multi-label", 4, ())),
        (np.full((6, 4), 2), {}, ("positions", 3, (4,))),
        (np.ones((6, 4, 5), np.uint8), {}, ("positions", 2, (4, 5))),
    ],
)
def test_the_task_follows_from_the_labels(tmp_path, y, settings, expected):
    found = loaded(written(tmp_path, x=np.ones((6, 4)), y=y), **settings)
    assert (found.problem.task, found.problem.outputs, found.problem.positions) == expected
    assert Problem.from_dict(found.problem.to_dict()) == found.problem


@pytest.mark.parametrize(
    ("y", "task", "message"),
    [
        (np.ones((6, 2)), "classes", r"integer labels \[n\] or \[n, 1\] in y for the task classes, not float64 \[6, 2\]"),
        (np.array([0.5, 1]), "classes", "integer labels"),
        (np.ones((6, 2, 2)), "regression", r"numbers \[n\] or \[n, k\]"),
        (np.full((6, 2), 2), "multi-label", r"labels 0 and 1, \[n, k\]"),
        (np.ones(6, int), "positions", "one for each position"),
        (np.array([[-100, -1]]), "positions", "labels from 0 to 65535 in y, not -1 to -1"),
        (np.array(["a"]), "auto", "integer labels"),
    ],
)
def test_labels_of_another_task(y, task, message):
    with pytest.raises(ValueError, match=message):
        read_labels(y, "y", task)


def test_ignored_positions_are_kept():
    assert read_labels(np.array([[-100, 3], [0, -100]]), "y").tolist() == [[-100, 3], [0, -100]]


def test_several_inputs_by_name(tmp_path):
    dataset = written(tmp_path, x_left=np.ones((6, 3)), x_ids=np.zeros((6, 4), int), y=np.arange(6) % 2)
    found = loaded(dataset)
    assert found.problem.shape == {"ids": (4,), "left": (3,)}
    assert [spec.dtype for spec in found.problem.inputs] == ["int64", "float32"]
    taken = found.train.take(np.array([1, 3]))
    assert {name: x.shape for name, x in taken.x.items()} == {"left": (2, 3), "ids": (2, 4)}
    assert taken.y.tolist() == [1, 1]


def test_inputs_are_standardised_by_the_training_examples(tmp_path):
    x = {part: RNG.normal(3, 2, (n, 5, 2)) * [1, 9] for part, n in (("train", 40), ("test", 10))}
    x["train"][:, :, 0] = 4.0  # a constant feature is only shifted
    np.savez(tmp_path / "d.npz", x_train=x["train"], x_test=x["test"], y_train=np.arange(40) % 2, y_test=np.arange(10) % 2)
    found = loaded(f"npz:{tmp_path}/d.npz", **{"data.standardise": True})
    assert found.train.x.mean((0, 1)) == pytest.approx([0, 0], abs=1e-5)
    assert found.train.x.std((0, 1)) == pytest.approx([0, 1], abs=1e-5)
    (spec,) = found.problem.inputs
    assert spec.mean == pytest.approx((4, x["train"][..., 1].mean()))
    assert spec.std == pytest.approx((1, x["train"][..., 1].std()))
    assert found.test.x == pytest.approx((x["test"] - spec.mean) / spec.std, abs=1e-4)
    device = own(f"{tmp_path}/d.npz", found.problem)  # by the numbers of the server
    assert device.train.x == pytest.approx(found.train.x)


@pytest.mark.parametrize(
    ("dataset", "problem"),
    [
        ("devices:float32:128x6:6", Problem((InputSpec("x", (128, 6), "float32"),), "classes", 6)),
        ("devices:int64:32:2", Problem((InputSpec("x", (32,), "int64"),), "classes", 2)),
        ("devices:float32:10:regression", Problem((InputSpec("x", (10,), "float32"),), "regression", 1)),
        ("devices:float32:10:regression-3", Problem((InputSpec("x", (10,), "float32"),), "regression", 3)),
        ("devices:float32:10:multi-label-5", Problem((InputSpec("x", (10,), "float32"),), "multi-label", 5)),
        ("devices:float32:8x9x3:positions-4", Problem((InputSpec("x", (3, 8, 9), "float32"),), "positions", 4, (8, 9))),
        ("devices:int64:7:positions-4", Problem((InputSpec("x", (7,), "int64"),), "positions", 4, (7,))),
        ("devices:float32:10:positions", None),
        ("devices:float32:10:multi-label-0", None),
        ("devices:float64:10:2", None),
        ("devices:float32:0:2", None),
        ("devices:8x8x1:regression-x", None),
    ],
)
def test_the_problem_of_devices(dataset, problem):
    assert devices_problem(dataset) == problem
    if problem:
        assert loaded(dataset).problem == problem


@pytest.mark.parametrize(
    ("arrays", "dataset", "message"),
    [
        (
            {"x": np.ones((6, 9)), "y": np.arange(6) % 2},
            "devices:float32:10:2",
            r"examples of float32 \(10,\), not float32 \(9,\)",
        ),
        ({"x": np.ones((6, 10), int), "y": np.arange(6) % 2}, "devices:float32:10:2", r"float32 \(10,\), not int64 \(10,\)"),
        ({"x": np.ones((6, 10)), "y": np.ones((6, 2))}, "devices:float32:10:regression", "1 targets per example, not 2"),
        ({"x": np.ones((6, 10)), "y": np.ones((6, 2))}, "devices:float32:10:2", "integer labels .* for the task classes"),
        (
            {"x": np.ones((6, 10)), "y": np.ones((6, 2), bool)},
            "devices:float32:10:multi-label-3",
            "3 labels per example, not 2",
        ),
        ({"x": np.ones((6, 10)), "y": np.ones((6, 2), int)}, "devices:float32:10:positions-3", r"labels of the shape \[10\]"),
        ({"x_a": np.ones((6, 10)), "y": np.arange(6) % 2}, "devices:float32:10:2", "inputs x, not a"),
    ],
)
def test_a_devices_data_that_do_not_fit_are_one_line(tmp_path, arrays, dataset, message):
    written(tmp_path, **arrays)
    with pytest.raises(ConfigError, match=f"^data-path = .*: expected .*{message}") as error:
        own(f"{tmp_path}/d.npz", devices_problem(dataset))
    assert "\n" not in str(error.value)


def test_a_partition_by_classes_needs_one_class_for_each_example(tmp_path):
    dataset = written(tmp_path, x=np.ones((6, 4)), y=np.ones((6, 2), bool))
    config = parse(RunConfig, {"dataset": dataset, "partition": "dirichlet"})
    with pytest.raises(ConfigError, match=r"^partition = 'dirichlet': expected iid, because the task multi-label"):
        shares(load(config), config, 2)


def test_standardise_needs_data_on_the_server():
    with pytest.raises(ConfigError, match=r"^data.standardise = True: expected false"):
        loaded("devices:float32:4:2", **{"data.standardise": True})
