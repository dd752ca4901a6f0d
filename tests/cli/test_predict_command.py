"""`fedgates predict`, on whatever people give it."""

import errno
import gc
import json
import os
import tracemalloc
import weakref

import numpy as np
import pytest
from command_line import command, refused
from PIL import Image

from fedgates.model_file import prediction
from fedgates.types import Problem


@pytest.fixture
def model(tmp_path, untrained):
    (tmp_path / "model.fedgates").write_bytes(untrained)
    return tmp_path / "model.fedgates"


@pytest.fixture
def image(tmp_path):
    (tmp_path / "images").mkdir()
    eight().save(tmp_path / "images" / "image.png")
    return tmp_path / "images" / "image.png"


def eight(mode="L"):
    """Random pixels, 8 x 8."""
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def same(capsys, model, *files, more=()):
    """Whether the model says the same of all of them."""
    labels = [json.loads(command(capsys, "predict", model, file, "--json", *more)[1])[0]["labels"] for file in files]
    return all(each == labels[0] for each in labels)


def test_images_are_read_as_in_training(capsys, model, tmp_path):
    Image.new("RGB", (8, 8), "white").save(tmp_path / "white.png")
    clear = eight("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    frames = [eight(), eight().rotate(90), eight().rotate(180)]
    eight().save(tmp_path / "grey.PNG")
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    eight().save(tmp_path / "grey.webp", lossless=True)
    assert same(capsys, model, tmp_path / "white.png", tmp_path / "clear.png")
    assert same(capsys, model, tmp_path / "grey.PNG", tmp_path / "moving.gif")


def test_transparent_images_are_counted(capsys, model, tmp_path):
    eight("RGBA").save(tmp_path / "opaque.png")
    clear = eight("LA")
    clear.putalpha(100)
    for name in ("a.png", "b.png"):
        clear.save(tmp_path / name)
    assert command(capsys, "predict", model, tmp_path / "opaque.png")[2] == ""
    line = "fedgates: 1 image is partly transparent, blended with white\n"
    assert command(capsys, "predict", model, tmp_path / "a.png")[2] == line
    (tmp_path / "model.fedgates").rename(tmp_path.parent / "model.fedgates")
    code, _, err = command(capsys, "predict", tmp_path.parent / "model.fedgates", tmp_path)
    assert (code, err) == (0, "fedgates: 2 images are partly transparent, blended with white\n")


TO_SCALE = "expected at most 67,108,864 pixels, and 20,000 in a row or a column, to be scaled"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("large.png", f"12000x12000 pixels, {TO_SCALE}"),
        ("bomb.png", "expected an image of at most 178,956,970 pixels (it has far more)"),
        ("thin.png", f"20001x1 pixels, {TO_SCALE}"),
        ("sixteen-wide.png", "expected an image with 8 bits per channel (it has 16; convert it)"),
        ("sixteen.png", "expected an image with 8 bits per channel (it has 16; convert it)"),
    ],
)
def test_not_everything_is_scaled(capsys, model, odd, name, said):
    assert refused(capsys, "predict", model, odd / name, "--resize") == f"{odd / name}: {said}"


def test_a_picture_of_one_colour_is_so_at_every_size(capsys, model, tmp_path):
    sizes = [(8, 8), (1, 1), (9, 8), (300, 200)]
    files = [tmp_path / f"{w}x{h}.png" for w, h in sizes]
    for file, size in zip(files, sizes, strict=True):
        Image.new("RGB", size, (200, 10, 90)).save(file)
    assert same(capsys, model, *files, more=("--resize",))


def test_a_folder_may_hold_other_things(capsys, model, tmp_path):
    folder = tmp_path / "mixed"
    for inner in ("sub", ".thumbnails", "a.png"):  # a folder that is called like an image, too
        (folder / inner).mkdir(parents=True)
    for name in ("b.png", "sub/A.JPG", ".hidden.png", ".thumbnails/c.png", "a.png/d.gif"):
        eight().save(folder / name)
    for name in ("notes.txt", "Thumbs.db", "sub/e.png.part"):
        (folder / name).write_text("no image")
    os.mkfifo(folder / "pipe.png")
    code, out, err = command(capsys, "predict", model, folder, "--json")
    assert code == 0
    assert [each["image"] for each in json.loads(out)] == ["a.png/d.gif", "b.png", "sub/A.JPG"]
    assert err == "fedgates: skipped 3 files whose names have no image suffix\n"
    (folder / "notes.txt").unlink()
    (folder / "Thumbs.db").unlink()
    err = command(capsys, "predict", model, folder, "--json")[2]
    assert err == "fedgates: skipped 1 file whose name has no image suffix\n"


def test_pictures_of_a_folder_that_cannot_be_used_cost_no_other_its_label(capsys, model, tmp_path):
    folder = tmp_path / "some"
    folder.mkdir()
    (folder / "a\x1b[2J.png").write_bytes(b"no image")
    eight().save(folder / "b.png")
    Image.new("L", (9, 8)).save(folder / "c.png")
    code, out, err = command(capsys, "predict", model, folder, "--json")
    assert code == 1
    assert [each["image"] for each in json.loads(out)] == ["b.png"]
    assert err.splitlines() == [
        f"fedgates: skipped {folder}/a\\x1b[2J.png: expected an image (its format is not known)",
        f"fedgates: skipped {folder}/c.png: 9x8 pixels, expected 8x8 (--resize scales pictures)",
    ]
    for i in range(25):
        (folder / f"{i}.png").write_bytes(b"no image")
    err = command(capsys, "predict", model, folder)[2].splitlines()
    assert (len(err), err[-1]) == (21, "fedgates: skipped 7 more")
    for file in folder.glob("?.png"):
        file.unlink()
    (folder / "a\x1b[2J.png").unlink()
    assert refused(capsys, "predict", model, folder).endswith("(its format is not known); 14 other images are unusable, too")
    eight().save(folder / "b.png")
    code, out, _ = command(capsys, "predict", model, folder, "--resize")
    assert (code, len(out.splitlines())) == (1, 1)


def test_pictures_that_cannot_be_used_are_let_go_of(monkeypatch, tmp_path):
    Image.new("L", (1000, 1000)).save(tmp_path / "0.png")
    cut = (tmp_path / "0.png").read_bytes()[:200]
    opened, open_it = [], Image.open

    def noted(*arguments, **how):
        image = open_it(*arguments, **how)
        opened.append(weakref.ref(image))
        return image

    monkeypatch.setattr(Image, "open", noted)
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(cut)
    eight().save(tmp_path / "3.png")
    read = prediction.read_images(tmp_path, Problem.of_images((1, 8, 8), 10), resize=True)
    gc.collect()
    assert (len(read.left_out), len(opened)) == (3, 8)  # once for the header, once for the pixels
    assert not any(image() for image in opened)


def test_a_folder_of_images_alone_needs_no_remark(capsys, model, image):
    assert command(capsys, "predict", model, image.parent)[2] == ""


def write_odd_files(folder):
    (folder / "empty").mkdir()
    (folder / "others").mkdir()
    (folder / "others" / "a.txt").write_text("")
    (folder / "bad").mkdir()
    for name in ("\x1b[2Jb\n.png", "c.png"):
        (folder / "bad" / name).write_bytes(b"no image")
    (folder / "text.png").write_text("no image")
    (folder / "nothing.png").write_bytes(b"")
    eight().save(folder / "whole.png")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:60])
    (folder / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    Image.new("L", (9, 8)).save(folder / "wide.png")
    Image.new("L", (1, 1)).save(folder / "dot.png")
    Image.new("1", (12_000, 12_000)).save(folder / "large.png")
    Image.new("1", (20_000, 20_000)).save(folder / "bomb.png")
    Image.new("1", (20_001, 1)).save(folder / "thin.png")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(folder / "sixteen.png")
    Image.fromarray(np.zeros((8, 9), np.uint16)).save(folder / "sixteen-wide.png")
    Image.fromarray(np.zeros((8, 8), np.float32)).save(folder / "floats.tiff")
    np.savez(folder / "floats.npz", x=np.zeros((2, 8, 8)))
    np.savez(folder / "none.npz", x=np.zeros((0, 8, 8), np.uint8))
    np.savez(folder / "scalar.npz", x=np.uint8(3))
    np.savez(folder / "other.npz", y=np.zeros(2))
    np.savez(folder / "objects.npz", x=np.array([print], dtype=object))
    np.save(folder / "single.npy", np.zeros((2, 8, 8), np.uint8))
    (folder / "single.npy").rename(folder / "single.npz")
    for name in ("damaged.npz", "LOUD.NPZ"):
        (folder / name).write_bytes(b"PK")
    os.mkfifo(folder / "pipe.png")
    (folder / "pickle.npz").write_bytes(b"\x80\x04cos\nsystem\n.")


ODD = {
    "absent.png": "expected an image (No such file or directory)",
    "absent": "expected an image (No such file or directory)",
    "x" * 300: "expected an image, or a folder of them (File name too long)",
    "empty": "expected a folder with images in it (.bmp, .gif, .jfif, .jpeg, .jpg, .pbm, .pgm, .png, .ppm, .tif, .tiff, .webp)",
    "others": "expected a folder with images in it (.bmp,",
    "bad": None,
    "text.png": "expected an image (its format is not known)",
    "nothing.png": "expected an image (its format is not known)",
    "cut.png": "expected an image (damaged)",
    "program.png": "expected an image (its format is not known)",
    "wide.png": "9x8 pixels, expected 8x8 (--resize scales pictures)",
    "dot.png": "1x1 pixels, expected 8x8 (--resize scales pictures)",
    "large.png": "12000x12000 pixels, expected 8x8 (--resize scales pictures)",
    "bomb.png": "expected an image of at most 178,956,970 pixels (it has far more)",
    "sixteen.png": "expected an image with 8 bits per channel (it has 16; convert it)",
    "floats.tiff": "expected an image with 8 bits per channel (its 32 bits are not unsigned integers; convert it)",
    "floats.npz": "x is float64 [2, 8, 8], expected uint8 [n, 8, 8, 1]",
    "none.npz": "x is uint8 [0, 8, 8], expected uint8 [n, 8, 8, 1]",
    "scalar.npz": "x is uint8 [], expected uint8 [n, 8, 8, 1]",
    "other.npz": "expected an array x or x_test in the file, which has y: float64 [2]",
    "objects.npz": "x is object [1], expected uint8 [n, 8, 8, 1]",
    "single.npz": "expected an .npz file with named arrays, but this is a single array",
    "damaged.npz": "expected an .npz file of plain arrays, without pickled objects (BadZipFile: ",
    "pickle.npz": "expected an .npz file of plain arrays, without pickled objects (BadZipFile: ",
    "absent.npz": "expected a file, but there is none",
    "LOUD.NPZ": "expected an .npz file of plain arrays, without pickled objects (BadZipFile: ",
    "pipe.png": "expected an image, or a folder of them",
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    write_odd_files(folder)
    return folder


def test_no_name_is_not_the_current_folder(capsys, monkeypatch, model, tmp_path):
    monkeypatch.chdir(tmp_path)
    eight().save(tmp_path / "a.png")
    (tmp_path / "config.json").write_text("{}")
    assert refused(capsys, "predict", model, "") == "IMAGE = '': expected an image, or a folder of them"
    assert refused(capsys, "predict", "", "a.png").startswith(
        "MODEL is not a file, and run = '': expected the folder of a run, "
    )


@pytest.mark.parametrize("name", ODD)
def test_images_that_cannot_be_used_are_named_in_a_line(capsys, monkeypatch, model, odd, name):
    monkeypatch.chdir(odd)
    line, where = ODD[name], name
    if line is None:
        line, where = "expected an image (its format is not known)", r"bad/\x1b[2Jb .png"
    assert refused(capsys, "predict", model, name).startswith(f"{where}: {line}")


def test_a_large_image_is_not_unpacked(model, odd):
    with pytest.raises(prediction.ImageError) as caught:
        prediction.read_images(odd / "large.png", Problem.of_images((1, 8, 8), 10))
    assert "12000x12000" in str(caught.value)
    tracemalloc.start()
    with pytest.raises(prediction.ImageError):
        prediction.read_images(odd / "large.png", Problem.of_images((1, 8, 8), 10))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_what_may_not_be_read_is_a_line(capsys, monkeypatch, model, image):
    def forbidden(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Image, "open", forbidden)  # root may read anything
    assert refused(capsys, "predict", model, image).endswith("image.png: expected an image (Permission denied)")
    monkeypatch.setattr("pathlib.Path.is_dir", forbidden)
    assert refused(capsys, "predict", model, image.parent).endswith(
        "expected an image, or a folder of them (Permission denied)"
    )


@pytest.mark.parametrize("top", ["0", "-1", "1.5", "all"])
def test_how_many_labels_is_a_whole_number(capsys, model, image, top):
    assert refused(capsys, "predict", model, image, "--top", top).startswith("Invalid value for '--top':")


def test_more_labels_than_there_are_are_all_of_them(capsys, model, image):
    _, out, _ = command(capsys, "predict", model, image, "--top", 99, "--json")
    assert sorted(label["label"] for label in json.loads(out)[0]["labels"]) == sorted("0123456789")
