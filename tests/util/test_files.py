import os
import subprocess
import sys
import threading

import pytest

from fedgates.util.files import is_locked, locked, sweep, write_atomically


def test_write_atomically_writes_and_replaces(tmp_path):
    for data in (b"first, which is longer", b"second"):
        write_atomically(tmp_path / "file", data)
        assert (tmp_path / "file").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_kill_before_the_data_is_on_the_disk_leaves_the_old_file(tmp_path, monkeypatch):
    write_atomically(tmp_path / "file", b"old")

    def killed(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    for target in ("file", "new"):
        with pytest.raises(KeyboardInterrupt):
            write_atomically(tmp_path / target, b"partly")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert not (tmp_path / "new").exists()


def test_the_data_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    seen = []
    real = os.fsync

    def watched(descriptor):
        seen.append((tmp_path / "file").exists())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write_atomically(tmp_path / "file", b"data")
    assert seen == [False, True]  # the file, then the folder that now names it


def test_what_a_link_leads_to_is_written(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("folder/file")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "file").read_bytes() == b"new"


def test_two_that_write_at_once_leave_the_whole_of_one(tmp_path, monkeypatch):
    meet, real = threading.Barrier(2, timeout=30), os.fsync

    def both_have_written(descriptor):
        if not os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112
            meet.wait()
        real(descriptor)

    monkeypatch.setattr(os, "fsync", both_have_written)
    contents = [b"a" * 100_000, b"b" * 50_000]
    threads = [threading.Thread(target=write_atomically, args=(tmp_path / "file", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file").read_bytes() in contents
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_files_of_others_are_left_alone(tmp_path):
    for name in ("file.part", ".file.part", "fil.part"):
        (tmp_path / name).write_bytes(b"mine")
    write_atomically(tmp_path / "file", b"data")
    sweep(tmp_path, "fil")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "file": b"data",
        **dict.fromkeys(("file.part", ".file.part", "fil.part"), b"mine"),
    }


def test_what_the_killed_have_left_is_swept(tmp_path, monkeypatch):
    def killed(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    for name in ("file-1", "file-2", "other"):
        with pytest.raises(KeyboardInterrupt):
            write_atomically(tmp_path / name, b"partly")
    assert len(list(tmp_path.iterdir())) == 3
    sweep(tmp_path, "file-*")
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".other.")


def test_a_lock_is_held_until_its_end(tmp_path):
    file = tmp_path / "lock"
    assert not is_locked(file)
    assert not file.exists()
    with locked(file):
        assert is_locked(file)
        with pytest.raises(BlockingIOError), locked(file):
            pass
    assert not is_locked(file)


def test_a_killed_process_releases_its_lock(tmp_path):
    code = "import sys, time; from pathlib import Path; from fedgates.util.files import locked"
    hold = f"{code}\nwith locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", hold, tmp_path / "lock"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        assert is_locked(tmp_path / "lock")
        process.kill()
    assert not is_locked(tmp_path / "lock")
