"""The commands of docs/guides/own_data.md, and its statements on files that tests/data does not test."""

import json

import numpy as np
import pytest
from engines import ROOT, Sandbox
from guide import runs, steps
from PIL import Image

import fedgates
from fedgates.data.folders import read_folder
from fedgates.data.pictures import SUFFIXES

PAGE = "own_data"


@pytest.mark.rehearsal
@pytest.mark.slow
def test_commands_print_what_the_page_shows(tmp_path):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        listed, arrays, pictures, wrong, devices = steps(PAGE, sandbox)
        assert all(step.shown for step in (listed, arrays, pictures, wrong, devices))
        logs = [[json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()] for folder in runs(sandbox)]
        assert [len(lines) for lines in logs] == [3, 2, 2]
        assert logs[0][-1]["accuracy"] > 0.88
        assert logs[1][-1]["accuracy"] > 0.8
        assert logs[2][-1]["accuracy"] is None
        assert logs[2][-1]["client_accuracy"] > 0.8
        labelled = [line.split() for line in pictures.printed.splitlines() if ".png " in line]
        assert len(labelled) == 36
        assert sum(words[1] == "three" for words in labelled) >= 27
        assert all("network c42c994e58b2279f" in step.printed for step in (arrays, pictures))
        digests = [fedgates.load(folder / "model.fedgates").facts.digest for folder in runs(sandbox)]
        assert digests == ["c42c994e58b2279f"] * 3
        assert "labels from 0 in y_train" in wrong.printed
        assert "labels below 3, the number of classes, not 3" in devices.printed


def saved(root, images):
    """Save these pictures of two classes, for training and for testing; return the folder."""
    for place in ("train/a", "train/b", "test/a", "test/b"):
        (root / place).mkdir(parents=True)
        for name, image in images.items():
            image.save(root / place / name)
    return root


def grey(value=100):
    return Image.fromarray(np.full((4, 4), value, np.uint8))


@pytest.mark.parametrize(
    ("image", "channels"),
    [(grey(), 1), (grey().convert("LA"), 1), (grey().convert("P"), 3), (grey().convert("RGBA"), 3)],
    ids=["grey", "grey and transparent", "palette", "transparent"],
)
def test_images_that_count_as_colour(tmp_path, image, channels):
    found = read_folder("mine", saved(tmp_path, {"0.png": image}))
    assert found.problem.shape == (channels, 4, 4)
    assert (found.train.x == 100).all()


def test_file_formats(tmp_path):
    root = saved(tmp_path, {"0.png": grey()})
    (root / "train" / "a" / "notes.txt").write_text("ignored")
    assert len(read_folder("mine", root).train) == 2
    page = (ROOT / "docs" / "guides" / f"{PAGE}.md").read_text()
    (row,) = (line for line in page.splitlines() if line.startswith("| images |"))
    listed = row.split("|")[3].partition(", of 8 bits")[0]
    assert {f".{kind.strip()}" for kind in listed.split(",")} == SUFFIXES
