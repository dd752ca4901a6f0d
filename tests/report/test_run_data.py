"""The data read from a folder, and the command that repeats the run."""

import json
import shlex
import subprocess
import sys

import pytest
from configs import config_of
from flwr.common.config import parse_config_args
from page_folders import CONFIG, full, line, page_of, png, predictions, write_folder, write_model

from fedgates.config import RunConfig, to_dict
from fedgates.errors import ConfigError
from fedgates.report.run_data import load_run_data


def test_another_folder_is_refused_and_left_unchanged(tmp_path):
    with pytest.raises(ConfigError, match=r"expected the folder of a run, with its config\.json or rounds\.jsonl"):
        page_of(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize("name", ["config.json", "predictions.json", "model.fedgates", "rounds.jsonl", "confusion.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]\n{\n", b"null\nnull", b'{"samples": 5}x\n'])
def test_damaged_files_are_named_and_the_rest_is_there(tmp_path, name, content):
    folder = full(tmp_path)
    (folder / name).write_bytes(content)
    page = page_of(folder)
    if name != "rounds.jsonl" or b"\n" in content:
        assert "Left out, because it cannot be read" in page.says
    assert len(page.headings) >= 3


def test_a_truncated_last_line_is_no_round(tmp_path):
    folder = write_folder(tmp_path, [line(1), line(2)], CONFIG)
    with (folder / "rounds.jsonl").open("a") as file:
        file.write('{"round": 3, "acc')
    assert len(load_run_data(folder).lines) == 2


def test_a_truncated_model(tmp_path):
    folder = full(tmp_path)
    whole = (folder / "model.fedgates").read_bytes()
    (folder / "model.fedgates").write_bytes(whole[:-9])
    found = load_run_data(folder)
    assert found.model is None
    assert "checksum" in found.problems[0]


def test_wrong_samples_come_first_and_large_images_are_left_out(tmp_path):
    shown = predictions((0, 0), (0, 1), (1, 7))
    shown["samples"].append({"image": png(400), "label": 0, "predicted": 0})
    shown["samples"] += [{"image": "iVBORw0KGgo" + "A" * 200_001, "label": 1, "predicted": 1}]
    found = load_run_data(write_folder(tmp_path, [], CONFIG, shown)).samples
    assert [(s.label, s.predicted, s.right) for s in found[:3]] == [
        ("cat", "dog", False),
        ("dog", "7", False),
        ("cat", "cat", True),
    ]
    assert sum(len(s.image) for s in found) <= 150_000


def test_a_network_of_the_users_own_is_described_by_its_file_and_not_imported(tmp_path):
    folder = write_folder(tmp_path, [line()], CONFIG)
    write_model(folder, called="nowhere:network")
    assert "Density of each layer of the model after round 3" in page_of(folder).says


@pytest.mark.slow
def test_a_page_takes_no_torch(tmp_path):
    code = f"""
import sys
from pathlib import Path
from fedgates.report import write_page
write_page(Path({str(full(tmp_path))!r}))
print({{"torch", "flwr"}} & {{*sys.modules}})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")


# --- configuration


def test_changed_keys_are_those_that_differ_from_the_defaults(tmp_path):
    config = to_dict(config_of(RunConfig, seed=7, output_dir="/tmp/x", resume="/tmp/y")) | {
        "simulated-clients": 3,
        "fedpm.eps": 0.001,
        "fedpm.prior": 2.0,
    }
    assert load_run_data(write_folder(tmp_path, [], config)).changed == ["seed", "fedpm.eps", "fedpm.prior"]
    write_folder(tmp_path, [], config | {"method-defaults": {"fedpm.eps": 0.001, "fedpm.prior": 1.0, "seed": 7}})
    assert load_run_data(tmp_path).changed == ["fedpm.prior"]


def test_keys_without_a_known_default_are_named_as_such(tmp_path):
    folder = write_folder(tmp_path, [], CONFIG | {"fedpm.eps": 0.001})
    assert "Keys that differ from their defaults, and keys whose default is unknown key value" in page_of(folder).says
    write_folder(tmp_path, [], CONFIG | {"fedpm.eps": 0.001, "method-defaults": {"fedpm.eps": 0.1}})
    assert "Keys that differ from their defaults key value" in page_of(folder).says


def test_a_config_of_defaults(tmp_path):
    folder = write_folder(tmp_path, [], to_dict(RunConfig()) | {"simulated-clients": 3})
    assert "Every key has its default value." in page_of(folder).says
    assert "--run-config" not in load_run_data(folder).command()


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 7, "learning-rate": 0.25, "density.dual-restart": False, "strategy": "topk"},
        {"dataset": "npz:/data/o'brien's set.npz"},
        {"dataset": 'folder:/a "quoted" name'},
        {"dataset": "npz:/tmp/$(touch x)`id`;rm -rf ~\\n.npz", "fedpm.eps": 1e-06},
        {"model": "my_module:réseau"},
    ],
)
def test_the_command_has_the_changed_keys(tmp_path, changed):
    config = to_dict(RunConfig()) | {"simulated-clients": 12} | changed
    words = shlex.split(load_run_data(write_folder(tmp_path, [], config)).command().replace("\\\n", ""))
    assert words[:6] == ["uv", "run", "flwr", "run", ".", "--stream"]
    assert words[6:8] == ["--federation-config", "num-supernodes=12 client-resources-num-cpus=1"]
    assert words[8] == "--run-config"
    assert parse_config_args(words[9:]) == changed


def test_a_config_is_read_as_it_was_written(tmp_path):
    folder = write_folder(tmp_path, [], CONFIG)
    assert load_run_data(folder).config == json.loads((folder / "config.json").read_text())
