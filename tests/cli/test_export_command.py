"""`fedgates export`: the file that comes of it, and where it cannot go."""

import errno
import json
import os
import resource

import pytest
import torch
from command_line import command, refused
from safetensors.torch import load_file

import fedgates
from fedgates.model_file.export import ExportError


@pytest.fixture
def model(tmp_path, untrained):
    (tmp_path / "model.fedgates").write_bytes(untrained)
    return tmp_path / "model.fedgates"


def test_safetensors_has_the_dense_weights(capsys, model, tmp_path):
    target = tmp_path / "weights.safetensors"
    code, out, _ = command(capsys, "export", model, "--to", "safetensors", "--out", target)
    assert code == 0
    assert out == f"written: {target}, {target.stat().st_size:,} bytes\n"
    expected = fedgates.load(model).network.state_dict()
    found = load_file(target)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.slow
def test_onnx_is_written_beside_the_model(capsys, model):
    code, out, err = command(capsys, "export", model, "--to", "onnx")
    target = model.with_suffix(".onnx")
    assert (code, out, err) == (0, f"written: {target}, {target.stat().st_size:,} bytes\n", "")
    out = command(capsys, "export", model, "--to", "onnx", "--json")[1]
    assert json.loads(out) == {"file": str(target), "bytes": target.stat().st_size}


def test_another_form_is_refused(capsys, model):
    assert "'pickle' is not one of 'onnx', 'safetensors'" in refused(capsys, "export", model, "--to", "pickle")


# --- where it cannot go

NO_FILE = "expected the name of a file in an existing folder"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "safetensors"])
@pytest.mark.parametrize(
    ("out", "line"),
    [
        ("", f"--out = '.': {NO_FILE}"),
        (".", f"--out = '.': {NO_FILE}"),
        ("/", f"--out = '/': {NO_FILE}"),
        ("absent/m", f"--out = 'absent/m': {NO_FILE}"),
        ("file/m", f"--out = 'file/m': {NO_FILE}"),
        ("model.fedgates", "--out = 'model.fedgates': expected a file other than the model itself"),
        ("link", "--out = 'link': expected a file other than the model itself"),
        ("pipe", f"--out = 'pipe': {NO_FILE}"),
        ("x" * 300, f"--out = '{'x' * 300}': expected a writable file (File name too long)"),
        ("x" * 253, f"--out = '{'x' * 253}': expected a writable file (File name too long)"),  # with its .part
    ],
)
def test_what_is_no_place_for_a_file(capsys, monkeypatch, model, tmp_path, form, out, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(model)
    os.mkfifo(tmp_path / "pipe")
    before = {path: path.lstat().st_size for path in tmp_path.iterdir()}
    assert refused(capsys, "export", model, "--to", form, "--out", out) == line
    assert {path: path.lstat().st_size for path in tmp_path.iterdir()} == before
    assert fedgates.load(model)


def test_a_model_that_is_named_like_its_export_is_not_replaced(capsys, model):
    named = model.rename(model.with_suffix(".onnx"))
    line = f"--out = {str(named)!r}: expected a file other than the model itself"
    assert refused(capsys, "export", named, "--to", "onnx") == line
    assert fedgates.load(named)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "safetensors"])
def test_a_disk_that_is_full_leaves_nothing_behind(capsys, model, tmp_path, form):
    (tmp_path / "there").write_text("before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        line = refused(capsys, "export", model, "--to", form, "--out", tmp_path / "there")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert line == f"--out = '{tmp_path}/there': expected a writable file (File too large)"
    assert (tmp_path / "there").read_text() == "before"
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_may_not_be_written_to(capsys, monkeypatch, model, tmp_path, number):
    def refuse(target, data):
        raise OSError(number, os.strerror(number), str(target))  # root may write anywhere

    monkeypatch.setattr("fedgates.model_file.export.write_atomically", refuse)
    line = refused(capsys, "export", model, "--to", "safetensors", "--out", tmp_path / "s")
    assert line == f"--out = '{tmp_path}/s': expected a writable file ({os.strerror(number)})"


def test_what_cannot_be_written_so(capsys, monkeypatch, model):
    def refuse(*_):
        raise ExportError("expected the packages")

    monkeypatch.setattr("fedgates.model_file.export.write_onnx", refuse)
    assert refused(capsys, "export", model, "--to", "onnx") == "--to onnx: expected the packages"
