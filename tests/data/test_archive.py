"""Npz files: spellings of their arrays, layouts of images, and headers that are checked before anything is unpacked."""

import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from configs import config_of

from fedgates.config import RunConfig
from fedgates.data import load, own
from fedgates.data.archive import SPELLINGS, Archive, check_channels
from fedgates.errors import ConfigError
from fedgates.model_file.prediction import ImageError, read_images
from fedgates.types import Problem

X = np.random.default_rng(1).integers(0, 256, (40, 8, 8), dtype=np.uint8)
Y = np.arange(40) % 4
GAP = "a training example of each class (labels from 0 without gaps), but"


def read(path, **arrays):
    np.savez(path, **arrays)
    return load(config_of(RunConfig, dataset=f"npz:{path}"))


def refusal(dataset):
    with pytest.raises(ConfigError) as error:
        load(config_of(RunConfig, dataset=dataset))
    assert str(error.value).isprintable()
    return str(error.value).partition(": expected ")[2]


def test_medmnist_is_read(tmp_path, caplog):
    caplog.set_level("INFO", logger="fedgates")
    parts = {"train": 40, "val": 8, "test": 16}
    arrays = {f"{part}_images": X[:n] for part, n in parts.items()} | {
        f"{part}_labels": Y[:n, None] for part, n in parts.items()
    }
    found = read(tmp_path / "m.npz", **arrays)
    assert np.array_equal(found.train.x[..., 0], X)
    assert found.train.y.tolist() == Y.tolist()
    assert found.test.y.tolist() == Y[:16].tolist()
    assert caplog.messages == [f"unused arrays in {tmp_path}/m.npz: val_images, val_labels"]
    assert np.array_equal(read_images(tmp_path / "m.npz", Problem.of_images((1, 8, 8), 2)).pixels[:, 0], X[:16])


@pytest.mark.parametrize("i", range(4))
@pytest.mark.parametrize("capitals", [str, str.upper, str.title])
def test_common_spellings(tmp_path, i, capitals):
    names = {key: capitals(SPELLINGS[key][i]) for key in ("x_train", "y_train", "x_test", "y_test")}
    values = {"x_train": X, "y_train": Y, "x_test": X[:8], "y_test": Y[:8]}
    found = read(tmp_path / "a.npz", **{names[key]: value for key, value in values.items()})
    assert (len(found.train), len(found.test)) == (40, 8)


def test_two_arrays_for_one_are_refused(tmp_path):
    arrays = {"x_train": X, "X_train": X, "y_train": Y, "x_test": X, "y_test": Y}
    np.savez(tmp_path / "a.npz", **arrays)
    assert refusal(f"npz:{tmp_path}/a.npz") == "one array x_train, not all of x_train, X_train"


@pytest.mark.parametrize(
    ("shape", "first"),
    [
        ((1, 128, 9), False),
        ((1, 1000, 64), False),
        ((8, 8, 1), False),
        ((32, 24, 3), False),
        ((9, 9, 200), False),
        ((16, 16, 16), False),
        ((2, 3, 3), False),
        ((1, 28, 28), True),
        ((3, 32, 24), True),
        ((6, 28, 28), True),
        ((13, 64, 64), True),
    ],
)
def test_channels_first_are_refused_and_sensors_are_not(tmp_path, shape, first):
    x = np.zeros((8, *shape), np.uint8)
    arrays = {"x_train": x, "y_train": Y[:8], "x_test": x, "y_test": Y[:8]}
    if not first:
        assert read(tmp_path / "a.npz", **arrays).problem.shape == (shape[2], *shape[:2])
        return
    np.savez(tmp_path / "a.npz", **arrays)
    assert refusal(f"npz:{tmp_path}/a.npz") == (
        f"images with the channels last, [n, H, W, C], in x_train, not uint8 [8, {', '.join(map(str, shape))}]"
        " (its channels are first: x.transpose(0, 2, 3, 1) moves them)"
    )
    check_channels("x", x.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"y_train": Y + 1},
            "labels from 0 in y_train, but they start at 1 (subtract 1 from labels 1 to 4)",
        ),
        (
            {"y_train": np.where(Y == 3, 900, Y)},
            f"{GAP} 897 of 901 classes have none: 3, 4, 5, 6, 7, 8, 9, 10 and 889 more",
        ),
        (
            {"classes": np.array(["a", "b", "c", "d", "\x1b[2J"])},
            f"{GAP} 1 of 5 classes have none: \\x1b[2J",
        ),
        ({"classes": np.array(["a", "a", "b", "c"])}, "unique class names, but a occurs twice"),
    ],
)
def test_labels_that_name_no_class_are_one_line(tmp_path, changes, reason):
    np.savez(tmp_path / "a.npz", **({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y} | changes))
    assert refusal(f"npz:{tmp_path}/a.npz") == reason


def test_a_device_may_lack_classes_and_a_named_one_has_all_names(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=X, y_train=np.full(40, 2))
    assert not own(str(tmp_path / "a.npz"), Problem.of_images((1, 8, 8), 4)).named
    np.savez(tmp_path / "a.npz", x_train=X, y_train=np.full(40, 2), classes=list("abcd"))
    found = own(str(tmp_path / "a.npz"), Problem.of_images((1, 8, 8), 4))
    assert (found.named, found.class_names) == (True, ("a", "b", "c", "d"))
    with pytest.raises(ConfigError, match=r"expected 5 names in classes, not 4: a, b, c, d$"):
        own(str(tmp_path / "a.npz"), Problem.of_images((1, 8, 8), 5))


# --- what cannot be read


def test_a_bomb_is_refused_by_its_header(tmp_path):
    name = tmp_path / "bomb.npz"
    with zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w", force_zip64=True) as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (40_000, 224, 224)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(1 << 22))  # the rest of 2 GB is missing: the header alone is read
    tracemalloc.start()
    with pytest.raises(ImageError, match=r"x is uint8 \[40000, 224, 224\], expected uint8 \[n, 8, 8, 1\]$"):
        read_images(name, Problem.of_images((1, 8, 8), 2))
    with pytest.raises(ImageError, match=r"x, uint8 \[40000, 224, 224\], would be 2.0 GB from 0.0 MB$"):
        read_images(name, Problem.of_images((1, 224, 224), 2))
    assert "which has x: uint8 [40000, 224, 224]" in refusal(f"npz:{name}")
    with zipfile.ZipFile(name) as stored, zipfile.ZipFile(tmp_path / "train.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for key in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{key}.npy", stored.read("x.npy")[:1000])
    assert refusal(f"npz:{tmp_path}/train.npz").startswith("arrays at most 100 times as large as in the file, but x_train,")
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def zeros(path, *entries):
    """Write entries of a name, the shape in its header, and as many zeros as follow."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, shape, count in entries:
            with archive.open(name, "w") as file:
                np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
                for _ in range(count >> 20):
                    file.write(bytes(1 << 20))
                file.write(bytes(count % (1 << 20)))
    return path


def test_an_entry_without_suffix_is_not_read_in_place_of_the_array(tmp_path):
    path = zeros(tmp_path / "twin.npz", ("x", (1 << 26,), 1 << 26), ("x.npy", (2, 8, 8, 1), 128))
    tracemalloc.start()
    assert read_images(path, Problem.of_images((1, 8, 8), 2)).pixels.shape == (2, 1, 8, 8)
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


def test_a_directory_that_claims_a_large_entry_does_not_hide_a_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr("fedgates.data.archive._LARGE", 1 << 20)
    path = zeros(tmp_path / "forged.npz", ("x.npy", (1 << 18, 8, 8, 1), 1 << 24))
    stored = bytearray(path.read_bytes())
    struct.pack_into("<I", stored, stored.rfind(b"PK\1\2") + 20, 1 << 24)
    path.write_bytes(stored)
    with pytest.raises(ImageError, match="arrays at most 100 times as large as in the file"):
        read_images(path, Problem.of_images((1, 8, 8), 2))


def test_a_header_of_any_length_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", b"\x93NUMPY\x02\x00" + (1 << 26).to_bytes(4, "little") + bytes(1 << 26))
    tracemalloc.start()
    assert refusal(f"npz:{tmp_path}/a.npz").startswith("an .npz file of plain arrays, without pickled objects (ValueError: EOF")
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_all_arrays_are_listed_in_a_bounded_line(tmp_path):
    np.savez(tmp_path / "a.npz", **{f"arr_{i}\x1b[2J{'x' * 100}": np.zeros(i) for i in range(100)})
    assert len(Archive(tmp_path / "a.npz").contents) < 1000
    reason = refusal(f"npz:{tmp_path}/a.npz")
    assert reason.startswith(r"an array x_train in the file, which has arr_0\x1b[2Jxxx")
    assert reason.endswith("88 more")


@pytest.fixture
def odd(tmp_path):
    np.save(tmp_path / "single.npy", X)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("npz", "single.npy", "an .npz file with named arrays, but this is a single array (.npy)"),
        ("npz", "folder", "a file, but this is a folder"),
        ("npz", "absent", "a file, but there is none"),
        ("npz", "loop", "a file, but there is none"),
        ("npz", "file/inside.npz", "a file, but there is none"),
        ("npz", "x" * 300, "data that can be read (…: File name too long)"),
        ("folder", "file", "a folder, but this is a file"),
        ("folder", "absent", "a folder, but there is none"),
        ("folder", "folder", "a folder …/train, but there is none"),
        ("folder", "x" * 300, "data that can be read (…: File name too long)"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_the_key(odd, kind, name, reason):
    place = str(odd / name)
    assert refusal(f"{kind}:{place}").replace(place, "…") == reason
    if kind == "npz" and name != "folder":
        with pytest.raises(ConfigError, match=r"^data-path = ") as error:
            own(place, Problem.of_images((1, 8, 8), 4))
        assert str(error.value).partition(": expected ")[2].replace(place, "…") == reason


@pytest.mark.parametrize("what", ["pathlib.Path.open", "os.scandir"])
def test_what_may_not_be_read_is_one_line(tmp_path, monkeypatch, what):
    np.savez(tmp_path / "a.npz", x_train=X)
    (tmp_path / "train" / "a").mkdir(parents=True)

    def forbidden(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    dataset, place = (f"npz:{tmp_path}/a.npz", "a.npz") if "open" in what else (f"folder:{tmp_path}", "train/a")
    monkeypatch.setattr(what, forbidden)  # root may read anything
    assert refusal(dataset) == f"data that can be read ({tmp_path}/{place}: Permission denied)"
