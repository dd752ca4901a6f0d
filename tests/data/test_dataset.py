import numpy as np
import pytest
import torch

from fedgates.data import Dataset, Examples, normalise, to_tensors


def examples(n=3, shape=(2, 4, 1), labels=None):
    x = np.arange(n * np.prod(shape), dtype=np.uint8).reshape(n, *shape)
    return Examples(x, np.arange(n) if labels is None else np.array(labels, np.int64))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((2, 3, 3), np.int32), np.zeros(2, np.int64), r"images \[n, H, W, C\], not int32 \[2, 3, 3\]"),
        (np.full((2, 3, 3, 1), np.inf, np.float32), np.zeros(2, np.int64), "finite numbers in x"),
        (np.zeros((2, 0, 3, 1), np.uint8), np.zeros(2, np.int64), "images"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.zeros(2, np.int32), "int64 labels"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.zeros((2, 0), np.int64), "at least one"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.zeros(3, np.int64), "as many examples in x as labels, not 2 and 3"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.array([0, -1]), "labels of at least 0, not -1"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.zeros(2), r"float32 targets \[n\] or .*, not float64 \[2\]"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.zeros((2, 1, 1), np.float32), r"at most two axes, not float32 \[2, 1, 1\]"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.array([0, np.nan], np.float32), "finite targets"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.array([0, np.inf], np.float32), "finite targets"),
    ],
)
def test_bad_examples(x, y, message):
    with pytest.raises(ValueError, match=message):
        Examples(x, y)


def test_take_copies_in_order():
    held = examples()
    taken = held.take(np.array([2, 0]))
    assert taken.y.tolist() == [2, 0]
    assert taken.x[:, 0, 0, 0].tolist() == [16, 0]
    taken.x[:] = 9
    assert held.x[0, 0, 0, 0] == 0


def targets(*values):
    return Examples(np.zeros((len(values), 1, 2, 1), np.uint8), np.array(values, np.float32))


def test_strata_of_labels_are_the_labels():
    assert examples(labels=[4, 0, 4]).strata.tolist() == [4, 0, 4]


def test_strata_of_targets_are_deciles():
    twenty = targets(*(10.0 * np.cos(np.arange(20) * 2.0)))
    assert twenty.strata.dtype == np.int64
    assert twenty.strata[np.argsort(twenty.y)].tolist() == [d for d in range(10) for _ in range(2)]
    assert targets(-1.5, 7, 0.25).strata.tolist() == [0, 6, 3]
    assert targets().strata.tolist() == []


def test_a_regression_has_no_classes_and_may_have_a_support():
    data = Dataset("a", targets(1, -2), targets(0.5), 0, (), np.array([True, False]))
    assert data.train.take(np.array([1])).y.tolist() == [-2]
    assert data.support.tolist() == [True, False]
    assert Dataset("a", targets(1), targets(), 0, ()).support is None


def test_input_shape_is_channels_first():
    data = Dataset("a", examples(shape=(2, 4, 3)), examples(0, (2, 4, 3)), 3, ("a", "b", "c"))
    assert data.problem.shape == (3, 2, 4)
    assert (len(data.train), len(data.test)) == (3, 0)


@pytest.mark.parametrize(
    ("train", "test", "num_classes", "names", "message"),
    [
        (examples(0), examples(), 3, "abc", "at least one training example"),
        (examples(), examples(shape=(4, 2, 1)), 3, "abc", r"not uint8 \[2, 4, 1\] and uint8 \[4, 2, 1\] \(x\)"),
        (examples(), examples(), 2, "ab", "labels below 2, the number of classes, not 2"),
        (examples(labels=[0, 0, 0]), examples(labels=[0, 0, 3]), 3, "abc", "labels below 3"),
        (examples(), examples(), 3, "ab", "3 class names, not 2"),
        (examples(), examples(), 0, "", r"float32 targets, without classes, not int64 \[3\]"),
        (targets(1), targets(), 2, "ab", r"labels, not float32 \[1\]"),
        (targets(1), targets(), 0, "a", "0 class names, not 1"),
    ],
)
def test_bad_dataset(train, test, num_classes, names, message):
    with pytest.raises(ValueError, match=message):
        Dataset("a", train, test, num_classes, tuple(names))


@pytest.mark.parametrize("support", [np.ones(3, bool), np.ones(2), np.ones((1, 2), bool)])
def test_bad_support(support):
    with pytest.raises(ValueError, match=r"a support of dtype bool, \[2\], not "):
        Dataset("a", targets(1), targets(), 0, (), support)


def test_tensors_have_channels_first():
    x = np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3)
    tensor, labels = to_tensors(Examples(x, np.array([4, 5])), "cpu")
    assert tensor.shape == (2, 3, 2, 3)
    assert tensor.dtype == torch.uint8
    assert tensor.is_contiguous()
    assert tensor[1, 2, 0, 1] == x[1, 0, 1, 2]
    assert labels.dtype == torch.int64
    assert labels.tolist() == [4, 5]
    assert to_tensors(targets(0.5), "cpu")[1].dtype == torch.float32


@pytest.mark.parametrize("channels", [1, 3])
def test_tensors_are_copies_even_of_read_only_arrays(channels, recwarn):
    held = examples(shape=(2, 4, channels))
    held.x.flags.writeable = held.y.flags.writeable = False
    tensor, labels = to_tensors(held, "cpu")
    tensor.zero_()
    labels.zero_()
    assert held.x.max() > 0
    assert held.y.tolist() == [0, 1, 2]
    assert not recwarn.list


def test_normalise():
    x = torch.tensor([0, 51, 255], dtype=torch.uint8)
    values = normalise(x)
    assert values.dtype == torch.float32
    assert values.tolist() == pytest.approx([-1, -0.6, 1], abs=1e-7)
    assert values[0] == -1
    assert values[2] == 1
    assert x.tolist() == [0, 51, 255]


def test_a_digest_is_of_all_examples_and_class_names():
    def digest(train=None, test=None, names=("a", "b", "c")):
        return Dataset("any", train or examples(), test or examples(), 3, tuple(names)).digest

    found = digest()
    assert found == digest()
    assert len(found) == 16
    changed = examples()
    changed.x[1, 0, 2, 0] ^= 1
    others = {
        digest(changed),
        digest(test=changed),
        digest(examples(labels=[0, 2, 1])),
        digest(names=("a", "c", "b")),
        digest(names=("a, b", "", "c")),
        digest(examples(shape=(4, 2, 1)), examples(shape=(4, 2, 1))),
    }
    assert len(others - {found}) == 6
    none = examples(0, labels=[])
    assert Dataset("devices", none, none, 3, ("a", "b", "c")).digest == ""
