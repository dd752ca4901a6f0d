import os

import pytest

from fedgates.disk import write_atomically


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
