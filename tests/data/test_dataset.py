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
        (np.zeros((2, 3, 3), np.uint8), np.zeros(2, np.int64), r"uint8 images \[n, H, W, C\], not uint8 \[2, 3, 3\]"),
        (np.zeros((2, 3, 3, 1), np.float32), np.zeros(2, np.int64), "not float32"),
        (np.zeros((2, 0, 3, 1), np.uint8), np.zeros(2, np.int64), "uint8 images"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.zeros(2, np.int32), "int64 labels"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.zeros((2, 1), np.int64), "int64 labels"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.zeros(3, np.int64), "as many images as labels, not 2 and 3"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.array([0, -1]), "labels from 0 up, not -1"),
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


def test_input_shape_is_channels_first():
    data = Dataset("a", examples(shape=(2, 4, 3)), examples(0, (2, 4, 3)), 3, ("a", "b", "c"))
    assert data.input_shape == (3, 2, 4)
    assert (len(data.train), len(data.test)) == (3, 0)


@pytest.mark.parametrize(
    ("train", "test", "num_classes", "names", "message"),
    [
        (examples(0), examples(), 3, "abc", "at least one training example"),
        (examples(), examples(shape=(4, 2, 1)), 3, "abc", r"not \[2, 4, 1\] and \[4, 2, 1\]"),
        (examples(), examples(), 2, "ab", "labels below 2, the number of classes, not 2"),
        (examples(labels=[0, 0, 0]), examples(labels=[0, 0, 3]), 3, "abc", "labels below 3"),
        (examples(), examples(), 3, "ab", "3 names of classes, not 2"),
    ],
)
def test_bad_dataset(train, test, num_classes, names, message):
    with pytest.raises(ValueError, match=message):
        Dataset("a", train, test, num_classes, tuple(names))


def test_tensors_have_channels_first():
    x = np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3)
    tensor, labels = to_tensors(Examples(x, np.array([4, 5])), "cpu")
    assert tensor.shape == (2, 3, 2, 3)
    assert tensor.dtype == torch.uint8
    assert tensor.is_contiguous()
    assert tensor[1, 2, 0, 1] == x[1, 0, 1, 2]
    assert labels.dtype == torch.int64
    assert labels.tolist() == [4, 5]


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
