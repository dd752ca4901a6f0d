"""`fedgates inspect`, `predict` and `export`, on a model that was trained on the real digits."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import command
from PIL import Image
from safetensors.torch import load_file

import fedgates
from fedgates.data.digits import digits


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


ROOT = Path(__file__).resolve().parents[2]


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


def test_one_image_has_a_line(capsys, model, drawn):
    folder, _ = drawn
    code, out, _ = command(capsys, "predict", model, folder / "000.png", "--top", 3)
    assert code == 0
    assert out.startswith("000.png  ")
    assert out.count(" %") == 3
    shares = [float(word) for word in out.split() if "." in word and word[0].isdigit() and "png" not in word]
    assert shares == sorted(shares, reverse=True)


def test_a_colour_image_is_made_grey(capsys, model, drawn, tmp_path):
    folder, _ = drawn
    with Image.open(folder / "000.png") as image:
        image.convert("RGB").save(tmp_path / "colour.png")
    _, grey, _ = command(capsys, "predict", model, folder / "000.png", "--json")
    _, colour, _ = command(capsys, "predict", model, tmp_path / "colour.png", "--json")
    assert json.loads(grey)[0]["labels"] == json.loads(colour)[0]["labels"]


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


def test_images_that_cannot_be_used_are_named_in_a_line(capsys, model, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no image")
    Image.new("L", (9, 8)).save(tmp_path / "wide.png")
    np.savez(tmp_path / "floats.npz", x=np.zeros((2, 8, 8)))
    np.savez(tmp_path / "other.npz", y=np.zeros(2))
    (tmp_path / "damaged.npz").write_bytes(b"PK")
    for name, reason in {
        "absent.png": "absent.png: expected an image (No such file or directory)",
        "empty": "empty: expected a folder with images in it",
        "text.png": "text.png: expected an image (its format is not known)",
        "wide.png": "wide.png: 9x8 pixels, expected 8x8",
        "floats.npz": "floats.npz: x is float64 [2, 8, 8, 1], expected uint8 [n, 8, 8, 1]",
        "other.npz": "other.npz: expected an array x or x_test in it",
        "damaged.npz": "damaged.npz: expected an npz file of plain arrays (",
    }.items():
        code, out, err = command(capsys, "predict", model, tmp_path / name)
        assert (code, out) == (2, "")
        assert err.startswith("fedgates: ")
        assert reason in err
        assert len(err.splitlines()) == 1


# --- inspect


def test_inspect_says_layers_densities_and_bytes(capsys, model, trained):
    code, out, _ = command(capsys, "inspect", model, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["bytes"] == model.stat().st_size <= found["mask_entropy_bytes"] + 2000
    assert found["dense_float32_bytes"] == 4 * found["parameters"] == 4 * 85_002
    assert [layer["name"] for layer in found["layers"]][:2] == ["1.weight", "1.bias"]
    assert sum(layer["kept"] for layer in found["layers"]) == found["kept"] == found["whole"]["nonzero"]
    assert found["layers"][0]["density"] == found["layers"][0]["kept"] / (64 * 256)
    assert found["whole"]["multiply_adds"] == 64 * 256 + 256 * 256 + 256 * 10
    assert found["training"]["rounds"] == 8
    assert found["training"]["accuracy"] > 0.9
    code, out, _ = command(capsys, "inspect", model)
    assert code == 0
    assert f"{found['bytes']:,} bytes" in out
    assert "5.bias" in out


@pytest.mark.parametrize("name", ["inspect", "predict", "export"])
def test_what_is_no_model_is_a_line(capsys, tmp_path, name):
    (tmp_path / "m").write_bytes(b"not a model at all")
    more = {"inspect": [], "predict": [tmp_path], "export": ["--to", "onnx"]}[name]
    code, out, err = command(capsys, name, tmp_path / "m", *more)
    assert (code, out) == (2, "")
    assert err == f"fedgates: MODEL = {tmp_path}/m: no model file of fedgates (it begins with b'not ', expected b'FGMD')\n"


# --- export


def test_safetensors_has_the_dense_weights(capsys, model, tmp_path):
    target = tmp_path / "weights.safetensors"
    code, out, _ = command(capsys, "export", model, "--to", "safetensors", "--out", target)
    assert code == 0
    assert out == f"written: {target}, {target.stat().st_size:,} bytes\n"
    expected = fedgates.load(model).network.state_dict()
    found = load_file(target)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_onnx_gives_the_logits_of_torch(capsys, model, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    target = tmp_path / "model.onnx"
    code, out, err = command(capsys, "export", model, "--to", "onnx", "--out", target)
    assert code == 0, err
    assert f"written: {target}, " in out
    session = runtime.InferenceSession(target, providers=["CPUExecutionProvider"])
    loaded = fedgates.load(model)
    for count in (1, 7):
        x = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(count))
        (found,) = session.run(["logits"], {"images": x.numpy()})
        np.testing.assert_allclose(found, loaded(x).numpy(), atol=1e-5)


def test_another_form_is_refused(capsys, model):
    code, _, err = command(capsys, "export", model, "--to", "pickle")
    assert code == 2
    assert "'pickle' is not one of 'onnx', 'safetensors'" in err


# --- the README's lines


def test_the_lines_in_the_readme_predict(model):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code.count("model.fedgates") == 1
    done = subprocess.run(
        [sys.executable, "-c", code.replace("model.fedgates", str(model))], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("tensor([["), done.stderr


def test_a_run_stands_for_its_model(capsys, model, trained):
    assert command(capsys, "inspect", trained) == command(capsys, "inspect", model)
