"""docs/own_data.md, followed; and what it says of files, where tests/data does not."""

import json

import numpy as np
import pytest
from engines import ROOT, Sandbox
from guide import runs, steps
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from fedgates.data.folders import read_folder

PAGE = "own_data"


@pytest.mark.rehearsal
@pytest.mark.slow
def test_every_command_does_what_the_page_says(tmp_path):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        looked, of_arrays, of_pictures, wrong, rehearsed = steps(PAGE, sandbox)
        assert all(step.shown for step in (looked, of_arrays, of_pictures, wrong, rehearsed))
        ledgers = [
            [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()] for folder in runs(sandbox)
        ]
        assert [len(lines) for lines in ledgers] == [3, 2, 2]
        assert ledgers[0][-1]["accuracy"] > 0.88
        assert ledgers[1][-1]["accuracy"] > 0.8
        assert ledgers[2][-1]["accuracy"] is None
        assert ledgers[2][-1]["client_accuracy"] > 0.8
        said = [line.split() for line in of_pictures.printed.splitlines() if ".png " in line]
        assert len(said) == 36
        assert sum(words[1] == "three" for words in said) >= 27
        assert all("network c42c994e58b2279f" in step.printed for step in (of_arrays, of_pictures, rehearsed))
        assert wrong.printed.partition("expected ")[2] in rehearsed.printed


def saved(root, images):
    """A folder with these pictures of one class, and of another, for training and for testing."""
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
def test_what_counts_as_colour(tmp_path, image, channels):
    found = read_folder("mine", saved(tmp_path, {"0.png": image}))
    assert found.input_shape == (channels, 4, 4)
    assert (found.train.x == 100).all()


def test_kinds_of_files(tmp_path):
    root = saved(tmp_path, {"0.png": grey()})
    (root / "train" / "a" / "notes.txt").write_text("passed over")
    assert len(read_folder("mine", root).train) == 2
    page = (ROOT / "docs" / f"{PAGE}.md").read_text()
    (row,) = (line for line in page.splitlines() if line.startswith("| images |"))
    cell = row.split("|")[3]
    assert {kind for kind in IMG_EXTENSIONS if kind[1:] in cell} == set(IMG_EXTENSIONS) - {".jpeg", ".tiff"}
