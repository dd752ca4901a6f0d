"""Coupled masks: the client's step by hand, the server's rule against its definition, and whole runs."""

import math

import numpy as np
import pytest
import torch
from configs import config_of
from fedgates.strategies.coupled_masks import CoupledMasks, CoupledMasksConfig, half_of
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fedgates import rng
from fedgates.config import parse
from fedgates.errors import ConfigError
from fedgates.methods.registry import configure
from fedgates.methods.training import Task
from fedgates.nn.network import Network
from fedgates.types import Update, Votes, pack

WIDTH = 30


def method(module=None, **config):
    """By default four gates: the weights of class 0 and 1 for one pixel, then their biases."""
    settings = config_of(CoupledMasksConfig, **{"strategy": "coupled-masks", **config})
    return CoupledMasks(settings, Network(module or nn.Sequential(nn.Flatten(), nn.Linear(1, 2))))


def votes(*counts, trials):
    return Votes(np.array(counts, dtype=np.uint32), trials)


def one_image(server_round=1, client=0):
    """Of class 0; its one pixel is 1 for the network."""
    return Task(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8), torch.tensor([0]), server_round, client)


# --- the client's rule


@pytest.mark.parametrize("prior", [0.0, 0.5])
def test_one_step_of_sgd_by_hand(sent, prior):
    rho = 0.7
    found = method(**{"coupled-masks.score-learning-rate": rho, "coupled-masks.class-prior": prior}, local_epochs=1)
    found.local_update(found.initial_state(), one_image())
    w = found.gates.frozen.double().numpy()
    logits = np.array([w[0] + w[2], w[1] + w[3]]) * 0.5  # the mean network at theta = .5
    if prior:
        logits = logits + np.log([(1 + prior) / (1 + 2 * prior), prior / (1 + 2 * prior)])
    p = np.exp(logits) / np.exp(logits).sum()
    gradient = np.array([p[0] - 1, p[1], p[0] - 1, p[1]])
    scores = -rho * gradient * w * 0.25
    assert sent[0].tolist() == pytest.approx((1 / (1 + np.exp(-scores))).tolist(), abs=1e-6)


def test_steps_are_clipped(sent):
    found = method(**{"coupled-masks.score-learning-rate": 1e6, "coupled-masks.max-step": 0.25}, local_epochs=1)
    found.local_update(found.initial_state(), one_image())
    helps = (found.gates.frozen > 0) == torch.tensor([True, False, True, False])
    step = 1 / (1 + math.exp(-0.25))
    assert sent[0].tolist() == pytest.approx([step if good else 1 - step for good in helps], abs=1e-6)


def test_the_rate_falls_to_the_final_one(sent):
    keys = {"coupled-masks.score-learning-rate": 1.0, "learning-rate-final": 0.01, "num-server-rounds": 3}
    found = method(**keys, local_epochs=1)
    for server_round in (1, 2, 3):
        found.local_update(found.initial_state(), one_image(server_round))
    scores = [float(torch.logit(theta.double())[0]) for theta in sent]
    assert np.divide(scores[1:], scores[:-1]).tolist() == pytest.approx([0.1, 0.1], rel=1e-3)


def test_scores_stay_within_seven(sent):
    found = method(**{"coupled-masks.score-learning-rate": 1e9, "coupled-masks.max-step": 100}, local_epochs=1)
    found.local_update(found.initial_state(), one_image())
    assert torch.logit(sent[0].double()).abs().tolist() == pytest.approx([7.0] * 4, abs=1e-3)


# --- the server's rule


def untrained(found, state, server_round, client):
    """The mask that a client would have sent without training, by the definition."""
    coins = rng.coins(state.size, found.config.seed, server_round=server_round, client=client)
    eps = np.float32(0.001)
    theta = np.clip(state.votes.astype(np.float32) / np.float32(max(1, state.trials)), eps, np.float32(1) - eps)
    theta = theta if state.trials else np.full(state.size, 0.5, dtype=np.float32)
    return coins < theta.astype(np.float64) * 2.0**32


def wide(**config):
    return method(nn.Sequential(nn.Flatten(), nn.Linear(1, WIDTH)), **config)


@pytest.mark.parametrize("state", [votes(*[0, 1, 2] * (2 * WIDTH // 3), trials=2), votes(*[0, 3] * WIDTH, trials=6)])
def test_a_client_that_learns_nothing_changes_nothing(state):
    found = wide(**{"coupled-masks.score-learning-rate": 1e-30})
    for server_round in range(1, 30):
        sent = found.local_update(state, one_image(server_round, client=4))
        assert found.aggregate(state, [Update(sent.mask, client=4)], server_round).votes.tolist() == state.votes.tolist()


@given(st.sampled_from([2, 4, 10]), st.integers(1, 6), st.integers(0, 2**32))
def test_votes_move_by_the_differences_to_the_untrained_masks(trials, clients, seed):
    found, draw = wide(), np.random.default_rng(seed)
    state = Votes(draw.integers(0, trials, 2 * WIDTH, endpoint=True).astype(np.uint32), trials)
    names = draw.permutation(50)[:clients].tolist()
    without = [untrained(found, state, 3, name) for name in names]
    sent = [mask ^ (draw.random(2 * WIDTH) < 0.4) for mask in without]
    updates = [Update(pack(mask), client=name) for mask, name in zip(sent, names, strict=True)]
    moved = sum(mask.astype(int) - before for mask, before in zip(sent, without, strict=True))
    before = state.votes.tolist()
    after = found.aggregate(state, iter(updates), 3)
    assert after.votes.tolist() == np.clip(before + moved, 0, trials).tolist()
    assert (after.trials, after.votes.dtype) == (trials, np.uint32)
    assert found.aggregate(state, updates[::-1], 3).votes.tolist() == after.votes.tolist()
    assert state.votes.tolist() == before


@given(st.integers(1, 9), st.integers(0, 2**32))
def test_trimmed_differences_are_those_of_sorted_ones(clients, seed):
    found, draw = wide(trim=0.25), np.random.default_rng(seed)
    state = votes(*[20] * 2 * WIDTH, trials=40)
    sent = draw.random((clients, 2 * WIDTH)) < 0.5
    differences = np.sort([mask.astype(int) - untrained(found, state, 5, k) for k, mask in enumerate(sent)], axis=0)
    dropped = clients // 4
    kept = differences[dropped : clients - dropped]
    after = found.aggregate(state, [Update(pack(mask), client=k) for k, mask in enumerate(sent)], 5)
    assert after.votes.tolist() == (20 + kept.sum(0)).tolist()


def test_the_expected_change_is_that_of_theta():
    # common random numbers: over many rounds the mean of m - m0 is theta_k - theta
    found, theta = wide(), np.linspace(0.05, 0.95, 2 * WIDTH)
    state = votes(*[1] * 2 * WIDTH, trials=2)
    total = np.zeros(2 * WIDTH)
    for server_round in range(1, 2001):
        coins = rng.coins(state.size, 1, server_round=server_round, client=3)
        after = found.aggregate(state, [Update(pack(coins < theta * 2.0**32), client=3)], server_round)
        total += after.votes.astype(int) - 1
    assert np.abs(total / 2000 - (theta - 0.5)).max() < 5 * math.sqrt(0.25 / 2000)


@pytest.mark.parametrize(("key", "clients", "trials"), [(0, 4, 2), (0, 10, 6), (0, 1, 2), (0, 20, 10), (6, 4, 6), (2, 20, 2)])
def test_the_first_round_sets_the_trials(key, clients, trials):
    found = wide(**{"coupled-masks.trials": key})
    state = found.initial_state()
    assert (state.trials, set(found.theta(state).tolist())) == (0, {0.5})
    updates = [Update(pack(untrained(found, state, 1, client)), client=client) for client in range(clients)]
    after = found.aggregate(state, updates, 1)
    assert (after.trials, set(after.votes.tolist())) == (trials, {trials // 2})
    assert found.aggregate(after, updates[:1], 2).trials == trials


def test_the_default_is_half_the_clients_of_a_round_as_an_even_number():
    assert [half_of(k) for k in (1, 2, 4, 7, 8, 12, 16, 100)] == [2, 2, 2, 4, 4, 6, 8, 50]
    for k in range(1, 300):
        found = half_of(k)
        assert found % 2 == 0
        assert 0 <= found - k / 2 < 2


# --- settings


@pytest.mark.parametrize(
    ("key", "value"),
    [("learning-rate", 0.3), ("logit-adjustment", 0.5), ("privacy.flip-probability", 0.1), ("wire.sampled-extra-bits", 2.0)],
)
def test_keys_that_do_not_apply(key, value):
    with pytest.raises(ConfigError, match=f"^{key} = .*: strategy coupled-masks does not use it"):
        parse(CoupledMasksConfig, {"strategy": "coupled-masks", key: value})


def test_sampled_masks_are_not_coupled():
    with pytest.raises(ConfigError, match="the masks of strategy coupled-masks are not samples"):
        configure({"strategy": "coupled-masks", "uplink": "sampled"})


@pytest.mark.parametrize("trials", [1, 3, 7])
def test_odd_trials_are_refused(trials):
    with pytest.raises(ConfigError, match=rf"^coupled-masks\.trials = {trials}: expected an even number"):
        wide(**{"coupled-masks.trials": trials})
