"""Sound files."""

import pytest
from model_files import facts, masked

from fedgates import model_file


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """Bytes of a file that has a mask alone, and of one that has values, too; written once, by constriction."""
    folder = tmp_path_factory.mktemp("sound")
    network, gates, weights = masked()
    model_file.save(folder / "mask", network, facts(), weights, gates=gates)
    network, _, weights = masked(density=0.1)
    model_file.save(folder / "values", network, facts(), weights * 1.5)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def file(tmp_path, sound):
    path = tmp_path / "model.fedgates"
    path.write_bytes(sound["mask"])
    return path


@pytest.fixture
def file_of_values(tmp_path, sound):
    path = tmp_path / "values.fedgates"
    path.write_bytes(sound["values"])
    return path
