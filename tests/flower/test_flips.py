"""`flip-probability` through whole runs: what leaves a device, by whose lots, and what is said of it."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
from fedgates.strategies.fedpm import FedPM
from loopback_runs import (
    FEDPM,
    FIRST_NODE,
    SMALL,
    Noting,
    client_of,
    decoded,
    last_checkpoint,
    run,
    run_on,
    state_payload,
    votes_of,
    without,
)
from tiny_network import SMALL_SIZE

from client_app import app
from fedgates import data, rng
from fedgates.config import RunConfig
from fedgates.errors import ConfigError
from fedgates.federation import client
from fedgates.flower.records import METRICS
from fedgates.methods.registry import BUILT_IN, configure
from fedgates.wire.header import peek

NETWORK, D = SMALL | FEDPM | {"downlink": "votes"}, SMALL_SIZE
P = 0.1
TURNED = round(P * 2**32)
WITH_MASKS = {"fedpm", "fedmask", "signsgd"}


class Watching(Noting):
    """Keeps every sound update, and the metrics beside it: ``updates[round, client]``, ``metrics[round, client]``."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.updates, self.metrics = {}, {}

    def deliver(self, message):
        reply = super().deliver(message)
        if message.metadata.message_type == "train":
            key = peek(state_payload(message)).server_round, client_of(message)
            strategy = self.contexts[message.metadata.dst_node_id].run_config["strategy"]
            self.updates[key] = decoded(message, reply, **{**NETWORK, "strategy": strategy}).gates(D)
            self.metrics[key] = dict(reply.content.metric_records[METRICS])
        return reply


class Keeping(FedPM):
    """A client remembers the mask that it made."""

    spec = replace(FedPM.spec, memory=("mask",))

    def local_update(self, state, task):
        update = super().local_update(state, task)
        return replace(update, memory={"mask": update.gates(D).astype(np.float32)})


def watched(raw, node_configs=None, **changes):
    """A run of three clients: what they sent, and the run's folder."""
    config = raw(**changes)
    grid = Watching(app, config, 3, node_configs=node_configs)
    return grid, run_on(grid, config)


# --- simulated clients


def test_uploads_are_those_without_it_turned_over_by_the_clients_lots(raw):
    plain, _ = watched(raw, num_server_rounds=1)
    grid, folder = watched(raw, num_server_rounds=1, flip_probability=P)
    assert sorted(grid.updates) == [(1, 0), (1, 1), (1, 2)]
    for (server_round, name), sent in grid.updates.items():
        turned = sent ^ plain.updates[server_round, name]
        assert abs(turned.mean() - P) < 4 * (P * (1 - P) / D) ** 0.5
        assert (turned == (rng.flip_lots(D, 1, server_round=server_round, client=name) < TURNED)).all()
    assert (votes_of(folder) == sum(sent.astype(np.uint32) for sent in grid.updates.values())).all()


def test_lots_are_of_the_seed_the_round_and_the_client_and_not_those_of_the_masks():
    drawn = {
        (seed, server_round, name): rng.flip_lots(1000, seed, server_round=server_round, client=name)
        for seed in (1, 2)
        for server_round in (1, 2)
        for name in (0, 1)
    }
    assert len({lots.tobytes() for lots in drawn.values()}) == 8
    coins = rng.coins(1000, 1, server_round=1, client=0)
    assert not set(drawn[1, 1, 0].tolist()) & set(coins.tolist())
    below = np.mean([(lots < TURNED).mean() for lots in drawn.values()])
    assert below == pytest.approx(P, abs=4 * (P * (1 - P) / 8000) ** 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fedpm", "signsgd"])
def test_a_simulated_run_repeats_byte_for_byte(raw, strategy):
    changes = {"strategy": strategy, "flip_probability": P, "num_server_rounds": 3}
    one, other = run(raw(**changes), 3), run(raw(**changes), 3)
    assert last_checkpoint(one).read_bytes() == last_checkpoint(other).read_bytes()
    assert without(one.round_log.read()) == without(other.round_log.read())
    plain = run(raw(strategy=strategy, num_server_rounds=3), 3)
    assert last_checkpoint(one).read_bytes() != last_checkpoint(plain).read_bytes()


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("changes", [{"uplink": "packed"}, {"uplink": "entropy"}, {"downlink": "relay"}], ids=str)
def test_how_a_mask_is_coded_does_not_matter(raw, changes):
    same = {"flip_probability": P, "num_server_rounds": 3, "trim": 0.34}
    one, other = run(raw(**same), 3), run(raw(**same, **changes), 3)
    assert last_checkpoint(one).read_bytes() == last_checkpoint(other).read_bytes()


@pytest.mark.slow
def test_it_still_learns(raw):
    line = run(raw(num_server_rounds=6, samples_per_client=100, local_epochs=3, flip_probability=P), 10).round_log.read()[-1]
    assert line["accuracy"] > 0.8


# --- devices with data of their own


@pytest.fixture
def devices(tmp_path):
    """Node configs of three devices, one of which says that it is a part of a simulation, too."""
    train = data.load(RunConfig()).train
    nodes = []
    for i in range(3):
        path = tmp_path / f"{i}.npz"
        part = slice(40 * i, 40 * i + 40)
        np.savez(path, x_train=train.x[part], y_train=train.y[part])
        nodes.append({"data-path": str(path), "partition-id": i})
    return [*nodes[:2], nodes[2] | {"num-partitions": 3}]


def test_a_device_draws_other_lots_each_time_and_never_those_of_the_seed(raw, devices, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("lots that the server can draw again")

    changes = {"samples_per_client": 0, "num_server_rounds": 1}
    plain, _ = watched(raw, devices, **changes)
    monkeypatch.setattr(client, "flip_lots", refuse)
    runs = [watched(raw, devices, flip_probability=P, **changes)[0] for _ in range(2)]
    for key, honest in plain.updates.items():
        turned = [grid.updates[key] ^ honest for grid in runs]
        for one in turned:
            assert abs(one.mean() - P) < 5 * (P * (1 - P) / D) ** 0.5
        assert abs((turned[0] & turned[1]).mean() - P * P) < 5 * (P * P / D) ** 0.5  # as often together as by chance
    by_client = [runs[0].updates[key] ^ plain.updates[key] for key in sorted(plain.updates)]
    assert abs((by_client[0] & by_client[1]).mean() - P * P) < 5 * (P * P / D) ** 0.5


def test_devices_alike_draw_apart(raw, devices):
    _, one = watched(raw, devices, samples_per_client=0, flip_probability=P)
    _, other = watched(raw, devices, samples_per_client=0, flip_probability=P)
    assert last_checkpoint(one).read_bytes() != last_checkpoint(other).read_bytes()
    _, repeated = watched(raw, devices, samples_per_client=0)
    _, again = watched(raw, devices, samples_per_client=0)
    assert last_checkpoint(repeated).read_bytes() == last_checkpoint(again).read_bytes()


# --- what is said


@pytest.mark.parametrize("strategy", ["fedpm", "signsgd"])
def test_a_reply_says_nothing_of_the_data_and_the_ledger_has_nothing_of_it(raw, strategy):
    changes = {"strategy": strategy, "fraction_evaluate": 1.0, "samples_per_client": 50}
    grid, folder = watched(raw, flip_probability=P, **changes)
    assert len(grid.metrics) == 6
    for metrics in grid.metrics.values():
        assert set(metrics) == {"num-examples", "seconds"}
        assert metrics["num-examples"] == 1
    for line in folder.round_log.read():
        assert line["train_loss"] is None
        assert "train_accuracy" not in line
    plain, folder = watched(raw, **changes)
    assert {metrics["num-examples"] for metrics in plain.metrics.values()} == {40}
    assert all(line["train_loss"] > 0 for line in folder.round_log.read())


def test_the_log_says_what_it_is_worth(raw, caplog):
    caplog.set_level("INFO", logger="fedgates")
    run(raw(flip_probability=P, num_server_rounds=1), 2)
    (said,) = [record.getMessage() for record in caplog.records if "epsilon" in record.getMessage()]
    assert said.startswith(
        f"privacy.flip-probability = 0.1: local epsilon 2.197 a bit, {log(9) * D:,.0f} for all bits of a mask, each round"
    )
    caplog.clear()
    run(raw(num_server_rounds=1), 2)
    assert "epsilon" not in caplog.text


def test_what_a_client_remembers_is_not_turned_over(raw):
    config = raw(strategy="test_flips:Keeping", flip_probability=P, num_server_rounds=1)
    grid = Watching(app, config, 2)
    run_on(grid, config)
    for name in (0, 1):
        (kept,) = grid.contexts[FIRST_NODE + name].state.array_records["memory"].values()
        turned = grid.updates[1, name] ^ kept.numpy().astype(np.uint8)
        assert (turned == (rng.flip_lots(D, 1, server_round=1, client=name) < TURNED)).all()


# --- who takes it


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("strategy", BUILT_IN)
def test_methods_whose_updates_have_values_refuse_it(strategy):
    raw = {"strategy": strategy, "flip-probability": 0.1}
    if strategy in WITH_MASKS:
        assert configure(raw)[1].privacy.flip_probability == 0.1
        return
    with pytest.raises(ConfigError) as error:
        configure(raw)
    assert str(error.value) == f"flip-probability = 0.1: expected 0.0: strategy {strategy} does not use it"


def test_an_uplink_that_does_not_carry_the_masks_own_bits_refuses_it():
    with pytest.raises(ConfigError) as error:
        configure(FEDPM | {"uplink": "sampled", "flip-probability": 0.1})
    expected = "0 with strategy fedpm: uplink sampled does not send the mask's own bits"
    assert str(error.value) == f"privacy.flip-probability = 0.1: expected {expected}"


@pytest.mark.parametrize("value", [-0.1, 0.495, 0.5, 1, float("nan"), True, "0.1"])
def test_a_coin_that_tells_nothing_cannot_be_asked_for(value):
    with pytest.raises(ConfigError, match=r"^flip-probability = .*: expected a number from 0 to 0\.49$"):
        configure(FEDPM | {"flip-probability": value})
