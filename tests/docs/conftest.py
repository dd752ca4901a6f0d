"""Guides are followed on Flower's engines where that is asked for: each takes a minute or two."""

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip them, with the reason, where it is not."""
    if not os.environ.get("FEDGATES_TEST_GUIDES"):
        for item in items:
            if item.get_closest_marker("guide"):
                item.add_marker(pytest.mark.skip(reason="FEDGATES_TEST_GUIDES is not set"))
