import sys

import pytest

from fedgates.config import libraries
from fedgates.config.libraries import expect_libraries
from fedgates.errors import ConfigError


@pytest.fixture(autouse=True)
def _anew():
    expect_libraries.cache_clear()
    yield
    expect_libraries.cache_clear()


@pytest.mark.parametrize("file", ["datasets.py", "torchvision.py", "pandas/__init__.py"])
def test_a_module_of_the_users_own_with_the_name_of_a_library_is_named(tmp_path, monkeypatch, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("X = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    name = file.partition("/")[0].removesuffix(".py")
    with pytest.raises(ConfigError) as caught:
        expect_libraries()
    expected = f"a file with another name; this one hides the library {name}"
    assert str(caught.value) == f"app = '{tmp_path / file}': expected {expected}"


def test_folders_of_data_and_names_of_no_library_are_no_modules_that_hide_one(tmp_path, monkeypatch):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "own.npz").touch()
    (tmp_path / "my_datasets.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    expect_libraries()


def test_a_library_that_is_not_installed_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "nosuchlibrary.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(libraries, "LIBRARIES", ("nosuchlibrary",))
    expect_libraries()


def test_everything_here_is_installed():
    assert not [name for name in libraries.LIBRARIES if name not in sys.modules and libraries._found(name, sys.path) is None]
    expect_libraries()
