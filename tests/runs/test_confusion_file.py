"""``confusion.json``: written, read, and refused where it is damaged."""

import json

import pytest

from fedgates.runs.confusion import MAX_CLASSES, Confusion, read_confusion, write_confusion

MATRIX = {"round": 3, "classes": ["cat", "dog"], "counts": [[5, 1], [0, 7]]}


def test_a_matrix_is_read_as_it_was_written(tmp_path):
    assert read_confusion(tmp_path) is None
    write_confusion(tmp_path, Confusion(**MATRIX))
    assert read_confusion(tmp_path) == Confusion(**MATRIX)
    assert [path.name for path in tmp_path.iterdir()] == ["confusion.json"]


@pytest.mark.parametrize(
    "damage",
    [
        [],
        None,
        {},
        {**MATRIX, "more": 1},
        {**MATRIX, "round": "3"},
        {**MATRIX, "round": -1},
        {**MATRIX, "classes": "ab"},
        {**MATRIX, "classes": ["cat", 5]},
        {**MATRIX, "classes": []},
        {**MATRIX, "counts": [[5, 1]]},
        {**MATRIX, "counts": [[5, 1], [7]]},
        {**MATRIX, "counts": [[5, 1], [7, -1]]},
        {**MATRIX, "counts": [[5, 1], [7, True]]},
        {**MATRIX, "counts": [[5, 1], [7, 10**400]]},
        {**MATRIX, "counts": [[5, 1], {"0": 1, "1": 2}]},
        {**MATRIX, "counts": {"0": [5, 1], "1": [0, 7]}},
        {**MATRIX, "counts": 5},
        {**MATRIX, "classes": ["a"] * (MAX_CLASSES + 1), "counts": [[1] * (MAX_CLASSES + 1)] * (MAX_CLASSES + 1)},
    ],
)
def test_damage_is_refused(tmp_path, damage):
    (tmp_path / "confusion.json").write_text(json.dumps(damage))
    with pytest.raises(ValueError, match=r"^confusion\.json: not a confusion matrix"):
        read_confusion(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"{"])
def test_what_is_not_json_is_refused(tmp_path, content):
    (tmp_path / "confusion.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"^confusion\.json: not a confusion matrix"):
        read_confusion(tmp_path)
