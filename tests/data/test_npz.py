import numpy as np
import pytest
from configs import config_of

from fedgates.config import RunConfig
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


def test_largest_label_may_be_in_the_test_part_of_a_device(save):
    assert own(save(y_test=np.array([0, 5])), Problem.of_images((1, 2, 3), 6)).test.y.tolist() == [0, 5]


BAD = {
    "y_train absent": (
        {"y_train": None},
        r"an array y_train in the file, which has x_train: uint8 \[4, 2, 3\], x_test: uint8 \[2, 2, 3\], y_test: int64 \[2\]$",
    ),
    "floats in one part": ({"x_train": X.astype(np.float32)}, r"same shape, not float32 \[2, 3\] and uint8 \[2, 3, 1\] \(x\)"),
    "text": ({"x_train": np.array(["a"] * 4)}, r"integers or floats .* in x_train, images \[n, H, W, C\], not <U1 \[4\]"),
    "complex": ({"x_train": X + 1j}, "integers or floats .* in x_train"),
    "one image": ({"x_test": X[0]}, "the same shape, not"),
    "not finite": ({"x_train": np.full((4, 2), np.nan), "x_test": np.zeros((2, 2))}, "finite numbers in x, but some are not"),
    "channels first": ({"x_train": np.zeros((4, 3, 8, 8), np.uint8)}, "channels last"),
    "no pixels": ({"x_train": X[:, :0], "x_test": X[:2, :0]}, "images "),
    "another shape": ({"x_test": X[:2, :1]}, r"the same shape, not uint8 \[2, 3, 1\] and uint8 \[1, 3, 1\]"),
    "lengths": ({"y_train": np.array([0, 1])}, "as many images in x_train as labels in y_train, not 4 and 2"),
    "columns of labels": ({"y_train": np.array([[0, 1]] * 4)}, "(of the same kind, not int64|for the task classes, not int64)"),
    "text labels": ({"y_train": np.array(["a"] * 4)}, r"integer labels \[n\] or \[n, 1\] in y_train .*not <U1 \[4\]"),
    "double names": ({"classes": np.array(["a", "b", "a"])}, "unique class names, but a occurs twice"),
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
    "one class": ({"y_train": np.zeros(4, int), "y_test": np.zeros(2, int)}, "at least two classes, but there is one"),
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


def test_own_data_is_found_from_anywhere():
    with pytest.raises(ConfigError, match=r"^data-path = 'mine\.npz': expected an absolute path"):
        own("mine.npz", Problem.of_images((1, 2, 3), 3))


@pytest.mark.parametrize("dataset", ["digit", "zip:/a", "", "/a/b.npz"])
def test_unknown_dataset(dataset):
    with pytest.raises(ConfigError, match="one of digits, synthetic-linear, synthetic-logistic, mnist") as error:
        load(config_of(RunConfig, dataset=dataset))
    one_line(error.value, "dataset", dataset)
