"""Values that several rooms read: folders and references."""

from pathlib import Path

from fedgates.config import folder, is_reference


def test_folder_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert folder("~/runs") == Path("/somewhere/runs")
    assert folder("/runs") == Path("/runs")


def test_references():
    assert [v for v in ("a:b", "a.b:c", "_a:B1") if not is_reference(v)] == []
    assert [
        v for v in ("", "a", ":b", "a:", "a.:b", ".a:b", "a b:c", "a:b.c", "a:b:c", "1a:b", "a-b:c") if is_reference(v)
    ] == []
