import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from configs import config_of

from fedgates.config import RunConfig
from fedgates.data import load
from fedgates.errors import ConfigError

datasets = pytest.importorskip("torchvision.datasets")


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.tobytes())


def write_mnist(raw, prefixes, labels):
    """Two images for each part, which differ; returns the first."""
    images = np.arange(2 * 28 * 28).reshape(2, 28, 28).astype(np.uint8)
    for prefix in prefixes:
        write_idx(raw / f"{prefix}-images-idx3-ubyte", images)
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", np.array(labels, np.uint8))
    return images[0]


@pytest.fixture
def offline(monkeypatch):
    """Let every download fail as it does without a network."""

    def fail(*args, **kwargs):
        raise RuntimeError("Error downloading file:\nTried mirror, got:\nno network")

    for module in ("mnist", "cifar"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.download_and_extract_archive", fail)


@pytest.mark.parametrize(
    ("name", "place", "class_name"), [("mnist", "MNIST", "1 - one"), ("fashion-mnist", "FashionMNIST", "Trouser")]
)
def test_mnist_like_files_are_read(tmp_path, offline, name, place, class_name):
    first = write_mnist(tmp_path / place / "raw", ("train", "t10k"), [1, 9])
    data = load(config_of(RunConfig, dataset=name, data_dir=str(tmp_path)))
    assert data.problem.shape == (1, 28, 28)
    assert (data.num_classes, data.class_names[1]) == (10, class_name)
    assert np.array_equal(data.train.x[0, ..., 0], first)
    assert data.test.y.tolist() == [1, 9]


def test_emnist_is_turned_upright(tmp_path, offline):
    prefixes = ("emnist-byclass-train", "emnist-byclass-test")
    first = write_mnist(tmp_path / "EMNIST" / "raw", prefixes, [10, 61])
    data = load(config_of(RunConfig, dataset="emnist", data_dir=str(tmp_path)))
    assert data.num_classes == 62
    assert (data.class_names[10], data.class_names[61]) == ("A", "z")
    assert np.array_equal(data.train.x[0, ..., 0], first.T)
    assert data.train.x.flags.c_contiguous
    assert data.test.y.tolist() == [10, 61]


@pytest.mark.parametrize(("name", "labels"), [("cifar10", "labels"), ("cifar100", "fine_labels")])
def test_cifar_files_are_read(tmp_path, monkeypatch, offline, name, labels):
    reader = getattr(datasets, name.upper())
    names = [str(i) for i in range(int(name[5:]))]
    rows = np.arange(2 * 3072).astype(np.uint8).reshape(2, 3072)
    (tmp_path / reader.base_folder).mkdir()
    for part in ("train_list", "test_list"):
        files = [file for file, _ in getattr(reader, part)]
        monkeypatch.setattr(reader, part, [[file, None] for file in files])  # ours have other digests
        for file in files:
            content = pickle.dumps({"data": rows, labels: [3, 7]})
            (tmp_path / reader.base_folder / file).write_bytes(content)
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": None})
    (tmp_path / reader.base_folder / reader.meta["filename"]).write_bytes(pickle.dumps({reader.meta["key"]: names}))

    data = load(config_of(RunConfig, dataset=name, data_dir=str(tmp_path)))
    assert data.problem.shape == (3, 32, 32)
    assert data.num_classes == len(names)
    assert data.test.y.tolist() == [3, 7]
    assert data.train.x[0, 0, 1].tolist() == [1, (1024 + 1) % 256, (2048 + 1) % 256]
    assert np.array_equal(data.test.x[1].transpose(2, 0, 1).reshape(-1), rows[1])
    assert data.train.x.flags.c_contiguous


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def test_a_forged_cifar_file_is_not_unpickled(tmp_path, offline):
    written = tmp_path / "written"
    base = tmp_path / datasets.CIFAR10.base_folder
    base.mkdir()
    for file in ("batches.meta", "test_batch", *(f"data_batch_{i}" for i in range(1, 6))):
        (base / file).write_bytes(pickle.dumps(Bomb(str(written))))
    with pytest.raises(ConfigError, match=r"^dataset = 'cifar10'"):
        load(config_of(RunConfig, dataset="cifar10", data_dir=str(tmp_path)))
    assert not written.exists()


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("mnist", "MNIST/raw"),
        ("fashion-mnist", "FashionMNIST/raw"),
        ("emnist", "EMNIST/raw"),
        ("cifar10", "cifar-10-batches-py"),
        ("cifar100", "cifar-100-python"),
    ],
)
def test_absent_and_not_to_be_downloaded(tmp_path, offline, name, place):
    with pytest.raises(ConfigError) as error:
        load(config_of(RunConfig, dataset=name, data_dir=str(tmp_path)))
    assert str(error.value).startswith(f"dataset = '{name}': expected its files in {tmp_path / place}, or a network")
    assert "(RuntimeError: Error downloading " in str(error.value)
    assert "\n" not in str(error.value)


def test_home_is_expanded(tmp_path, offline, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_mnist(tmp_path / "here" / "MNIST" / "raw", ("train", "t10k"), [1, 9])
    assert len(load(config_of(RunConfig, dataset="mnist", data_dir="~/here")).train) == 2


def test_damaged_file(tmp_path, offline):
    raw = tmp_path / "MNIST" / "raw"
    write_mnist(raw, ("train", "t10k"), [1, 9])
    file = raw / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=r"^dataset = 'mnist'"):
        load(config_of(RunConfig, dataset="mnist", data_dir=str(tmp_path)))


def test_lengths_that_differ(tmp_path, offline):
    raw = tmp_path / "MNIST" / "raw"
    write_mnist(raw, ("train", "t10k"), [1, 9])
    write_idx(raw / "t10k-labels-idx1-ubyte", np.array([1], np.uint8))
    with pytest.raises(ConfigError, match="as many examples in x as labels, not 2 and 1"):
        load(config_of(RunConfig, dataset="mnist", data_dir=str(tmp_path)))


def test_real_mnist():
    root = os.environ.get("FEDGATES_TEST_DATA", "")
    if not root or not (Path(root) / "MNIST" / "raw").is_dir():
        pytest.skip("FEDGATES_TEST_DATA does not name a folder with MNIST/raw")
    data = load(config_of(RunConfig, dataset="mnist", data_dir=root))
    assert data.train.x.shape == (60000, 28, 28, 1)
    assert data.test.x.shape == (10000, 28, 28, 1)
    assert data.train.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(data.train.y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.train.x.mean() == pytest.approx(33.31842, abs=1e-5)
