"""One lister and one decoder of pictures: what training and predict see of a file, against an independent calculation."""

import struct
import zlib

import numpy as np
import pytest
from configs import config_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedgates.config import RunConfig
from fedgates.data import load
from fedgates.data.folders import read_folder
from fedgates.data.pictures import SUFFIXES, PictureError, decode, list_pictures, read_header
from fedgates.errors import ConfigError
from fedgates.model_file.prediction import ImageError, read_images
from fedgates.types import Problem

WIDE = np.random.default_rng(3).integers(0, 256, (4, 6), dtype=np.uint8)
TURNS = {1: 0, 3: 2, 6: 3, 8: 1}
"""EXIF orientation to the number of quarter turns to the left that make the stored pixels upright."""


def save(path, array, orientation=1, **how):
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, exif=exif, **how)
    return path


def png(path, pixels, depth, colour):
    """Write a PNG file by hand: Pillow writes no 16 bits but grey ones."""
    height = len(pixels)
    rows = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in pixels.reshape(height, -1))
    width = pixels.reshape(height, -1).shape[1] // {0: 1, 2: 3, 4: 2, 6: 4}[colour]

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def folder_of(root, *files):
    """Put copies of files into both classes of both parts."""
    for part in ("train", "test"):
        for name in ("a", "b"):
            (root / part / name).mkdir(parents=True)
            for file in files:
                (root / part / name / file.name).write_bytes(file.read_bytes())
    return root


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_a_turned_picture_is_the_upright_one(tmp_path, ending, orientation):
    how = {"lossless": True} if ending == "webp" else {}
    stored = np.rot90(WIDE, -TURNS[orientation])
    file = save(tmp_path / f"x.{ending}", np.ascontiguousarray(stored), orientation, **how)
    assert read_header(file).size == (6, 4)
    pixels, transparent = decode(file, 1)
    assert np.array_equal(pixels[..., 0], WIDE)
    assert not transparent
    trained = read_folder("mine", folder_of(tmp_path / "set", file))
    assert np.array_equal(trained.train.x[0], pixels if ending != "webp" else np.repeat(pixels, 3, 2))
    assert np.array_equal(read_images(file, Problem.of_images((1, 4, 6), 2)).pixels[0, 0], WIDE)


def test_a_turned_photo_has_the_pixels_of_the_plain_one(tmp_path):
    flat = np.full((8, 16), 90, np.uint8)
    flat[:, 8:] = 200  # whole blocks of JPEG, so that a turn changes no value
    plain = save(tmp_path / "plain.jpg", flat, quality=100)
    turned = save(tmp_path / "turned.jpg", np.ascontiguousarray(np.rot90(flat)), 6, quality=100)
    assert np.array_equal(decode(plain, 1)[0], decode(turned, 1)[0])
    assert read_folder("mine", folder_of(tmp_path / "set", plain, turned)).problem.shape == (1, 8, 16)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)], ids=["grey", "RGB", "grey+alpha", "RGBA"])
def test_sixteen_bits_are_refused_whatever_pillow_makes_of_them(tmp_path, colour, channels):
    file = png(tmp_path / "deep.png", np.full((4, 6, channels), 4000), 16, colour)
    with pytest.raises(PictureError, match=r"deep.png to be an image with 8 bits per channel \(it has 16; convert it\)$"):
        decode(file, 3)
    with pytest.raises(ImageError, match=r"deep.png: expected an image with 8 bits per channel \(it has 16; convert it\)$"):
        read_images(file, Problem.of_images((3, 4, 6), 2))
    dataset = f"folder:{folder_of(tmp_path / 'set', file)}"
    with pytest.raises(ConfigError, match=r"deep.png to be an image with 8 bits per channel"):
        load(config_of(RunConfig, dataset=dataset))
    of_eight = png(tmp_path / "eight.png", np.full((4, 6, channels), 255), 8, colour)
    assert (decode(of_eight, 3)[0] == 255).all()


def test_depth_of_other_formats(tmp_path):
    (tmp_path / "deep.ppm").write_bytes(b"P6 2 1 4095\n" + np.full(6, 4095, ">u2").tobytes())
    (tmp_path / "few.ppm").write_bytes(b"P6 2 1 15\n" + bytes([15, 0, 15, 0, 15, 0]))
    Image.fromarray(np.zeros((2, 2), np.int8).view(np.uint8)).save(tmp_path / "signed.tif", tiffinfo={339: 2})
    with pytest.raises(PictureError, match="it has 12"):
        read_header(tmp_path / "deep.ppm")
    assert decode(tmp_path / "few.ppm", 3)[0].tolist() == [[[255, 0, 255], [0, 255, 0]]]
    with pytest.raises(PictureError, match="its 8 bits are not unsigned integers"):
        read_header(tmp_path / "signed.tif")


@given(st.integers(0, 255), st.integers(0, 255))
def test_transparency_is_drawn_over_white(tmp_path_factory, value, alpha):
    file = tmp_path_factory.mktemp("alpha") / "x.png"
    Image.fromarray(np.full((2, 2, 2), (value, alpha), np.uint8), "LA").save(file)
    pixels, transparent = decode(file, 1)
    assert abs(int(pixels[0, 0, 0]) - (value * alpha + 255 * (255 - alpha)) / 255) <= 1
    assert transparent == (alpha < 255)


def test_a_palette_may_be_transparent_and_the_user_is_told_once(tmp_path, caplog):
    caplog.set_level("INFO", logger="fedgates")
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "x.png", transparency=1)
    assert decode(tmp_path / "x.png", 3)[0][0].tolist() == [[10, 20, 30], [255, 255, 255]]
    read_folder("mine", folder_of(tmp_path / "set", tmp_path / "x.png"))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"4 of 4 images are partly transparent and drawn over white; the first is {tmp_path}/set/train/a/x.png"


def test_hidden_files_and_folders_are_neither_pictures_nor_classes(tmp_path):
    root = folder_of(tmp_path / "set", save(tmp_path / "x.png", WIDE))
    (root / "train/a/._x.png").write_bytes(bytes(4096))
    (root / "train/a/.DS_Store").write_bytes(b"x")
    for part in ("train", "test"):
        save(root / part / ".ipynb_checkpoints" / "copy.png", WIDE)
        save(root / part / "a" / ".ipynb_checkpoints" / "copy.png", WIDE)
    found = read_folder("mine", root)
    assert found.class_names == ("a", "b")
    assert found.train.y.tolist() == found.test.y.tolist() == [0, 1]
    problem = Problem.of_images((1, 4, 6), 2)
    assert read_images(root, problem).names == [
        "test/a/x.png",
        "test/b/x.png",
        "train/a/x.png",
        "train/b/x.png",
    ]


def test_links_are_followed_but_not_in_circles(tmp_path):
    elsewhere = save(tmp_path / "elsewhere" / "x.png", WIDE).parent
    root = tmp_path / "set"
    (root / "sub").mkdir(parents=True)
    (root / "linked").symlink_to(elsewhere)
    (root / "sub" / "up").symlink_to(root)
    (root / "dangling.png").symlink_to(tmp_path / "absent.png")
    assert list_pictures(root) == ([root / "dangling.png", root / "linked" / "x.png"], 0)
    with pytest.raises(PictureError, match=r"dangling.png to be an image \(No such file or directory\)"):
        read_header(root / "dangling.png")
    classes = tmp_path / "classes"
    for part in ("train", "test"):
        (classes / part).mkdir(parents=True)
        for name in ("a", "b"):
            (classes / part / name).symlink_to(elsewhere)
    assert read_folder("mine", classes).train.y.tolist() == [0, 1]


@pytest.mark.parametrize("target", ["", "train"])
def test_a_link_upwards_brings_no_pictures_of_other_classes(tmp_path, target):
    for part in ("train", "test"):
        for name in ("a", "b"):
            save(tmp_path / part / name / "x.png", WIDE)
    (tmp_path / "train" / "a" / "up").symlink_to(tmp_path / target)
    assert read_folder("mine", tmp_path).train.y.tolist() == [0, 1]
    (tmp_path / "train" / "c").symlink_to(tmp_path / target)
    with pytest.raises(ValueError, match="c is a link to a folder that contains it"):
        read_folder("mine", tmp_path)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_suffix_is_read_alike(tmp_path, suffix):
    kind = {".jfif": "JPEG", ".pbm": "PPM", ".pgm": "PPM"}.get(suffix)
    file = save(tmp_path / f"X{suffix.upper()}", np.full((4, 6), 255, np.uint8), **({"format": kind} if kind else {}))
    trained = read_folder("mine", folder_of(tmp_path / "set", file)).train.x
    predicted = read_images(file.parent, Problem.of_images((trained.shape[3], 4, 6), 2)).pixels
    assert np.array_equal(trained[0], predicted[0].transpose(1, 2, 0))
    assert len(trained) == 2


@pytest.mark.parametrize("suffix", ["gif", "tif", "webp", "png"])
def test_of_several_pages_the_first_is_read(tmp_path, suffix):
    pages = [Image.fromarray(np.full((4, 6, 3), value, np.uint8)) for value in (255, 0)]
    how = {"lossless": True} if suffix == "webp" else {}
    pages[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=pages[1:], **how)
    assert (decode(tmp_path / f"x.{suffix}", 3)[0] == 255).all()


@pytest.mark.parametrize(
    ("names", "order"),
    [
        ([str(i) for i in range(12)], [str(i) for i in range(12)]),
        (["10", "01", "9", "002"], ["01", "002", "9", "10"]),
        (["10", "9", "b"], ["10", "9", "b"]),
    ],
)
def test_class_folders_are_in_the_order_of_their_numbers(tmp_path, names, order):
    for part in ("train", "test"):
        for name in names:
            save(tmp_path / part / name / "x.png", WIDE)
    assert list(read_folder("mine", tmp_path).class_names) == order


def test_two_folders_of_one_number_are_refused(tmp_path):
    for name in ("1", "01", "2"):
        save(tmp_path / "train" / name / "x.png", WIDE)
    with pytest.raises(ValueError, match=r"one folder for each class in .*, not both 01 and 1$"):
        read_folder("mine", tmp_path)


def test_names_of_files_reach_no_message_raw(tmp_path):
    root = folder_of(tmp_path / "set", save(tmp_path / "x.png", WIDE))
    (root / "train" / "a" / "\x1b[2J\n.png").write_bytes(b"no image")
    dataset = f"folder:{root}"
    with pytest.raises(ConfigError, match=r"\\x1b\[2J \.png to be an image") as error:
        load(config_of(RunConfig, dataset=dataset))
    assert str(error.value).isprintable()
