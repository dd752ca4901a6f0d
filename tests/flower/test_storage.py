"""Disks that are full and folders that are gone in the middle of a run: one line with the file and how to resume."""

import errno
import os
import re
import shutil

import pytest
from loopback_runs import run_on

import fedgates
from client_app import app
from fedgates.errors import ConfigError, StorageError
from fedgates.federation import Callback
from fedgates.flower.loopback import LoopbackGrid
from fedgates.flower.server_app import run_on_grid
from fedgates.flower.startup import check_temporary_folder

RESUME = r"; to go on: resume=\"(/.+)\"$"


class After(Callback):
    """Does something to the run's folder after the first round."""

    def __init__(self, folder, act):
        self._folder, self._act = folder, act

    def on_round_end(self, record, server):
        if record["round"] == 1:
            (path,) = self._folder.glob("*/config.json")
            self._act(path.parent)


def full(folder):
    """Make every further line of the log fail with a full disk."""
    log = folder / "rounds.jsonl"
    log.rename(folder / "kept.jsonl")
    log.symlink_to("/dev/full")


def broken_run(raw, tmp_path, act, **changes):
    config = raw(num_server_rounds=3, output_dir=str(tmp_path / "runs"), **changes)
    with pytest.raises(StorageError) as caught:
        run_on_grid(LoopbackGrid(app, config, 3), config, callbacks=[After(tmp_path / "runs", act)])
    (folder,) = re.findall(RESUME, str(caught.value))
    return str(caught.value), folder, config


def test_a_full_disk_is_one_line_and_the_run_resumes(raw, tmp_path):
    message, folder, config = broken_run(raw, tmp_path, full)
    assert message.startswith(f"{folder}/rounds.jsonl cannot be written or read: No space left on device; to go on: ")
    log = tmp_path / "runs" / folder.rpartition("/")[2] / "rounds.jsonl"
    log.unlink()
    (log.parent / "kept.jsonl").rename(log)
    resumed = run_on(LoopbackGrid(app, config, 3), config | {"resume": folder})
    assert [line["round"] for line in resumed.round_log.read()] == [1, 2, 3]


@pytest.mark.parametrize("resumed", [False, True])
def test_a_disk_that_is_full_at_the_start_is_one_line(raw, tmp_path, monkeypatch, resumed):
    config = raw(num_server_rounds=2, output_dir=str(tmp_path / "runs"))
    if resumed:
        config |= {"resume": str(run_on(LoopbackGrid(app, config, 3), config | {"num-server-rounds": 1}).path)}

    def full_disk(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("fedgates.util.files.os.fsync", full_disk)
    with pytest.raises(StorageError, match=r"^/.+/config\.json cannot be written or read: No space left on device"):
        run_on(LoopbackGrid(app, config, 3), config)


def test_a_folder_that_is_gone_is_one_line(raw, tmp_path):
    message, folder, _ = broken_run(raw, tmp_path, shutil.rmtree)
    assert message.startswith(f"{folder}/rounds.jsonl cannot be written or read: No such file or directory; to go on: ")


def test_an_error_of_ones_own_callback_is_not_taken_for_one_of_the_run(raw, tmp_path):
    def missing(folder):
        (tmp_path / "elsewhere").read_text()

    config = raw(num_server_rounds=1, output_dir=str(tmp_path / "runs"))
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        run_on_grid(LoopbackGrid(app, config, 3), config, callbacks=[After(tmp_path / "runs", missing)])


def test_a_damaged_line_of_a_run_to_resume_is_one_line(raw, tmp_path):
    config = raw(num_server_rounds=2, output_dir=str(tmp_path / "runs"))
    folder = run_on(LoopbackGrid(app, config, 3), config).path
    lines = (folder / "rounds.jsonl").read_bytes().splitlines()
    for damaged in (b'{"round": 1', b"\xff\xfe", b"", b"[1]", b"null", lines[0].replace(b'"round": 1', b'"round": "one"')):
        (folder / "rounds.jsonl").write_bytes(b"\n".join([damaged, lines[1], b""]))
        with pytest.raises(
            ConfigError, match=r"^resume = '.+': expected a run with a valid rounds\.jsonl; rounds\.jsonl, line 1: "
        ):
            run_on(LoopbackGrid(app, config, 3), config | {"resume": str(folder)})


def test_a_temporary_folder_with_a_long_path_is_named(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/flwr-simulation"])
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    for key in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.setenv(key, "/" + 38 * "t")
        check_temporary_folder()
        monkeypatch.setenv(key, "/" + 39 * "t")
        with pytest.raises(ConfigError, match=rf"^{key} = '/t+': expected a folder whose path has at most 39 bytes, "):
            check_temporary_folder()
    monkeypatch.setattr("sys.argv", ["/usr/bin/python"])
    check_temporary_folder()


def test_the_error_is_public():
    assert issubclass(fedgates.StorageError, RuntimeError)
