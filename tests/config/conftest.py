"""The configuration classes of the built-in methods."""

import pytest

from fedgates.methods.registry import config_classes


@pytest.fixture(scope="session")
def configs():
    """Name of a method to its configuration class."""
    return config_classes()


@pytest.fixture(scope="session")
def minimal(configs):
    """Return the fewest keys that a method runs with."""

    def keys(name):
        return {"strategy": name, **({"density.target": 0.1} if configs[name].requires_density else {})}

    return keys
