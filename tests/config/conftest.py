"""The methods' configuration classes, wherever they are defined."""

import importlib

import pytest

HOME = "fedgates.config._method_tables_draft"


@pytest.fixture(scope="session")
def configs():
    """Name of a method to its configuration class."""
    return importlib.import_module(HOME).known_configs()


@pytest.fixture(scope="session")
def minimal(configs):
    """Return the fewest keys that a method runs with."""

    def keys(name):
        return {"strategy": name, **({"density.target": 0.1} if configs[name].requires_density else {})}

    return keys
