"""Runs of weight methods: float16, masks with values, and updates that nobody asked for."""

import numpy as np
import pytest
from loopback_runs import (
    MLP,
    answer,
    client_of,
    last_checkpoint,
    method,
    payload_of,
    resealed,
    run,
    state_payload,
    total,
    with_faults,
)
from loopback_runs import MLP_SIZE as D
from safetensors.numpy import load_file

from fedgates.types import Update, pack
from fedgates.util.entropy import binary_entropy
from fedgates.wire.header import HEADER_SIZE

NETWORK = MLP
TOP = {"strategy": "top_share:TopShare", "value_type": "float16", "samples_per_client": 60}
ONES = round(0.05 * D)


def weights(folder):
    return load_file(last_checkpoint(folder))["weights"]


@pytest.mark.slow
def test_float16_halves_what_fedavg_sends_and_changes_little_else(raw):
    full = run(raw(strategy="fedavg", learning_rate=0.1, samples_per_client=100, num_server_rounds=4))
    half = run(raw(strategy="fedavg", learning_rate=0.1, samples_per_client=100, num_server_rounds=4, value_type="float16"))
    for one, other in zip(full.round_log.read(), half.round_log.read(), strict=True):
        assert one["uplink"] == {"values, float32": {"messages": 4, "bytes": 4 * (36 + 4 * D)}}
        assert other["uplink"] == {"values, float16": {"messages": 4, "bytes": 4 * (36 + 2 * D)}}
        assert one["downlink"] == other["downlink"]  # the server's state stays float32
    assert half.round_log.read()[-1]["accuracy"] == pytest.approx(full.round_log.read()[-1]["accuracy"], abs=0.02)
    assert 0 < np.abs(weights(full) - weights(half)).max() < 1e-3


def test_a_mask_with_values_costs_its_mask_and_its_values(raw):
    folder = run(raw(**TOP, num_server_rounds=4))
    for line in folder.round_log.read():
        assert line["clients_counted"] == 4
        ((sort, traffic),) = line["uplink"].items()
        assert sort == "mask and values, side-info, float16"
        mask = traffic["bytes"] / 4 - 36 - 2 * ONES
        assert 0 < mask < 1.02 * binary_entropy(0.05) * D / 8
        assert line["density"] == ONES / D
    losses = [line["loss"] for line in folder.round_log.read()]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("uplink", ["packed", "entropy", "side-info"])
def test_a_mask_with_values_ends_the_same_however_it_is_coded_and_relayed(raw, uplink):
    changes = {**TOP, "num_server_rounds": 3, "uplink": uplink, "fraction_train": 0.6}
    plain, relayed = (run(raw(**changes, downlink=downlink), 5) for downlink in ("votes", "relay"))
    assert weights(plain).tobytes() == weights(relayed).tobytes()
    line = relayed.round_log.read()[-1]
    assert f"relay, {uplink}, float16" in line["downlink"]
    assert total(line["downlink"]) == line["downlink_bytes"] < plain.round_log.read()[-1]["downlink_bytes"]


def test_a_relay_of_weights_is_the_same_weights(raw):
    # one client a round, in float16: only then are dense updates smaller than the state
    changes = {"strategy": "fedavg", "value_type": "float16", "fraction_train": 0.4, "num_server_rounds": 6}
    relayed = run(raw(**changes, downlink="relay", min_clients=2), 2)
    plain = run(raw(**changes, min_clients=2), 2)
    lines = relayed.round_log.read()
    assert [line["clients_counted"] for line in lines] == [1] * 6
    assert {"relay, float16", "values, float32"} == {sort for line in lines for sort in line["downlink"]}
    assert weights(relayed).tobytes() == weights(plain).tobytes()
    for line in lines:
        assert line["downlink"].get("relay, float16", {"bytes": 0})["bytes"] in (0, 36 + 4 + 5 + 24 + 2 * D)


# --- what they take


def sent(update, **changes):
    """An honest client's payload is replaced by another of a run with these keys."""

    def fault(message, reply):
        codec = method(**NETWORK, **changes).codec
        known = codec.unpack_state(state_payload(message))
        return answer(message, codec.pack_update(update, known, client_of(message)))

    return fault


def sparse(*ones):
    """A sound update of a mask with values, which dense FedAvg does not take."""
    mask = np.isin(np.arange(D), ones)
    return sent(Update(pack(mask), np.full(len(ones), 3.0, dtype=np.float32)), strategy="top_share:TopShare")


def not_finite(message, reply):
    data = bytearray(payload_of(reply))
    data[HEADER_SIZE : HEADER_SIZE + 4] = np.float32("nan").tobytes()
    return answer(message, resealed(data))


ALL = np.ones(D, dtype=np.float32)
FAULTS = [
    (sparse(), "a payload of mask and values, side-info, float32, expected values, float32"),
    (sparse(5), "a payload of mask and values, side-info, float32, expected values, float32"),
    (
        sent(Update(None, ALL), strategy="fedavg", value_type="float16"),
        "a payload of values, float16, expected values, float32",
    ),
    (lambda m, r: answer(m, resealed(payload_of(r)[:-4])), f"a body of {4 * D - 4} bytes, expected {4 * D}"),
    (not_finite, "a value is not finite"),
    (lambda m, r: answer(m, payload_of(r)[:24] + b"\1" + payload_of(r)[25:]), "checksum does not match"),
]


def test_fedavg_takes_nothing_but_what_it_asked_for(raw):
    config = raw(strategy="fedavg", num_server_rounds=1, quorum=0.1)
    faults = {(1, i): fault for i, (fault, _) in enumerate(FAULTS)}
    folder = run(config, len(FAULTS) + 2, with_faults(faults))
    (line,) = folder.round_log.read()
    assert line["clients_counted"] == 2
    for i, (_, reason) in enumerate(FAULTS):
        assert line["rejected"][str(i)].startswith(reason)
    silent = run(config, len(FAULTS) + 2, with_faults(dict.fromkeys(faults, lambda m, r: None)))
    assert weights(folder).tobytes() == weights(silent).tobytes()


def test_a_mask_with_too_few_values_or_none_is_rejected(raw):
    of_top = {"strategy": "top_share:TopShare", "uplink": "packed", "value_type": "float16"}
    mask = Update(pack(np.arange(D) < 9), np.ones(9, np.float32))

    def short(message, reply):
        return answer(message, resealed(payload_of(sent(mask, **of_top)(message, reply))[:-2]))

    faults = {(1, 1): short, (1, 2): sent(Update(mask.mask), **of_top)}
    (line,) = run(raw(**TOP, uplink="packed", num_server_rounds=1), 4, with_faults(faults)).round_log.read()
    assert line["rejected"] == {
        "1": f"a body of {-(-D // 8) - 2} bytes, expected {-(-D // 8)}",
        "2": "a payload of mask, packed, expected mask and values, packed, float16",
    }
    assert line["clients_counted"] == 2
