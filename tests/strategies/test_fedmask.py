import math

import numpy as np
import pytest
import torch
from configs import config_of
from fedgates.strategies.fedmask import FedMask, FedMaskConfig
from fedgates.strategies.fedpm import normal_scores
from torch import nn

from client_app import app
from fedgates.config import parse
from fedgates.errors import ConfigError
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.methods.registry import configure
from fedgates.methods.training import Task
from fedgates.nn.network import Network
from fedgates.types import Update, Votes, pack, unpack


def method(module=None, **config):
    """By default four gates: the weights of class 0 and 1 for one pixel, then their biases."""
    settings = config_of(FedMaskConfig, **{"strategy": "fedmask", **config})
    return FedMask(settings, Network(module or nn.Sequential(nn.Flatten(), nn.Linear(1, 2))))


def votes(*counts, trials):
    return Votes(np.array(counts, dtype=np.uint32), trials)


def one_image(server_round=1, client=0):
    """Of class 0; its one pixel is 1 for the network."""
    return Task(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8), torch.tensor([0]), server_round, client)


def helps(found):
    """Where a frozen weight raises logit 0 or lowers logit 1."""
    return ((found.gates.frozen > 0) == torch.tensor([True, False, True, False])).tolist()


# --- the start


def test_scores_start_from_a_standard_normal_that_all_clients_share():
    found = method()
    theta = found.theta(found.initial_state())
    assert torch.allclose(theta, torch.sigmoid(normal_scores(4, seed=1)))
    assert found.initial_state().trials == 0
    assert 0 < sum(theta > 0.5) < 4


def test_later_theta_is_the_mean_of_the_masks():
    assert method().theta(votes(0, 1, 3, 4, trials=4)).tolist() == [0, 0.25, 0.75, 1]


# --- the client's rule


def test_one_adam_step_takes_a_gate_near_its_threshold_across_it_and_no_other():
    # theta .5 +- .01 is a score of +-.04, theta .25 and .75 are -+1.1; Adam's first step is .1 where a weight helps, else -.1
    found = method(local_epochs=1)
    good = helps(found)
    for near, far in ((49, 25), (51, 75)):
        sent = found.local_update(votes(*[near] * 4, trials=100), one_image())
        assert unpack(sent.mask, 4).astype(bool).tolist() == good
        sent = found.local_update(votes(*[far] * 4, trials=100), one_image())
        assert unpack(sent.mask, 4).tolist() == [far > 50] * 4


def test_a_gate_on_which_all_agree_comes_back_only_if_eps_lets_it():
    # at eps .001 its score is -6.9, at .48 it is -.08
    state = votes(0, 0, 0, 0, trials=10)
    sent = method(local_epochs=1, eps=0.001).local_update(state, one_image())
    assert unpack(sent.mask, 4).tolist() == [0, 0, 0, 0]
    found = method(local_epochs=1, eps=0.48)
    assert unpack(found.local_update(state, one_image()).mask, 4).astype(bool).tolist() == helps(found)


def test_no_coin_is_tossed():
    found = method(local_epochs=1, learning_rate=1e-9)
    state = votes(1, 4, 6, 9, trials=10)
    sent = [found.local_update(state, one_image(server_round, client)) for server_round in (1, 2) for client in (0, 1)]
    assert {tuple(unpack(update.mask, 4).tolist()) for update in sent} == {(0, 0, 1, 1)}
    assert all(update.theta is None and update.values is None for update in sent)
    assert not FedMask.spec.samples


def by_hand(found, theta, task, config):
    """The client's rule written out again: float64, Adam spelled out, torch's autograd through the threshold."""
    s, w = (
        torch.logit(torch.tensor(theta, dtype=torch.float64).clamp(config.fedpm.eps, 1 - config.fedpm.eps)),
        found.gates.frozen.double(),
    )
    order = task.generator(config.seed, "batches")
    first, second = torch.zeros_like(s), torch.zeros_like(s)
    x, losses, step = task.x.view(len(task.y), -1).double() / 127.5 - 1, [], 0
    for _ in range(config.local_epochs):
        for batch in torch.randperm(len(x), generator=order).split(config.batch_size):
            step += 1
            s = s.detach().requires_grad_()
            p = torch.sigmoid(s)
            w_run = w * ((p > 0.5).double() + p - p.detach())
            logits = x[batch] @ w_run[: x.shape[1] * 2].view(2, -1).T + w_run[x.shape[1] * 2 :]
            loss = nn.functional.cross_entropy(logits, task.y[batch])
            (loss + config.density.penalty * p.mean()).backward()
            losses.append(loss.item())
            first = 0.9 * first + 0.1 * s.grad
            second = 0.999 * second + 0.001 * s.grad**2
            s = s.detach() - config.learning_rate * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
    return s, sum(losses) / len(losses)


@pytest.mark.parametrize("config", [{}, {"density_penalty": 3.0}, {"learning_rate": 0.5, "batch_size": 2, "seed": 9}], ids=str)
def test_training_is_the_rule_written_out_again(config):
    settings = {"batch_size": 3, "local_epochs": 3, "eps": 0.3, **config}
    found = method(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), **settings)
    x = torch.randint(0, 256, (8, 1, 2, 2), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    task = Task(x, torch.arange(8) % 2, server_round=4, client=6)
    state = votes(0, 1, 2, 3, 4, 5, 6, 7, 3, 4, trials=7)
    update = found.local_update(state, task)
    scores, loss = by_hand(found, state.votes / 7, task, config_of(FedMaskConfig, **settings))
    assert unpack(update.mask, 10).astype(bool).tolist() == (scores > 0).tolist()
    assert update.metrics["loss"] == pytest.approx(loss, rel=1e-4)
    assert scores.abs().min() > 1e-3  # so float32 cannot have decided a gate


# --- the server's rule


def test_the_server_takes_the_mean_and_thresholds_it():
    masks = [Update(pack(np.array(mask, dtype=bool))) for mask in ([1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0])]
    found = method()
    state = found.aggregate(votes(9, 9, 9, 9, trials=9), masks, 1)
    assert (state.votes.tolist(), state.trials) == ([4, 2, 1, 0], 4)
    assert found.weights(state).tolist() == [found.gates.frozen[0].item(), 0, 0, 0]


# --- keys and runs


def test_keys_that_it_does_not_heed():
    for key, value in (("score-init", "normal"), ("sampled-extra-bits", 3.0), ("target-density", 0.1)):
        with pytest.raises(ConfigError, match=f"^{key} = .*: strategy fedmask does not use it$"):
            parse(FedMaskConfig, {"strategy": "fedmask", key: value})
    with pytest.raises(ConfigError, match="the masks of strategy fedmask are not samples"):
        configure({"strategy": "fedmask", "uplink": "sampled"})


@pytest.mark.slow
def test_it_learns_on_digits_and_relays_end_the_same(raw):
    changes = {"samples_per_client": 0, "num_server_rounds": 3, "local_epochs": 2, "eps": 0.3}
    ends, lines = [], []
    for downlink in ("votes", "relay"):
        config = raw(strategy="fedmask", downlink=downlink, **changes)
        folder = run_on_grid(LoopbackGrid(app, config, 10), config)
        lines = folder.round_log.read()
        ends.append(max(folder.path.glob("checkpoint-*.safetensors")).read_bytes())
    assert ends[0] == ends[1]
    assert lines[0]["loss"] < math.log(10)
    assert lines[-1]["accuracy"] > 0.8
    assert all(line["clients_counted"] == 10 and line["uplink_bpp"] < 1.01 for line in lines)
    assert lines[-1]["model_density"] == pytest.approx(0.5, abs=0.02)
