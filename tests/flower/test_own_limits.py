"""Limits that a device sets in its node config, beside those of the run."""

import pytest
from flwr.app import Context, RecordDict

from fedgates.errors import ConfigError
from fedgates.flower.client_app import _own_limits


def own_limits(run, node):
    return _own_limits(Context(1, 7, node, RecordDict(), run))


@pytest.mark.parametrize("key", ["max-gates", "limits.max-gates"])
@pytest.mark.parametrize(
    ("run", "expected"),
    [({}, 5000), ({"limits.max-gates": 9000}, 5000), ({"max-gates": 9000}, 5000), ({"limits.max-gates": 400}, 400)],
)
def test_a_device_lowers_the_limit_of_the_run_and_never_raises_it(key, run, expected):
    assert own_limits(run, {key: 5000, "partition-id": 3}) == {"limits.max-gates": expected}


def test_of_both_spellings_the_lower_one_counts():
    assert own_limits({}, {"max-gates": 5000, "limits.max-gates": 400}) == {"limits.max-gates": 400}
    assert own_limits({}, {"max-gates": 400, "limits.max-gates": 5000}) == {"limits.max-gates": 400}


def test_every_limit_may_be_lowered():
    node = {"max-payload-mb": 1, "limits.max-decode-mb": 2.5, "limits.max-relay-updates": 9}
    lowered = {"limits.max-payload-mb": 1.0, "limits.max-decode-mb": 2.5, "limits.max-relay-updates": 9}
    assert own_limits({"limits.max-payload-mb": 4.0}, node) == lowered


def test_other_keys_of_a_node_config_are_not_limits():
    assert own_limits({"prune": 3, "sparsyfed.prune": "weights"}, {"partition-id": 3, "data-path": "/a.npz"}) == {}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("max-gates", "many", "a whole number from 1 to 4,294,967,295"),
        ("limits.max-gates", 0, "a whole number from 1 to 4,294,967,295"),
        ("max-payload-mb", -1.0, "a number above 0"),
        ("max-relay-updates", -1, "a whole number from 0 to 65,535"),
        (
            "max-examples",
            3,
            "one of limits.max-gates, limits.max-payload-mb, limits.max-decode-mb, limits.max-relay-updates in a node config",
        ),
    ],
)
def test_a_limit_that_cannot_be_set_is_one_line(key, value, expected):
    with pytest.raises(ConfigError) as error:
        own_limits({}, {key: value})
    assert str(error.value) == f"{key} = {value!r}: expected {expected}"
