"""The schema of a line of ``rounds.jsonl``."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_round_log import LINE

from fedgates.runs.record import RoundRecord
from fedgates.runs.schema import KEYS, key_of, markdown, problem
from fedgates.types import Update, pack

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "rounds.md"

VALID = [
    {},
    {"accuracy": None, "loss": 1e30, "r2": -1e9, "density": 1, "uplink_bpp": 64.0, "quorum": False, "attempt": 3},
    {"uplink": {}, "downlink": {"votes": {"messages": 1, "bytes": 0}}, "rejected": {"3": "stale"}, "theta_histogram": [0, 5]},
    {"client_evaluations": {"0": {"examples": 5, "loss": 0.5}, "1": {"examples": 0, "loss": -1.0, "accuracy": 1.0}}},
    {"client_evaluations": {"0": {"examples": 5, "loss": 0.5, "accuracy": 0.1, "own_class_accuracy": 0.7}}},
    {"my own": {"any": ["thing"]}, "another": "text"},
]


@pytest.mark.parametrize("changes", VALID, ids=str)
def test_valid_lines(changes):
    assert problem({**LINE, **changes}) is None


EVALUATIONS = "client_evaluations = an object: expected an object with `examples`, `loss`"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("round", 0, "round = 0: expected a whole number from 1 to 1,000,000,000"),
        ("round", True, "round = true: expected a whole number"),
        ("round", 10**12, "round = 1000000000000: expected"),
        ("seconds", None, "seconds = null: expected a number from 0 to 1,000,000,000"),
        ("seconds", -1.0, "seconds = -1.0: expected"),
        ("seconds", float("nan"), "seconds = NaN: expected"),
        ("uplink_bytes", 10**400, "uplink_bytes = 1000000000000000000000000000000000000000"[:50]),
        ("uplink_bytes", 3000.0, "uplink_bytes = 3000.0: expected a whole number"),
        ("clients_counted", -1, "clients_counted = -1: expected"),
        ("accuracy", "0.5", 'accuracy = "0.5": expected a number from 0 to 1, or null'),
        ("accuracy", 1.5, "accuracy = 1.5: expected a number from 0 to 1, or null"),
        ("accuracy_sample", [0.5], "accuracy_sample = a list: expected a number from 0 to 1, or null"),
        ("loss", 1e200, "loss = 1e+200: expected a number, or null"),
        ("loss", float("inf"), "loss = Infinity: expected a number, or null"),
        ("density", False, "density = false: expected a number from 0 to 1"),
        ("downlink_bpp", -2, "downlink_bpp = -2: expected a number from 0 to 1,000,000,000, or null"),
        ("quorum", None, "quorum = null: expected true or false"),
        ("quorum", 1, "quorum = 1: expected true or false"),
        ("attempt", 0, "attempt = 0: expected a whole number from 1"),
        ("uplink", None, "uplink = null: expected an object with `messages` and `bytes` for each kind of payload"),
        ("uplink", {"mask": 5}, "uplink = an object: expected an object with `messages` and `bytes` for each kind of payload"),
        ("uplink", {"mask": {"messages": 0, "bytes": 5}}, "uplink = an object: expected an object with `messages` and `bytes`"),
        ("uplink", {"mask": {"messages": 1}}, "uplink = an object: expected an object with `messages` and `bytes`"),
        ("rejected", ["stale"], "rejected = a list: expected an object with a reason for each client"),
        ("failed", {"1": None}, "failed = an object: expected an object with a reason for each client"),
        ("theta_histogram", {}, "theta_histogram = an object: expected a list of at most 1,000 counts"),
        ("theta_histogram", [1, -1], "theta_histogram = a list: expected a list of at most 1,000 counts"),
        ("theta_histogram", [0] * 1001, "theta_histogram = a list: expected a list of at most 1,000 counts"),
        (
            "client_evaluations",
            {"0": {"examples": 5}},
            EVALUATIONS,
        ),
        (
            "client_evaluations",
            {"0": {"examples": 5, "loss": None}},
            EVALUATIONS,
        ),
        (
            "client_evaluations",
            {"0": {"examples": 5, "loss": 0.5, "own_class_accuracy": 1.5}},
            EVALUATIONS,
        ),
        ("client_seconds", "fast\x1b[2J\u202e", r'client_seconds = "fast\u001b[2J\u202e": expected'),
    ],
)
def test_invalid_values(key, value, says):
    found = problem({**LINE, key: value})
    assert found is not None
    assert found.startswith(says)
    assert found.isprintable()
    assert len(found) < 200


@pytest.mark.parametrize("key", LINE)
def test_required_keys(key):
    assert problem({name: value for name, value in LINE.items() if name != key}) == f"{key} is missing"


@pytest.mark.parametrize("value", [None, [], 5, "{}"])
def test_values_other_than_objects(value):
    assert problem(value) == "not a JSON object"


def test_the_line_of_a_record_is_valid():
    silent = RoundRecord(1, 100)
    assert problem(silent.line(1.0, {})) is None
    record = RoundRecord(2, 100, attempt=2)
    record.sent(0, "votes", 36)
    record.received("mask, packed", 49)
    metrics = {"loss": 1e9, "accuracy": 1.0, "seconds": 0.1}
    record.count(Update(mask=pack(np.ones(100, dtype=bool)), num_examples=5, metrics=metrics))
    record.reject(1, "stale")
    record.fail(2, "gone")
    record.sent_to_evaluate(0, "votes", 36)
    record.evaluations = {0: (5, {"loss": 0.5, "accuracy": 0.2})}
    record.theta_histogram = [100]
    assert problem(json.loads(json.dumps(record.line(1.0, {"accuracy": 0.5, "loss": 1e30, "client_accuracy": 0.2})))) is None


def test_the_keys_of_the_contract_are_the_required_ones(contract):
    assert [key.name for key in KEYS if key.required] == contract


def test_the_names_of_parameters_are_part_of_a_key():
    assert key_of("inertia_1.weight").name == "inertia_<parameter>"
    assert key_of("rms_inertia_1.weight").name == "rms_inertia_<parameter>"
    assert key_of("no_such_key") is None
    assert problem({**LINE, "inertia_1.weight": "x"}) == 'inertia_1.weight = "x": expected a number, or null'


def test_the_reference_page_is_up_to_date():
    assert PAGE.read_text() == markdown()  # python -m fedgates.runs.schema > docs/reference/rounds.md
