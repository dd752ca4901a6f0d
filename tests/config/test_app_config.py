"""What is printed to be typed again is read as it was meant, by Flower and by ourselves."""

import pytest
from flwr.common.config import parse_config_args

from fedgates.config.app import as_pair, read_overrides

VALUES = [
    "",
    "plain",
    "/home/a b/runs",
    "it's",
    'say "so"',
    """both " and '""",
    "back\\slash",
    "ends with \\",
    '\\"',
    "a=b c='d'",
    "tab\tand\nline",
    "Übung",
    "#no comment",
    True,
    -3,
    0.1,
]


@pytest.mark.parametrize("value", VALUES)
def test_a_pair_is_read_as_it_was_written(value):
    written = f"first=1 {as_pair('a-key', value)} last=2"
    expected = {"first": 1, "a-key": value, "last": 2}
    assert parse_config_args([written]) == expected
    assert read_overrides(written) == expected
