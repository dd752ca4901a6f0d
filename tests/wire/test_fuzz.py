"""A short run of the fuzz; README.md in tests/ has the command and the table of a long one."""

import random
from dataclasses import replace

import pytest
from damage import resealed, with_field
from fuzz import RoundRecord, forged, fuzz, judge, table
from wire_cases import cases

from fedgates.wire.header import HEADER_SIZE

SOUND = cases()


@pytest.mark.parametrize("name", SOUND)
def test_mutated_payloads_are_refused_or_valid(name):
    tally = fuzz(name, 250, seed=1)
    assert tally.rejected + tally.accepted == 250
    assert tally.rejected > 100
    assert tally.rejected == tally.reasons.total()
    assert name in table([tally])


def test_what_is_let_through_though_it_should_not_be_is_found():
    case = SOUND["mask, packed"]
    with pytest.raises(AssertionError, match="a damaged payload was let through"):
        judge(case, case.payload, RoundRecord(""), fits=False)
    lax = replace(case, name="lax", codec="entropy", payload=b"")
    object.__setattr__(lax, "read", case.read)  # a reader of what its encoder does not write
    with pytest.raises(AssertionError, match="not what an encoder writes"):
        judge(lax, case.payload, RoundRecord(""), fits=True)


@pytest.mark.parametrize("name", ["mask, packed", "mask, sampled", "votes of 10, float32", "weights", "relay of mask, packed"])
def test_a_forger_gets_past_the_crc_of_the_content(name):
    case, draw = SOUND[name], random.Random(3)
    past = 0
    for _ in range(50):
        data = bytearray(case.payload)
        data[draw.randrange(HEADER_SIZE, len(data))] ^= 1
        tally = RoundRecord(name)
        judge(case, forged(case, resealed(bytes(data))), tally, fits=True)
        past += tally.accepted
    assert past > 0


def test_forging_a_sound_payload_changes_nothing():
    for case in SOUND.values():
        assert forged(case, case.payload) == case.payload
        if case.kind != "values" and case.sort == "update":
            assert forged(case, with_field(case.payload, "check", 0)) == case.payload
