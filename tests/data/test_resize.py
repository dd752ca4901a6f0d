import numpy as np
import pytest
from configs import config_of
from PIL import Image

from fedgates.config import RunConfig
from fedgates.config.tables import DataTable
from fedgates.data import Dataset, Examples, load, own
from fedgates.data.resize import resized
from fedgates.data.sources import source
from fedgates.errors import ConfigError

PIXELS = np.random.default_rng(1).integers(0, 256, (6, 9, 7, 3), np.uint8)
LABELS = np.array([0, 1, 0, 1, 0, 1])


def dataset(x, y=LABELS):
    return Dataset("d", Examples(x, y), Examples(x[:2], y[:2]), 2, ("a", "b"))


@pytest.mark.parametrize("size", [(4, 5), (18, 3), (20, 20)])
def test_as_pillow_scales_within_rounding(size):
    found = resized(dataset(PIXELS), size)
    assert found.problem.shape == (3, *size)
    for image, scaled in zip(PIXELS, found.train.x, strict=True):
        wanted = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR), int)
        assert np.abs(scaled - wanted).max() <= 1
    floats = resized(dataset(PIXELS.astype(np.float32)), size)
    assert np.abs(floats.train.x - found.train.x).max() <= 1
    assert len(found.test) == 2


def test_only_images_are_scaled():
    x = {"image": PIXELS, "table": np.ones((6, 4), np.float32), "tokens": np.ones((6, 9, 7, 3), np.int64)}
    parts = [Examples({name: a[:n] for name, a in x.items()}, LABELS[:n]) for n in (6, 2)]
    found = resized(Dataset("d", *parts, 2, ("a", "b")), (3, 2))
    assert found.problem.shape == {"image": (3, 3, 2), "table": (4,), "tokens": (9, 7, 3)}


def config(name, **keys):
    return config_of(RunConfig, dataset=name, **{f"data.{key}": value for key, value in keys.items()})


def npz(path, x=PIXELS, y=LABELS):
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    return str(path)


@pytest.fixture
def pictures(tmp_path):
    """A folder of pictures of two sizes."""
    for part in ("train", "test"):
        for name, image in zip("ab", (PIXELS[0], PIXELS[1, :5]), strict=True):
            (tmp_path / part / name).mkdir(parents=True)
            Image.fromarray(image).save(tmp_path / part / name / "0.png")
    return str(tmp_path)


def test_pictures_of_any_size(pictures):
    data = load(config(f"folder:{pictures}", resize="4x5"))
    assert data.problem.shape == (3, 4, 5)
    assert np.array_equal(data.train.x[1], np.asarray(Image.fromarray(PIXELS[1, :5]).resize((5, 4), Image.Resampling.BILINEAR)))
    with pytest.raises(ConfigError, match=r"the size of the first image, .* \(data.resize scales images\)"):
        load(config(f"folder:{pictures}"))


def test_devices_scale_too(pictures, tmp_path):
    problem = load(config("devices:4x5x3:2", resize="4x5")).problem
    for path in (pictures, npz(tmp_path / "a.npz")):
        assert own(path, problem, DataTable(resize="4x5")).problem == problem
        with pytest.raises(ConfigError, match="data-path"):
            own(path, problem)
    tokens = npz(tmp_path / "b.npz", np.ones((6, 4), int))
    with pytest.raises(ConfigError, match=r"expected images of uint8 \(C, H, W\) = \(3, 4, 5\), not int64 \(4,\)"):
        own(tokens, problem, DataTable(resize="4x5"))


def test_a_file_and_the_digits(tmp_path):
    assert load(config(f"npz:{npz(tmp_path / 'a.npz')}", resize="3x4")).problem.shape == (3, 3, 4)
    assert load(config("digits", resize="12x12")).problem.shape == (1, 12, 12)
    assert source(config("digits", resize="12x12")) != source(config("digits"))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((6, 4)), LABELS, "empty: the data have no images"),
        (PIXELS, np.zeros((6, 9, 7), int) + LABELS[:, None, None], "empty: labels of positions are not scaled with the images"),
    ],
)
def test_data_that_cannot_be_scaled(tmp_path, x, y, message):
    with pytest.raises(ConfigError, match=f"^data.resize = '3x4': expected {message}$"):
        load(config(f"npz:{npz(tmp_path / 'a.npz', x, y)}", resize="3x4"))


def test_sizes_that_do_not_fit():
    with pytest.raises(ConfigError, match=r"^data.resize = '3x4': expected empty, or height and width as in dataset$"):
        load(config("devices:4x3x1:2", resize="3x4"))
    with pytest.raises(ConfigError, match=r"^data.resize = '3x4': expected empty: the data have no images$"):
        load(config("synthetic-linear", resize="3x4"))


@pytest.mark.parametrize("value", ["32", "0x4", "4x0", "4x5000", "4x4x3", "4 x 4", "-4x4", "\u0664x4", "x"])
def test_what_is_no_size(value):
    with pytest.raises(ConfigError, match=r'expected empty, or height and width from 1 to 4,096 as in "32x32"$'):
        config("digits", resize=value)


def test_what_cannot_be_standardised(tmp_path):
    with pytest.raises(ConfigError, match=r"^data.standardise = True: expected false: no input of the data is float32$"):
        load(config("digits", standardise=True))
    with pytest.raises(ConfigError, match=r"^data.standardise = True: expected false: the server has no training examples"):
        load(config("devices:float32:3:2", standardise=True))


def test_standardised_images_of_a_file(tmp_path):
    x = PIXELS / 7.0
    data = load(config(f"npz:{npz(tmp_path / 'a.npz', x)}", standardise=True))
    assert np.allclose(data.train.x, (x - x.mean((0, 1, 2))) / x.std((0, 1, 2)), atol=1e-5)
    assert data.problem.inputs[0].mean == pytest.approx(x.mean((0, 1, 2)))
