"""Payloads that were written once and must be read for ever; a format that cannot read them is another version."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from integer_range_decoder import IntegerRangeDecoder, edges
from make_golden import found_as_json
from wire_cases import Case, cases

from fedgates.types import State, Votes, Weights
from fedgates.wire import CodingContext, VersionedState
from fedgates.wire.header import HEADER_SIZE
from fedgates.wire.scale import FREQUENCIES

GOLDEN = [entry for path in sorted((Path(__file__).parent / "golden").glob("*.json")) for entry in json.loads(path.read_text())]


def state_from_json(found: dict | None) -> State | None:
    if found is None:
        return None
    scalars = tuple(found.get("scalars", ()))
    if "votes" in found:
        tail = np.array(found.get("tail", ()), np.float32)
        return Votes(np.array(found["votes"], np.uint32), found["trials"], scalars, tail=tail)
    return Weights(np.array(found["weights"], np.float32), scalars)


def case_from_json(entry: dict) -> Case:
    state, base = state_from_json(entry["state"]), entry["base"]
    digest, layers = bytes.fromhex(entry["digest"]), tuple(entry["layers"])
    return Case(
        **{key: entry[key] for key in ("name", "sort", "kind", "codec", "value_type")},
        context=CodingContext(
            digest,
            layers,
            entry["round"],
            state,
            entry["seed"],
            entry["client"],
            entry.get("scalars", 0),
            entry.get("tail", 0),
            tuple(entry.get("rows", ())),
        ),
        payload=bytes.fromhex(entry["payload"]),
        base=base and VersionedState(state_from_json(base["state"]), base["round"]),
        which=entry.get("which", 0),
        count=entry.get("count", 0),
    )


def named(entry):
    return f"{entry['name']}, {sum(entry['layers'])}"


@pytest.mark.parametrize("entry", GOLDEN, ids=named)
def test_old_payloads_are_read(entry):
    case = case_from_json(entry)
    assert found_as_json(case.read(case.payload), case.context.size) == entry["found"]


@pytest.mark.parametrize(
    "entry", [entry for entry in GOLDEN if entry["base"] is None and entry["codec"] != "sampled"], ids=named
)
def test_what_was_read_is_written_to_the_same_bytes(entry):
    case = case_from_json(entry)
    assert case.write(case.read(case.payload)).hex() == entry["payload"]


def test_each_sort_of_payload_is_there_in_both_sizes():
    assert Counter(entry["name"] for entry in GOLDEN) == dict.fromkeys(cases(), 2)
    modes = {entry["payload"][2 * HEADER_SIZE : 2 * HEADER_SIZE + 2] for entry in GOLDEN if "side-info" in entry["name"]}
    assert {"00", "01"} <= modes


def test_the_tiny_packed_mask_by_hand():
    (entry,) = [entry for entry in GOLDEN if entry["name"] == "mask, packed" and sum(entry["layers"]) == 8]
    (byte,) = bytes.fromhex(entry["payload"])[HEADER_SIZE:]
    assert entry["found"]["mask"] == f"{byte:08b}"[::-1]


@pytest.mark.parametrize("entry", [entry for entry in GOLDEN if entry["name"] == "mask, entropy"], ids=named)
def test_entropy_masks_are_read_by_whole_numbers_alone(entry):
    layers, body = entry["layers"], bytes.fromhex(entry["payload"])[HEADER_SIZE:]
    decoder, mask = IntegerRangeDecoder(body[len(layers) :]), []
    for size, byte in zip(layers, body, strict=False):
        frequency = int(FREQUENCIES[byte])
        mask += decoder.symbols(size, edges([65536 - frequency, frequency], 65536))
    assert "".join(map(str, mask)) == entry["found"]["mask"]


@pytest.mark.parametrize(
    "entry", [entry for entry in GOLDEN if entry["codec"] == "sampled" and entry["sort"] == "update"], ids=named
)
def test_a_sampled_mask_is_another_one_for_another_client(entry):
    case = case_from_json(entry)
    other = replace(case, context=replace(case.context, client=case.context.client + 1))
    with pytest.raises(ValueError, match="the mask"):
        other.read(case.payload)
