import numpy as np
import pytest
from configs import config_of

from fedgates.config import RunConfig
from fedgates.config.tables import DataTable
from fedgates.data import load, own
from fedgates.errors import ConfigError
from fedgates.types import Problem

X = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
GOOD = {"x_train": X, "y_train": np.array([0, 1, 2, 2]), "x_test": X[:2], "y_test": np.array([1, 0])}


@pytest.fixture
def save(tmp_path):
    def write(**changes):
        arrays = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
        path = tmp_path / "mine.npz"
        np.savez(path, **arrays)
        return str(path)

    return write


def test_grey_images(save):
    path = save()
    data = load(config_of(RunConfig, dataset=f"npz:{path}"))
    assert data.name == f"npz:{path}"
    assert data.problem.shape == (1, 2, 3)
    assert np.array_equal(data.train.x[..., 0], X)
    assert data.train.y.tolist() == [0, 1, 2, 2]
    assert data.test.y.tolist() == [1, 0]
    assert data.num_classes == 3
    assert data.class_names == ("0", "1", "2")


def test_colours_names_and_small_labels(save):
    x = np.arange(4 * 2 * 3 * 3, dtype=np.uint8).reshape(4, 2, 3, 3)
    path = save(x_train=x, x_test=x, y_test=np.array([0, 1, 2, 2], np.uint8), classes=np.array(["a", "b", "c"]))
    data = load(config_of(RunConfig, dataset=f"npz:{path}"))
    assert data.problem.shape == (3, 2, 3)
    assert np.array_equal(data.test.x, x)
    assert data.test.y.dtype == np.int64
    assert data.class_names == ("a", "b", "c")
    assert data.named


def read(path, **keys):
    return load(config_of(RunConfig, dataset=f"npz:{path}", **{f"data.{key}": value for key, value in keys.items()}))


@pytest.mark.parametrize(
    ("stored", "dtype", "shape", "image"),
    [
        (np.float16, "float32", (4, 3), False),
        (np.float64, "float32", (4, 3, 2), False),
        (">f4", "float32", (4, 5, 6, 3), True),
        (np.uint8, "uint8", (4, 3), False),
        (np.uint8, "uint8", (4, 3, 2, 1, 1), False),
        (np.int8, "int64", (4, 3), False),
        (np.uint16, "int64", (4, 5, 6, 3), False),
        (np.uint64, "int64", (4, 3), False),
    ],
)
def test_inputs_of_any_type_and_rank(save, stored, dtype, shape, image):
    x = np.arange(np.prod(shape)).reshape(shape).astype(stored)
    data = read(save(x_train=x, x_test=x[:2]))
    assert data.train.x.dtype == data.test.x.dtype == dtype
    assert np.array_equal(data.train.x, x.astype(float))
    assert data.problem.inputs[0].shape == ((shape[3], *shape[1:3]) if image else shape[1:])


def test_other_types_of_three_axes_are_no_images(save):
    assert read(save(x_train=X / 1, x_test=X[:2] / 1)).problem.shape == (2, 3)
    assert read(save(x_train=X.astype(int), x_test=X[:2].astype(int))).problem.shape == (2, 3)


def test_several_inputs(save):
    tokens, table = np.arange(12).reshape(4, 3), np.arange(8).reshape(4, 2) / 2
    inputs = {"x_train_tokens": tokens, "X_TRAIN_table": table, "x_test_table": table[:2], "x_test_tokens": tokens[:2]}
    data = read(save(x_train=None, x_test=None, **inputs))
    assert data.problem.shape == {"table": (2,), "tokens": (3,)}
    assert [spec.dtype for spec in data.problem.inputs] == ["float32", "int64"]
    assert np.array_equal(data.train.x["tokens"], tokens)
    assert np.array_equal(data.test.x["table"], table[:2])
    assert own(save(x_train=None, x_test=None, **inputs), data.problem).problem == data.problem


N = np.array
LABELS = {
    "classes of a column": (N([[0], [1], [2], [2]]), "auto", "classes", 3, [0, 1, 2, 2]),
    "bool classes": (N([False, True, True, False]), "auto", "classes", 2, [0, 1, 1, 0]),
    "numbers": (N([0.5, 1, 2, 2], np.float64), "auto", "regression", 1, [0.5, 1, 2, 2]),
    "numbers of a column": (N([[0.5], [1], [2], [2]], np.float16), "auto", "regression", 1, [0.5, 1, 2, 2]),
    "two numbers": (N([[0.5, 1]] * 4), "auto", "regression", 2, [[0.5, 1]] * 4),
    "whole numbers": (N([-3, 1, 7, 7]), "regression", "regression", 1, [-3, 1, 7, 7]),
    "columns of bool": (N([[True, False]] * 4), "auto", "multi-label", 2, [[1, 0]] * 4),
    "columns of 0 and 1": (N([[1, 0]] * 4, np.uint8), "multi-label", "multi-label", 2, [[1, 0]] * 4),
    "one label": (N([[1], [0], [1], [0]]), "multi-label", "multi-label", 1, [[1], [0], [1], [0]]),
    "positions": (N([[0, 2], [-100, 1]] * 2), "auto", "positions", 3, [[0, 2], [-100, 1]] * 2),
    "masks": (N([[[True, False]]] * 4), "auto", "positions", 2, [[[1, 0]]] * 4),
    "a position": (N([[0], [1], [2], [2]]), "positions", "positions", 3, [[0], [1], [2], [2]]),
    "gaps in positions": (N([[0, 7]] * 4, np.uint8), "auto", "positions", 8, [[0, 7]] * 4),
}


@pytest.mark.parametrize(("y", "key", "task", "outputs", "found"), LABELS.values(), ids=LABELS)
def test_labels_of_each_task(save, y, key, task, outputs, found):
    data = read(save(y_train=y, y_test=y[2:]), task=key)
    assert (data.train.task, data.problem.outputs) == (task, outputs)
    assert data.train.y.tolist() == found
    assert data.test.y.tolist() == found[2:]
    assert data.class_names == (() if task == "regression" else tuple(map(str, range(outputs))))


@pytest.mark.parametrize(
    ("y", "task", "message"),
    [
        (N([0.0, 1, 2, 2]), "classes", r"integer labels \[n\] or \[n, 1\] in y_train, not float64 \[4\] \(task classes\)"),
        (N([0, 1, 2, 2]), "multi-label", r"labels 0 and 1, or bool, \[n, k\] in y_train, not int64 \[4\] \(task multi-label\)"),
        (N([[0, 2]] * 4), "multi-label", "labels 0 and 1 in y_train, not 0 to 2"),
        (N([0, 1, 2, 2]), "positions", r"integer labels .* in y_train, not int64 \[4\] \(task positions\)"),
        (N([[0, 1]] * 4), "classes", r"integer labels .* in y_train, not int64 \[4, 2\] \(task classes\)"),
        (
            N([True, False, True, True]),
            "regression",
            r"numbers \[n\] or \[n, k\] in y_train, not bool \[4\] \(task regression\)",
        ),
    ],
)
def test_a_task_that_labels_cannot_have(save, y, task, message):
    path = save(y_train=y, y_test=y)
    with pytest.raises(ConfigError, match=message) as error:
        read(path, task=task)
    one_line(error.value, "dataset", f"npz:{path}")


def test_a_task_of_data_without_a_choice():
    with pytest.raises(
        ConfigError, match=r"^data\.task = 'regression': expected auto or classes: the labels of digits are of this"
    ):
        load(config_of(RunConfig, dataset="digits", **{"data.task": "regression"}))
    assert load(config_of(RunConfig, dataset="devices:float32:3:regression", **{"data.task": "regression"})).num_classes == 0


def test_names_of_labels(save):
    y = np.array([[True, False]] * 4)
    data = read(save(y_train=y, y_test=y[:2], classes=np.array(["red", "round"])))
    assert (data.class_names, data.named, data.num_classes) == (("red", "round"), True, 2)


def test_a_device_reads_with_the_keys_of_the_run(save):
    y = np.array([[1, 0]] * 4)
    path, keys = save(y_train=y, y_test=y[:2]), DataTable(task="multi-label")
    wanted = load(config_of(RunConfig, dataset="devices:uint8:2x3x1:multi-label-2")).problem
    assert own(path, wanted, keys).train.y.tolist() == y.tolist()
    with pytest.raises(ConfigError, match="expected labels of the task multi-label, not positions"):
        own(path, wanted)


def test_largest_label_may_be_in_the_test_part_of_a_device(save):
    assert own(save(y_test=np.array([0, 5])), Problem.of_images((1, 2, 3), 6)).test.y.tolist() == [0, 5]


BAD = {
    "y_train absent": (
        {"y_train": None},
        r"an array y_train in the file, which has x_train: uint8 \[4, 2, 3\], x_test: uint8 \[2, 2, 3\], y_test: int64 \[2\]$",
    ),
    "text": ({"x_train": X.astype(str)}, r"uint8, other integers or floats .* in x_train, not <U3 \[4, 2, 3\]"),
    "one axis": ({"x_test": X[0, 0]}, r"of two axes or more in x_test, not uint8 \[3\]"),
    "channels first floats": ({"x_train": np.zeros((4, 3, 8, 8))}, "channels last"),
    "not a number": ({"x_train": np.where(X == 5, np.nan, X)}, "finite float32 numbers in x_train, and 1 of 24 are not"),
    "beyond float32": ({"x_test": X[:2] * 1e300}, "finite float32 numbers in x_test, and 11 of 12 are not"),
    "beyond int64 tokens": (
        {"x_train": np.full((4, 2), 2**63, np.uint64)},
        "integers of 64 bits with a sign in x_train, not 9223372036854775808",
    ),
    "objects": ({"x_train": np.array([[1, None]] * 4, object)}, "without pickled objects"),
    "two types": ({"x_test": X[:2] / 1}, r"one shape, not uint8 \[2, 3, 1\] and float32 \[2, 3\]"),
    "channels first": ({"x_train": np.zeros((4, 3, 8, 8), np.uint8)}, "channels last"),
    "no pixels": ({"x_train": X[:, :0], "x_test": X[:2, :0]}, "images "),
    "another shape": ({"x_test": X[:2, :1]}, r"one shape, not uint8 \[2, 3, 1\] and uint8 \[1, 3, 1\]"),
    "lengths": ({"y_train": np.array([0, 1])}, "as many examples in x_train as labels in y_train, not 4 and 2"),
    "text labels": (
        {"y_train": np.array(["a", "b", "c", "c"])},
        r"integer labels \[n\] or \[n, 1\] in y_train, not <U1 \[4\] \(task classes\)",
    ),
    "one part of floats": ({"y_test": np.array([0.0, 1])}, r"integer labels .* in y_test, not float64 \[2\] \(task classes\)"),
    "columns of labels": (
        {"y_train": np.array([[0, 1]] * 4)},
        r"integer labels \[n, ...\] of two axes or more in y_test, not int64 \[2\] \(task positions\)",
    ),
    "classes of numbers": (
        {"y_train": np.ones(4), "y_test": np.ones(2), "classes": np.array(["a"])},
        r"no array classes beside the numbers of a regression, or integer labels in y_train, not float64 \[4\]",
    ),
    "targets that are none": (
        {"y_train": np.array([0, 1, np.inf, 2]), "y_test": np.ones(2)},
        "finite float32 numbers in y_train, and 1 of 4 are not",
    ),
    "targets of three axes": (
        {"y_train": np.ones((4, 1, 2))},
        r"numbers \[n\] or \[n, k\] in y_train, not float64 \[4, 1, 2\]",
    ),
    "widths of targets": (
        {"y_train": np.ones((4, 2)), "y_test": np.ones((2, 3))},
        r"labels of one kind, not float32 \[4, 2\] and float32 \[2, 3\]",
    ),
    "widths of labels": (
        {"y_train": np.ones((4, 2), bool), "y_test": np.ones((2, 3), bool)},
        r"labels of one kind, not uint8 \[4, 2\] and uint8 \[2, 3\]",
    ),
    "names of labels": (
        {"y_train": np.ones((4, 2), bool), "y_test": np.ones((2, 2), bool), "classes": np.array(["a", "b", "c"])},
        "3 labels an example, not 2",
    ),
    "negative position": (
        {"y_train": np.array([[0, 1], [1, -1]] * 2), "y_test": np.zeros((2, 2), int)},
        "labels from 0 to 65535, or -100 for a position to ignore, in y_train, not -1 to 1",
    ),
    "several and no test": (
        {"x_train": None, "x_train_a": X, "x_train_b": X, "x_test": None},
        "an array x_test in the file, which has",
    ),
    "only one of several": (
        {"x_train": None, "x_train_a": X},
        "x_train for a single input, or two or more arrays x_train_NAME",
    ),
    "two of a name": (
        {"x_train": None, "x_train_a": X, "X_train_a": X},
        "one array x_train_a, not both X_train_a and x_train_a",
    ),
    "a name that is none": (
        {"x_train": None, "x_train_a": X, "x_train_2": X},
        "the name of an argument in Python after x_train_, not '2'",
    ),
    "a reserved name": (
        {"x_train": None, "x_train_a": X, "x_train_class": X},
        "the name of an argument in Python after x_train_, not 'class'",
    ),
    "another input in the test part": (
        {"x_train": None, "x_test": None, "x_train_a": X, "x_train_b": X, "x_test_a": X[:2], "x_test_c": X[:2]},
        r"one shape, not uint8 \[2, 3, 1\] and none \(b\)",
    ),
    "an input of another length": (
        {"x_train": None, "x_train_a": X, "x_train_b": X[:3]},
        "as many examples in x_train_b as labels in y_train, not 3 and 4",
    ),
    "double names": ({"classes": np.array(["a", "b", "a"])}, "a name of its own for each class, and two have the name a"),
    "negative": ({"y_test": np.array([0, -1])}, "labels from 0 to 65535 in y_test, not -1 to 0"),
    "huge": ({"y_test": np.array([0, 2**40])}, "labels from 0 to 65535 in y_test"),
    "beyond int64": ({"y_test": np.array([0, 2**63], np.uint64)}, "labels from 0 to 65535 in y_test"),
    "empty": ({"x_train": X[:0], "y_train": np.zeros(0, int)}, "at least one training example"),
    "pickled": ({"y_train": np.array([0, 1, 2, None], object)}, "without pickled objects"),
    "too few names": ({"classes": np.array(["a", "b"])}, "labels below 2, the number of classes, not 2"),
    "names that are none": ({"classes": np.array([1, 2, 3])}, r"text \[number of classes\] in classes"),
}
ONLY_LOAD = {
    "x_test absent": ({"x_test": None, "y_test": None}, "an array x_test"),
    "empty test": ({"x_test": X[:0], "y_test": np.zeros(0, int)}, "at least one test example"),
    "one class": ({"y_train": np.zeros(4, int), "y_test": np.zeros(2, int)}, "at least two classes, and there is one"),
}


def one_line(error, key, value):
    assert error.key == key
    assert str(error).startswith(f"{key} = {value!r}: expected ")
    assert "\n" not in str(error)


@pytest.mark.parametrize(("changes", "message"), [*BAD.values(), *ONLY_LOAD.values()], ids=[*BAD, *ONLY_LOAD])
def test_bad_arrays(save, changes, message):
    dataset = f"npz:{save(**changes)}"
    with pytest.raises(ConfigError, match=message) as error:
        load(config_of(RunConfig, dataset=dataset))
    one_line(error.value, "dataset", dataset)


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_arrays_of_a_device(save, changes, message):
    path = save(**changes)
    with pytest.raises(ConfigError, match=message) as error:
        own(path, Problem.of_images((1, 2, 3), 3))
    one_line(error.value, "data-path", path)


def damaged(path):
    content = bytearray(path.read_bytes())
    content[content.index(X.tobytes())] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no archive"),
        lambda path: path.write_bytes(path.read_bytes()[:100]),
        lambda path: path.write_bytes(b"PK\x03\x04 and then nothing of the sort"),
        lambda path: np.save(path.open("wb"), X),
        damaged,
    ],
    ids=["absent", "empty", "text", "truncated", "zip in name", "npy", "damaged"],
)
def test_bad_file(save, tmp_path, spoil):
    path = save()
    spoil(tmp_path / "mine.npz")
    with pytest.raises(ConfigError, match=path) as error:
        load(config_of(RunConfig, dataset=f"npz:{path}"))
    one_line(error.value, "dataset", f"npz:{path}")


def test_own_data_without_a_test_part(save):
    data = own(save(x_test=None, y_test=None), Problem.of_images((1, 2, 3), 5))
    assert data.train.y.tolist() == [0, 1, 2, 2]
    assert data.test.x.shape == (0, 2, 3, 1)
    assert len(data.test) == 0
    assert data.num_classes == 5
    assert data.class_names == ("0", "1", "2", "3", "4")


def test_own_data_with_a_test_part(save):
    data = own(save(classes=np.array(["a", "b", "c"])), Problem.of_images((1, 2, 3), 3))
    assert data.test.y.tolist() == [1, 0]
    assert data.class_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("changes", "input_shape", "num_classes", "message"),
    [
        ({}, (1, 8, 8), 3, r"images of shape \(C, H, W\) = \(1, 8, 8\), not \(1, 2, 3\)"),
        ({}, (3, 2, 3), 3, r"images of shape \(C, H, W\) = \(3, 2, 3\), not \(1, 2, 3\)"),
        ({}, (1, 2, 3), 2, "labels below 2, the number of classes, not 2"),
        ({"y_test": None}, (1, 2, 3), 3, "an array y_test"),
    ],
)
def test_own_data_that_does_not_fit(save, changes, input_shape, num_classes, message):
    path = save(**changes)
    with pytest.raises(ConfigError, match=message) as error:
        own(path, Problem.of_images(input_shape, num_classes))
    one_line(error.value, "data-path", path)


def test_labels_do_not_fit_a_regression(save):
    path = save()
    with pytest.raises(ConfigError, match="expected labels of the task regression, not classes") as error:
        own(path, Problem.of_images((1, 2, 3), 0))
    one_line(error.value, "data-path", path)


def test_own_data_is_found_from_anywhere():
    with pytest.raises(ConfigError, match=r"^data-path = 'mine\.npz': expected an absolute path"):
        own("mine.npz", Problem.of_images((1, 2, 3), 3))


@pytest.mark.parametrize("dataset", ["digit", "zip:/a", "", "/a/b.npz"])
def test_unknown_dataset(dataset):
    with pytest.raises(ConfigError, match="one of digits, synthetic-linear, synthetic-logistic, mnist") as error:
        load(config_of(RunConfig, dataset=dataset))
    one_line(error.value, "dataset", dataset)
