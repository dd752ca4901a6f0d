"""Four pages, two of them for machines that are not here, are followed where it is asked for: it takes minutes."""

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip them, with the reason, where it is not."""
    if not os.environ.get("FEDGATES_TEST_REHEARSALS"):
        for item in items:
            if item.get_closest_marker("rehearsal"):
                item.add_marker(pytest.mark.skip(reason="FEDGATES_TEST_REHEARSALS is not set"))
