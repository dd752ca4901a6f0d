"""`fedgates inspect` and `predict`, on a model that was trained on the real digits; and what is no model."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import command, refused
from PIL import Image

import fedgates
from fedgates.data.digits import digits
from fedgates.nn.dead_units import remove_dead_units

ROOT = Path(__file__).resolve().parents[2]
EVERY = {"inspect": (), "predict": ("folder",), "export": ("--to", "onnx")}


@pytest.fixture(scope="module")
def model(trained):
    return trained / "model.fedgates"


@pytest.fixture
def drawn(tmp_path):
    """Test images as PNG files, and their labels."""
    test = digits().test
    folder = tmp_path / "drawn"
    folder.mkdir()
    for i in range(60):
        Image.fromarray(test.x[i, :, :, 0]).save(folder / f"{i:03d}.png")
    return folder, test.y[:60]


# --- predict


def test_digits_drawn_as_png_files_get_their_labels(capsys, model, drawn):
    folder, labels = drawn
    code, out, _ = command(capsys, "predict", model, folder, "--json")
    found = json.loads(out)
    assert code == 0
    assert [each["image"] for each in found] == [f"{i:03d}.png" for i in range(60)]
    right = sum(each["labels"][0]["label"] == str(label) for each, label in zip(found, labels, strict=True))
    assert right >= 52
    assert all(0.1 <= each["labels"][0]["probability"] <= 1 for each in found)


def test_larger_digits_get_their_labels_when_they_are_scaled(capsys, model, drawn):
    folder, labels = drawn
    for file in folder.iterdir():
        with Image.open(file) as image:
            image.resize((40, 40), Image.Resampling.BICUBIC).save(file)
    said = "40x40 pixels, expected 8x8 (--resize scales pictures); 59 other images are unusable, too"
    assert refused(capsys, "predict", model, folder) == f"{folder}/000.png: {said}"
    found = json.loads(command(capsys, "predict", model, folder, "--json", "--resize")[1])
    assert sum(each["labels"][0]["label"] == str(label) for each, label in zip(found, labels, strict=True)) >= 50


def test_one_image_has_a_line(capsys, model, drawn):
    folder, _ = drawn
    code, out, _ = command(capsys, "predict", model, folder / "000.png", "--top", 3)
    assert code == 0
    assert out.startswith("000.png  ")
    assert out.count(" %") == 3
    shares = [float(word) for word in out.split() if "." in word and word[0].isdigit() and "png" not in word]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("name", ["x", "x_test"])
def test_images_of_an_npz_file(capsys, model, tmp_path, name):
    test = digits().test
    np.savez(tmp_path / "own.npz", **{name: test.x[:100, :, :, 0]})
    code, out, _ = command(capsys, "predict", model, tmp_path / "own.npz", "--json")
    found = json.loads(out)
    assert code == 0
    assert found[99]["image"] == f"{name}[99]"
    with torch.no_grad():
        logits = fedgates.load(model)(torch.from_numpy(test.x[:100].transpose(0, 3, 1, 2).copy()))
    assert [each["labels"][0]["label"] for each in found] == [str(int(i)) for i in logits.argmax(1)]


def test_a_colour_image_is_made_grey(capsys, model, drawn, tmp_path):
    folder, _ = drawn
    with Image.open(folder / "000.png") as image:
        image.convert("RGB").save(tmp_path / "colour.png")
    _, grey, _ = command(capsys, "predict", model, folder / "000.png", "--json")
    _, colour, _ = command(capsys, "predict", model, tmp_path / "colour.png", "--json")
    assert json.loads(grey)[0]["labels"] == json.loads(colour)[0]["labels"]


# --- inspect


def test_inspect_says_layers_densities_and_bytes(capsys, model, trained):
    code, out, _ = command(capsys, "inspect", model, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["bytes"] == model.stat().st_size <= found["mask_entropy_bytes"] + 2000
    assert found["dense_float32_bytes"] == 4 * found["parameters"] == 4 * 85_002
    assert [layer["name"] for layer in found["layers"]][:2] == ["1.weight", "1.bias"]
    assert sum(layer["kept"] for layer in found["layers"]) == found["kept"] < found["whole"]["parameters"] == 85_002
    assert found["layers"][0]["density"] == found["layers"][0]["kept"] / (64 * 256)
    assert found["whole"]["multiply_adds"] == 64 * 256 + 256 * 256 + 256 * 10
    assert found["training"]["rounds"] == 8
    assert found["training"]["accuracy"] > 0.9
    code, out, _ = command(capsys, "inspect", model)
    assert code == 0
    assert found["slim"]["parameters"] == sum(p.numel() for p in remove_dead_units(fedgates.load(model).network).parameters())
    assert f"{found['bytes']:,} bytes" in out
    assert "5.bias" in out


# --- which model


@pytest.mark.parametrize(("name", "more"), EVERY.items())
@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("text", "MODEL = {}: not a model file of fedgates (it begins with b'not ', expected b'FGMD')"),
        ("newer", "MODEL = {}: model file version 5, expected 4: load it with a newer fedgates"),
        ("cut", "MODEL = {}: damaged, or cut short: its checksum does not match"),
        ("absent", "MODEL is not a file, and run = '{}': expected the folder of a run, the name of a run in"),
        ("x" * 300, "MODEL is not a file, and run = '{}': expected the folder of a run, the name of a run in"),
    ],
)
def test_what_is_no_model_is_a_line(capsys, tmp_path, monkeypatch, model, name, more, file, line):
    monkeypatch.chdir(tmp_path)
    data = model.read_bytes()
    Path("text").write_bytes(b"not a model at all")
    Path("newer").write_bytes(data[:4] + b"\5" + data[5:])
    Path("cut").write_bytes(data[:-100])
    assert refused(capsys, name, file, *more).startswith(line.format(file))


def test_a_run_stands_for_its_model(capsys, model, trained):
    assert command(capsys, "inspect", trained) == command(capsys, "inspect", model)


# --- the lines of docs/guides/results.md


@pytest.mark.slow
def test_the_lines_of_the_guide_predict(model):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/guides/results.md").read_text(), re.DOTALL)
    (code,) = (block for block in blocks if "fedgates.load(" in block and "simulate" not in block)
    code, places = re.subn(r'"/home/you/.*/model.fedgates"', repr(str(model)), code)
    assert places == 1
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = re.search(r"indices=tensor\(\[(.*)\]\)\) \[(.*)\]", done.stdout)
    assert said, done.stderr
    assert sum(a == b for a, b in zip(said[1].split(", "), said[2].split(), strict=True)) >= 3
