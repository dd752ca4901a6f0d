import json
import subprocess
import sys
from importlib.metadata import version

from configs import config_of

import fedgates
from fedgates.config import RunConfig, to_dict
from fedgates.methods.registry import method_class
from fedgates.runs.config_file import read_config, read_defaults, read_software, read_usable_config, run_values, write_config
from fedgates.runs.software import commit_of, software

VALUES = {"strategy": "fedpm", "dataset": "digits", "seed": 1, "num-server-rounds": 3}


def git(folder, *arguments):
    who = ("-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def test_a_commit_is_that_of_a_folder_whose_files_git_tracks(tmp_path):
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("1\n")
    assert commit_of(tmp_path / "code") == ""
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    git(tmp_path, "tag", "-m", "v", "v1")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert commit_of(tmp_path) == commit_of(tmp_path / "code") == head
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment" / "installed.py").write_text("")
    assert commit_of(tmp_path / "environment") == ""
    assert commit_of(tmp_path) == head
    (tmp_path / "code" / "a.py").write_text("2\n")
    assert commit_of(tmp_path / "code") == f"{head}-dirty"
    assert commit_of(tmp_path / "absent") == ""


def test_without_git_there_are_versions_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = software()
    assert found["fedgates"] == fedgates.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["torch"] == version("torch")
    assert not {"commit", "app-commit"} & found.keys()


def test_config_json_has_them_beside_the_keys(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    config = config_of(method_class("fedpm").Config, eps=0.1)
    values = run_values(config, 3, "1234")
    write_config(tmp_path, config, 3, "1234")
    written = json.loads((tmp_path / "config.json").read_text())
    assert written.pop("method-defaults")["fedpm.eps"] == read_defaults(tmp_path)["fedpm.eps"] == 0.001
    assert written == values | {"software": software()}
    assert read_software(tmp_path) == software()
    assert read_config(tmp_path) == values
    assert read_usable_config(tmp_path) == (values, [])


def test_a_run_without_them_or_with_others_is_read(tmp_path):
    for found, read, problems in (
        (None, {}, []),
        ([1], {}, ["config.json: software = a list"]),
        ({"torch": "2.0", "flwr": 3}, {"torch": "2.0"}, ["config.json: software.flwr = 3"]),
    ):
        values = VALUES if found is None else {**VALUES, "software": found}
        (tmp_path / "config.json").write_text(json.dumps(values))
        assert read_software(tmp_path) == read
        assert read_config(tmp_path) == VALUES
        assert read_usable_config(tmp_path) == (VALUES, problems)


def test_defaults_that_are_missing_or_damaged_are_those_of_every_method(tmp_path):
    for found, own, problems in (
        ({"fedpm.eps": 0.5, "seed": 7}, {"fedpm.eps": 0.5, "seed": 7}, []),
        ("none", {}, ['config.json: method-defaults = "none"']),
        ({"fedpm.eps": [1], "seed": 7}, {"seed": 7}, ["config.json: method-defaults.fedpm.eps = a list"]),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**VALUES, "method-defaults": found}))
        assert read_defaults(tmp_path) == to_dict(RunConfig()) | own
        assert read_usable_config(tmp_path) == (VALUES, problems)
