"""Images scaled as they are read, against Pillow."""

import numpy as np
import pytest
from PIL import Image

from fedgates.config import RunConfig, parse
from fedgates.data import load
from fedgates.data.resizing import scaled
from fedgates.errors import ConfigError

RNG = np.random.default_rng(1)


def test_arrays_are_scaled_as_pillow_scales_pictures():
    images = RNG.integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    found = scaled(images, (8, 10))
    expected = [np.asarray(Image.fromarray(image).resize((10, 8), Image.Resampling.BILINEAR)) for image in images]
    assert np.abs(found.astype(int) - np.stack(expected)).max() <= 1


def test_a_folder_of_pictures_of_many_sizes(tmp_path):
    for i, place in enumerate(("train/a", "train/b", "test/a", "test/b")):
        (tmp_path / place).mkdir(parents=True)
        Image.fromarray(np.full((9 + i, 12 - i), 50 * i, np.uint8)).save(tmp_path / place / "x.png")
    config = {"dataset": f"folder:{tmp_path}", "data.resize": "6x8"}
    found = load(parse(RunConfig, config))
    assert found.problem.shape == (1, 6, 8)
    assert found.test.x[:, 0, 0, 0].tolist() == [100, 150]
    with pytest.raises(ConfigError, match="to have the size of the first image"):
        load(parse(RunConfig, {**config, "data.resize": ""}))


def test_arrays_of_floats(tmp_path):
    x = RNG.normal(size=(4, 9, 9, 2)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=np.arange(4) % 2, x_test=x, y_test=np.arange(4) % 2)
    found = load(parse(RunConfig, {"dataset": f"npz:{tmp_path}/d.npz", "data.resize": "3x3"}))
    assert found.train.x.shape == (4, 3, 3, 2)
    assert found.train.x.dtype == np.float32


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((4, 9)), "y": np.arange(4) % 2}, "data.resize to be empty: no input is an image"),
        ({"x": np.ones((4, 9, 9, 1)), "y": np.ones((4, 9, 9), int)}, "data.resize to be empty: the labels are of positions"),
    ],
)
def test_what_cannot_be_scaled(tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", **{f"{key}_{part}": value for key, value in arrays.items() for part in ("train", "test")})
    with pytest.raises(ConfigError, match=message):
        load(parse(RunConfig, {"dataset": f"npz:{tmp_path}/d.npz", "data.resize": "3x3"}))
