"""`uplink` and `downlink` through whole runs: what is lossless ends in the same bytes, and each costs what it says."""

from functools import cache

import pytest
from loopback_runs import FEDPM, MLP, Noting, Reversed, last_checkpoint, run, total, without
from loopback_runs import MLP_SIZE as D

NETWORK = MLP | FEDPM
LOSSLESS = ["side-info", "entropy", "packed"]
DOWNLINKS = ["delta", "float32", "relay", "votes"]
OF_THE_WIRE = {"uplink", "uplink_bytes", "uplink_bpp", "downlink", "downlink_bytes", "downlink_bpp"}


@pytest.fixture(scope="module")
def ended(shared_raw):
    """A run of three rounds by its uplink, downlink and fraction-train: its last checkpoint, and its lines."""

    @cache
    def end(uplink, downlink, fraction, strategy="fedpm"):
        raw = shared_raw(strategy=strategy, uplink=uplink, downlink=downlink, fraction_train=fraction, num_server_rounds=3)
        folder = run(raw, clients=5)
        return last_checkpoint(folder).read_bytes(), folder.round_log.read()

    return end


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("fraction", [1.0, 0.4])
@pytest.mark.parametrize("downlink", DOWNLINKS)
@pytest.mark.parametrize("uplink", LOSSLESS)
def test_a_lossless_pair_changes_what_travels_and_nothing_else(ended, uplink, downlink, fraction):
    checkpoint, lines = ended(uplink, downlink, fraction)
    expected, plain = ended("packed", "votes", fraction)
    assert checkpoint == expected
    assert without(lines, *OF_THE_WIRE) == without(plain, *OF_THE_WIRE)  # entropy_bpp and density among them
    for line in lines:
        assert total(line["uplink"]) == line["uplink_bytes"]
        assert total(line["downlink"]) == line["downlink_bytes"]
        assert line["uplink_bpp"] == pytest.approx(8 * line["uplink_bytes"] / (5 * fraction * D))
        assert {sort: traffic["messages"] for sort, traffic in line["uplink"].items()} == {f"mask, {uplink}": 5 * fraction}
        assert sum(traffic["messages"] for traffic in line["downlink"].values()) == 5 * fraction
    sorts = {sort for line in lines for sort in line["downlink"]}
    deltas = {"votes", "delta, votes"}
    expected = {"votes": {"votes"}, "float32": {"votes, float32"}, "delta": deltas, "relay": deltas | {f"relay, {uplink}"}}
    assert sorts <= expected[downlink]
    assert "delta, votes" in sorts or downlink not in {"delta", "relay"}


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("downlink", DOWNLINKS)
@pytest.mark.parametrize("uplink", LOSSLESS)
def test_coupled_masks_do_not_depend_on_the_codecs(ended, uplink, downlink):
    checkpoint, lines = ended(uplink, downlink, 0.4, "coupled-masks")
    expected, plain = ended("packed", "votes", 0.4, "coupled-masks")
    assert checkpoint == expected
    assert without(lines, *OF_THE_WIRE) == without(plain, *OF_THE_WIRE)


@pytest.mark.parametrize("fraction", [1.0, 0.4])
def test_what_a_bit_and_a_float_a_gate_cost(ended, fraction):
    _, lines = ended("packed", "float32", fraction)
    clients = round(5 * fraction)
    assert [line["uplink_bytes"] for line in lines] == [clients * (36 + -(-D // 8))] * 3
    assert [line["downlink_bytes"] for line in lines] == [clients * (36 + 4 * D)] * 3


@pytest.mark.slow
def test_votes_are_far_below_floats_and_a_relay_is_never_above_a_delta(ended):
    for uplink in LOSSLESS:
        for fraction in (1.0, 0.4):
            floats, votes, delta, relay = (
                ended(uplink, downlink, fraction)[1] for downlink in ("float32", "votes", "delta", "relay")
            )
            assert all(one["downlink_bytes"] < other["downlink_bytes"] / 8 for one, other in zip(votes, floats, strict=True))
            for less, more in ((relay, delta), (delta, votes)):
                assert all(one["downlink_bytes"] <= other["downlink_bytes"] for one, other in zip(less, more, strict=True))


@pytest.mark.slow
def test_each_uplink_is_smaller_than_the_one_before_and_far_below_the_literatures_entropy(raw):
    changes = {"samples_per_client": 100, "local_epochs": 3, "num_server_rounds": 4}
    lines = {uplink: run(raw(**changes, uplink=uplink)).round_log.read() for uplink in (*reversed(LOSSLESS), "sampled")}
    for packed, entropy, side_info, sampled in zip(*lines.values(), strict=True):
        assert packed["uplink_bytes"] == 4 * (36 + -(-D // 8))
        assert entropy["uplink_bpp"] < entropy["entropy_bpp"] + 0.01
        assert side_info["uplink_bpp"] < 0.5 < side_info["entropy_bpp"] - 0.45
        assert sampled["uplink_bpp"] < 0.6 * side_info["uplink_bpp"]
    assert lines["sampled"][-1]["accuracy"] > lines["side-info"][-1]["accuracy"] - 0.1


@pytest.mark.slow
def test_more_extra_bits_cost_more(raw):
    bytes_of = {
        extra: run(raw(uplink="sampled", sampled_extra_bits=extra, num_server_rounds=1)).round_log.read()[0]["uplink_bytes"]
        - 4 * 36
        for extra in (0.0, 4.0, 6.0)
    }
    # blocks of 8 - t bits of divergence, a byte each; three frequencies of a level beside them
    assert bytes_of[4.0] == pytest.approx(2 * bytes_of[0.0], rel=0.1)
    assert bytes_of[6.0] == pytest.approx(4 * bytes_of[0.0], rel=0.1)


@pytest.mark.parametrize("fraction", [1.0, 0.6])
@pytest.mark.slow
def test_sampled_and_relayed_runs_repeat_whatever_order_replies_come_in(raw, fraction):
    config = raw(uplink="sampled", downlink="relay", num_server_rounds=3, fraction_train=fraction, round_timeout=60.0)
    grids = []

    def noting(kind):
        def make(*args, **kwargs):
            grids.append(kind(*args, **kwargs))
            return grids[-1]

        return make

    one, again, other = (run(config, 5, noting(kind)) for kind in (Noting, Noting, Reversed))
    assert "relay, sampled" in one.round_log.read()[2]["downlink"]
    for folder, grid in ((again, grids[1]), (other, grids[2])):
        assert last_checkpoint(folder).read_bytes() == last_checkpoint(one).read_bytes()
        assert without(folder.round_log.read()) == without(one.round_log.read())
        assert grid.states == grids[0].states  # every payload, byte for byte


@pytest.mark.slow
def test_a_sampled_run_is_the_same_whatever_the_downlink(raw):
    ends = {}
    for downlink in DOWNLINKS:
        folder = run(raw(uplink="sampled", downlink=downlink, num_server_rounds=3, fraction_train=0.6), 5)
        ends[last_checkpoint(folder).read_bytes()] = without(
            folder.round_log.read(), "downlink", "downlink_bytes", "downlink_bpp"
        )
    assert len(ends) == 1
