import shutil

import numpy as np
import pytest
from configs import config_of

from fedgates.config import RunConfig
from fedgates.data import load, own
from fedgates.errors import ConfigError
from fedgates.types import Problem

Image = pytest.importorskip("PIL.Image")
GREY = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
COLOUR = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 10


def put(root, name, array, **kwargs):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **kwargs)
    return path


@pytest.fixture
def root(tmp_path):
    for part in ("train", "test"):
        put(tmp_path, f"{part}/cat/a.png", GREY)
        put(tmp_path, f"{part}/dog/b.png", 255 - GREY)
    put(tmp_path, "train/dog/c.png", GREY)
    return tmp_path


def test_grey_folder(root):
    data = load(config_of(RunConfig, dataset=f"folder:{root}"))
    assert data.problem.shape == (1, 2, 3)
    assert data.class_names == ("cat", "dog")
    assert data.num_classes == 2
    assert data.train.y.tolist() == [0, 1, 1]
    assert data.test.y.tolist() == [0, 1]
    assert np.array_equal(data.train.x[2, ..., 0], GREY)
    assert np.array_equal(data.test.x[1, ..., 0], 255 - GREY)


@pytest.mark.parametrize("part", ["train", "test"])
def test_one_colour_image_makes_all_rgb(root, part):
    put(root, f"{part}/cat/a.png", COLOUR)
    data = load(config_of(RunConfig, dataset=f"folder:{root}"))
    assert data.problem.shape == (3, 2, 3)
    assert np.array_equal(getattr(data, part).x[0], COLOUR)
    assert np.array_equal(data.test.x[1], np.repeat((255 - GREY)[..., None], 3, axis=2))


def fails(root, message):
    value = f"folder:{root}"
    with pytest.raises(ConfigError, match=message) as error:
        load(config_of(RunConfig, dataset=value))
    assert str(error.value).startswith(f"dataset = {value!r}: expected ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["train/dog/c.png", "test/cat/a.png"])
def test_another_size_names_the_file(root, name):
    put(root, name, np.zeros((4, 5), np.uint8))
    fails(root, f"{root / name} to have the size of the first image, 3x2 .*, not 5x4")


def test_file_that_is_no_image(root):
    (root / "test/dog/b.png").write_bytes(b"text")
    fails(root, f"{root}/test/dog/b.png to be an image")


def test_truncated_image(root):
    path = put(root, "test/dog/b.png", 255 - GREY)
    path.write_bytes(path.read_bytes()[:45])  # a PNG's pixels start at byte 41
    fails(root, f"{path} to be an image .damaged.")


def test_more_than_eight_bits(root):
    put(root, "train/dog/c.png", GREY.astype(np.uint16) * 256)
    fails(root, f"{root}/train/dog/c.png to be an image with 8 bits per channel .it has 16; convert it.")


def test_classes_must_agree(root):
    put(root, "test/emu/a.png", GREY)
    fails(root, "the same class folders in train/ and test/ .* emu")


@pytest.mark.parametrize("part", ["train", "test"])
def test_part_absent(root, part):
    shutil.rmtree(root / part)
    fails(root, f"a folder {root / part}, but there is none")


def test_no_class_folder(root):
    shutil.rmtree(root / "train")
    (root / "train").mkdir()
    fails(root, f"a folder of images for each class in {root / 'train'}")


def test_class_without_an_image(root):
    (root / "test/dog/b.png").unlink()
    fails(root, f"an image in each class folder, but {root}/test/dog has none")


def test_own_folder_may_lack_a_test_part_and_images_of_a_class(root):
    shutil.rmtree(root / "test")
    (root / "train/cat/a.png").unlink()
    data = own(str(root), Problem.of_images((1, 2, 3), 2))
    assert data.train.y.tolist() == [1, 1]
    assert data.class_names == ("cat", "dog")
    assert data.test.x.shape == (0, 2, 3, 1)


def test_own_folder_must_have_every_class_folder(root):
    # with three classes in the run, "cat, dog" might as well be its classes 1 and 2
    with pytest.raises(ConfigError, match=r"^data-path = .*: expected 3 class folders in train/.*, not 2: cat, dog$"):
        own(str(root), Problem.of_images((1, 2, 3), 3))


def test_own_folder_of_another_shape(root):
    with pytest.raises(ConfigError, match=r"\(3, 2, 3\), not \(1, 2, 3\)"):
        own(str(root), Problem.of_images((3, 2, 3), 2))


def test_own_folder_without_an_image(root):
    for path in root.rglob("*.png"):
        path.unlink()
    with pytest.raises(ConfigError, match="at least one image under"):
        own(str(root), Problem.of_images((1, 2, 3), 2))
