"""Runs in which some parameters are sent as values beside the mask: trained, averaged, kept, resumed, loaded."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_network
import torch
from loopback_runs import (
    OF_THE_DOWNLINK,
    Dying,
    Noting,
    answer,
    client_of,
    last_checkpoint,
    method,
    payload_of,
    run,
    state_payload,
    total,
    with_faults,
    without,
)
from safetensors.numpy import load_file

import fedgates
from fedgates.errors import ConfigError
from fedgates.federation.setup import prepare
from fedgates.types import Update, pack

SENT = {"model": "tiny_network:build", "gates_sent": "last"}
METHODS = {
    "fedpm": {},
    "fedmask": {},
    "coupled-masks": {},
    "one-bit-gates": {"density_target": 0.5},
}
T = 90
"""Values of the last layer."""


def settings(name, **changes):
    merged = {"strategy": name, **METHODS[name], **SENT, **changes}
    return {
        key.replace("gates_", "gates.").replace("density_", "density.").replace("wire_", "wire."): v
        for key, v in merged.items()
    }


class Keeping(Noting):
    """Keeps what every client sends."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.replies = {}

    def deliver(self, message):
        reply = super().deliver(message)
        if message.metadata.message_type == "train":
            self.replies[client_of(message), len(self.replies)] = state_payload(message), payload_of(reply)
        return reply


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", METHODS)
def test_the_servers_values_are_the_mean_over_clients(raw, name):
    grids = []

    class Grid(Keeping):
        def __init__(self, *args):
            super().__init__(*args)
            grids.append(self)

    config = raw(**settings(name), num_server_rounds=1, partition="dirichlet")
    folder = run(config, 3, Grid)
    codec = method(**{key: value for key, value in config.items() if key != "output-dir"}).codec
    updates = {}
    for (client, _), (state, payload) in grids[0].replies.items():
        updates[client] = codec.unpack_update(payload, codec.unpack_state(state), client)
    weights = grids[0].contexts
    assert len(updates) == len(weights) == 3
    tails = np.stack([updates[client].tail for client in sorted(updates)])
    assert tails.shape == (3, T)
    assert len({tail.tobytes() for tail in tails}) == 3
    kept = load_file(last_checkpoint(folder))["tail"]
    line = folder.round_log.read()[0]
    low, high = tails.min(0), tails.max(0)
    assert ((kept >= low - 1e-6) & (kept <= high + 1e-6)).all()
    assert line["clients_counted"] == 3
    assert "mask and tail, side-info, float32" in line["uplink"]


def test_the_mean_is_weighted_by_examples():
    own = method(**settings("fedpm"))
    state, size = own.initial_state(), own.network.size
    random = np.random.default_rng(0)
    tails = random.normal(size=(3, T)).astype(np.float32)
    updates = [
        Update(pack(random.random(size) < 0.5), tail=tail, num_examples=n, client=i)
        for i, (tail, n) in enumerate(zip(tails, (1, 2, 5), strict=True))
    ]
    new = own.next_state(state, iter(updates), 1)
    assert np.allclose(new.tail, (tails * np.array([[1], [2], [5]])).sum(0) / 8, atol=1e-6)
    assert new.trials == 3
    assert np.array_equal(new.votes, sum(update.gates(size).astype(np.uint32) for update in updates))


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("downlink", ["relay", "votes"])
@pytest.mark.parametrize("uplink", ["side-info", "sampled", "packed", "entropy"])
def test_every_codec_leads_to_a_state_that_both_ends_have(raw, uplink, downlink):
    changes = {"uplink": uplink, "downlink": downlink, "wire_value_type": "float32"}
    folder = run(raw(**settings("fedpm", **changes), num_server_rounds=3), 3)
    lines = folder.round_log.read()
    assert [line["clients_counted"] for line in lines] == [3, 3, 3]
    assert not any(line["rejected"] or line["failed"] for line in lines)


def test_values_of_half_the_width_take_half_the_bytes(raw):
    bytes_up = {}
    for value_type in ("float32", "float16"):
        folder = run(raw(**settings("coupled-masks", **{"wire.value-type": value_type}), num_server_rounds=1), 2)
        bytes_up[value_type] = total(folder.round_log.read()[0]["uplink"])
    assert 2 * T * 2 - 40 < bytes_up["float32"] - bytes_up["float16"] < 2 * T * 2 + 40


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_the_values_that_it_had(raw, tmp_path):
    config = raw(**settings("coupled-masks"), num_server_rounds=4)
    whole = run(config, 3)
    with pytest.raises(KeyboardInterrupt):
        run(raw(**settings("coupled-masks"), num_server_rounds=4, output_dir=str(tmp_path / "stopped")), 3, Dying)
    (stopped,) = (tmp_path / "stopped").iterdir()
    resumed = run(raw(**settings("coupled-masks"), num_server_rounds=4, resume=str(stopped)), 3)
    assert last_checkpoint(resumed).read_bytes() == last_checkpoint(whole).read_bytes()
    assert without(resumed.round_log.read(), *OF_THE_DOWNLINK) == without(whole.round_log.read(), *OF_THE_DOWNLINK)


@pytest.mark.slow
@pytest.mark.usefixtures("whole_runs")
def test_the_model_file_has_mask_and_values(raw):
    folder = run(raw(**settings("fedpm"), num_server_rounds=2), 3)
    model = fedgates.load(folder.path / "model.fedgates", network=tiny_network.build)
    kept = load_file(last_checkpoint(folder))
    state = model.network.state_dict()
    last = torch.cat([state["3.weight"].flatten(), state["3.bias"]]).numpy()
    assert last.tobytes() == kept["tail"].tobytes()
    frozen = method(**settings("fedpm")).gates.frozen
    first = torch.cat([state["1.weight"].flatten(), state["1.bias"]])
    assert torch.equal(first.abs() > 0, first == frozen)
    assert 0 < (first != 0).float().mean() < 1


@pytest.mark.slow
def test_what_is_sent_learns_more_than_a_gated_last_layer_of_so_few_units(raw):
    sent, gated = (
        run(raw(**{**settings("coupled-masks"), **changes}, num_server_rounds=6, samples_per_client=0), 4).round_log.read()
        for changes in ({}, {"gates.sent": ""})
    )
    assert sent[-1]["accuracy"] > gated[-1]["accuracy"] + 0.1


@pytest.mark.slow
def test_a_client_with_values_far_from_the_others_is_rejected(raw):
    config = raw(**settings("fedpm", **{"server.max-norm": 3.0}), num_server_rounds=1)
    codec = method(**{key: value for key, value in config.items() if key != "output-dir"}).codec

    def lying(message, reply):
        state = codec.unpack_state(state_payload(message))
        honest = codec.unpack_update(payload_of(reply), state, 0)
        return answer(message, codec.pack_update(replace(honest, tail=honest.tail + 100), state, 0))

    (line,) = run(config, 4, with_faults({(1, 0): lying})).round_log.read()
    assert list(line["rejected"]) == ["0"]
    assert "expected at most server.max-norm = 3 times the median" in line["rejected"]["0"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"wire.value-type": "float16", "gates.sent": ""},
            "wire.value-type = 'float16': expected 'float32': strategy fedpm sends no",
        ),
        (
            {"server.max-norm": 2.0, "gates.sent": ""},
            "server.max-norm = 2.0: expected 0.0: strategy fedpm sends no values without",
        ),
        ({"gates.sent": "4"}, "gates.sent = '4': expected names of parameters or of modules, such as 1.weight"),
        (
            {"privacy.flip-probability": 0.1},
            "privacy.flip-probability = 0.1: expected 0 with gates.sent: values sent beside masks",
        ),
        ({"gates.sent-start": "class-means"}, "gates.sent-start = 'class-means': expected initial, or gates.frozen = given"),
        ({"gates.initial-theta": 0.9}, "gates.initial-theta = 0.9: expected 0.95: gates on random weights start at 0.5"),
        ({"fresh": "last"}, "fresh = 'last': expected '': all parameters are fresh without weights"),
    ],
)
def test_keys_that_do_not_fit_are_a_line(raw, changes, message):
    with pytest.raises(ConfigError) as error:
        prepare(raw(**{**settings("fedpm"), **changes}), None, lambda: 3)
    assert str(error.value).startswith(message)


def test_the_log_and_the_settings_name_what_is_sent(raw, caplog):
    caplog.set_level("INFO")
    folder = run(raw(**settings("fedpm"), num_server_rounds=1), 2)
    assert "in addition to 520 parameters: 90 sent as values (3.weight, 3.bias)" in caplog.text
    assert json.loads((folder.path / "config.json").read_text())["gates.sent"] == "last"
