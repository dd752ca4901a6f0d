import math

import numpy as np
import pytest
import torch
from configs import config_of
from fedgates.strategies.fedpm import FedPM, FedPMConfig
from fedgates.strategies.one_bit_gates import OneBitGates, OneBitGatesConfig
from loopback_runs import last_checkpoint, run
from safetensors.numpy import load_file
from torch import nn

from fedgates.errors import ConfigError
from fedgates.methods.metrics import MaskCounts
from fedgates.methods.training import Task
from fedgates.nn.network import Network
from fedgates.types import Update, Votes, pack


def method(module=None, **config):
    settings = {"strategy": "one-bit-gates", "target_density": 0.25, "dual_learning_rate": 2.0, **config}
    return OneBitGates(
        config_of(OneBitGatesConfig, **settings), Network(module or nn.Sequential(nn.Flatten(), nn.Linear(1, 2)))
    )


def votes(*counts, trials=1, multiplier=0.0):
    return Votes(np.array(counts, dtype=np.uint32), trials, (multiplier,))


def update(*mask):
    return Update(mask=pack(np.array(mask, dtype=bool)))


def images(size=1, count=1, server_round=1):
    x = torch.randint(0, 256, (count, 1, 1, size), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    return Task(x, torch.arange(count) % 2, server_round, client=6)


def test_the_first_state_knows_nothing():
    first = method().initial_state()
    assert (first.votes.tolist(), first.trials, first.scalars) == ([0] * 4, 0, (0.0,))


def test_it_wants_a_density():
    with pytest.raises(ConfigError, match=r"^target-density = 0\.0: expected a share above 0: strategy one-bit-gates"):
        method(target_density=0.0)


# --- the client's rule


def test_the_clip_falls_geometrically():
    found = config_of(OneBitGatesConfig, target_density=0.1, initial_eps=0.1, eps=0.001, num_server_rounds=3)
    assert [found.clip(server_round) for server_round in (1, 2, 3, 4)] == pytest.approx([0.1, 0.01, 0.001, 0.001])
    assert config_of(OneBitGatesConfig, target_density=0.1, initial_eps=0.1, eps=0.001, num_server_rounds=1).clip(
        1
    ) == pytest.approx(0.001)


@pytest.mark.parametrize(("server_round", "expected"), [(1, 0.1), (2, 0.01), (3, 0.001)])
def test_a_client_starts_from_the_clip_of_its_round(server_round, expected):
    found = method(num_server_rounds=3, local_epochs=1, learning_rate=1e-9)
    sent = found.local_update(votes(0, 4, 2, 1, trials=4), images(server_round=server_round))
    assert sent.theta.tolist() == pytest.approx([expected, 1 - expected, 0.5, max(expected, 0.25)])


@pytest.mark.parametrize("penalty", [0.0, 0.5])
def test_without_a_bonus_it_is_fedpm_with_the_multiplier_for_a_penalty(penalty):
    module = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    task, shared = images(3, 8), {"batch_size": 3, "eps": 0.01, "seed": 4}
    counts = (0, 1, 2, 3, 3, 2, 1, 0)
    ours = method(module, initial_eps=0.01, **shared).local_update(votes(*counts, trials=3, multiplier=penalty), task)
    other = FedPM(
        config_of(FedPMConfig, **shared, density_penalty=penalty), Network(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)))
    )
    theirs = other.local_update(Votes(np.array(counts, dtype=np.uint32), 3), task)
    assert ours.theta.tolist() == pytest.approx(theirs.theta.tolist(), abs=1e-4)
    assert ours.mask.tolist() == theirs.mask.tolist()
    assert ours.metrics["loss"] == pytest.approx(theirs.metrics["loss"])


@pytest.mark.parametrize(("bonus", "moves"), [(1e6, -0.1), (-1e6, 0.1)])
def test_a_bonus_moves_gates_to_a_half_or_away_from_it(bonus, moves):
    # so large that Adam's first step, the learning rate times the sign of the gradient, is the bonus's
    found = method(local_epochs=1, entropy_bonus=bonus, num_server_rounds=2)
    sent = found.local_update(votes(3, 3, 1, 1, trials=4), images())
    expected = [math.log(3) + moves] * 2 + [-math.log(3) - moves] * 2
    assert torch.tensor(sent.theta).logit().tolist() == pytest.approx(expected, abs=1e-4)


def test_the_multiplier_shuts_gates():
    sent = method(local_epochs=1).local_update(votes(1, 1, 1, 1, trials=2, multiplier=1e6), images())
    assert torch.tensor(sent.theta).logit().tolist() == pytest.approx([-0.1] * 4, abs=1e-4)


# --- the server's rule


def test_the_server_by_hand():
    # three of eight bits are 1
    found = method().aggregate(votes(9, 9, 9, 9, trials=9, multiplier=0.5), [update(1, 0, 1, 0), update(1, 0, 0, 0)], 1)
    assert (found.votes.tolist(), found.trials) == ([2, 0, 1, 0], 2)
    assert found.scalars == (0.5 + 2 * (0.375 - 0.25),)


def test_the_dual_step_sees_the_masks_of_its_round_alone():
    found = method(fraction_train=0.5).aggregate(votes(4, 4, 4, 4, trials=4, multiplier=0.5), [update(1, 0, 1, 0)], 2)
    assert (found.votes.tolist(), found.trials) == ([5, 4, 5, 4], 5)
    assert found.scalars == (0.5 + 2 * (0.5 - 0.25),)


def test_the_multiplier_restarts_when_the_density_is_met():
    masks = [update(1, 0, 0, 0)]
    assert method().aggregate(votes(0, 0, 0, 0, multiplier=7.0), masks, 1).scalars == (0.0,)
    assert method(dual_restart=False).aggregate(votes(0, 0, 0, 0, multiplier=7.0), masks, 1).scalars == (7.0,)


def test_its_own_dual_learning_rate():
    found = method(dual_learning_rate=0.0).aggregate(votes(0, 0, 0, 0), [update(1, 1, 0, 0)], 1)
    assert found.scalars == (20 * 0.25,)


def test_no_masks_leave_the_multiplier():
    before = votes(1, 2, 3, 4, trials=4, multiplier=3.0)
    found = method(fraction_train=0.5).aggregate(before, [], 2)
    assert (found.votes.tolist(), found.trials, found.scalars) == ([1, 2, 3, 4], 4, (3.0,))
    assert method().aggregate(before, [], 1).scalars == (3.0,)  # where votes before it are forgotten


# --- what it stands for


def test_evaluation_has_both_densities_and_a_round_its_multiplier():
    found, task = method(), images()
    before = votes(1, 2, 3, 4, trials=4, multiplier=1.5)
    metrics = found.evaluate(before, task)
    assert (metrics["model_density"], metrics["expected_density"]) == (0.5, 0.625)
    assert found.round_metrics(before, before, MaskCounts(4)) == {"multiplier": 1.5}


# --- through the wire


@pytest.mark.slow
@pytest.mark.parametrize("uplink", ["side-info", "sampled"])
def test_a_run_through_the_wire(raw, uplink):
    settings = {"strategy": "one-bit-gates", "target_density": 0.3, "num_server_rounds": 3, "uplink": uplink}
    folder = run(raw(**settings))
    lines = folder.round_log.read()
    assert [line["clients_counted"] for line in lines] == [4, 4, 4]
    lam = 0.0
    for line in lines:  # the ledger's density is that of the round's masks
        lam = 20 * (line["density"] - 0.3) + lam
        assert line["multiplier"] == pytest.approx(lam)
    assert lines[-1]["density"] < lines[0]["density"]


@pytest.mark.slow
def test_clients_that_are_sent_masks_find_the_multiplier_themselves(raw):
    settings = {"strategy": "one-bit-gates", "target_density": 0.3, "num_server_rounds": 3}
    first, second = (load_file(last_checkpoint(run(raw(**settings, downlink=kind)))) for kind in ("relay", "votes"))
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.slow
@pytest.mark.parametrize(("density", "accuracy"), [(0.1, 0.85), (0.3, 0.88)])
def test_it_holds_its_density_with_a_fifth_of_the_clients(raw, density, accuracy):
    asked = {"num_server_rounds": 30, "local_epochs": 3, "samples_per_client": 0, "fraction_train": 0.2}
    last = run(
        raw(strategy="one-bit-gates", target_density=density, evaluations="threshold", **asked), clients=20
    ).round_log.read()[-1]
    assert last["model_density"] == pytest.approx(density, abs=0.02)
    assert last["accuracy"] > accuracy
