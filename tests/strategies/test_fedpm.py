import itertools
import math

import numpy as np
import pytest
import torch
from configs import config_of
from fedgates.strategies.fedpm import FedPM, FedPMConfig
from torch import nn

from fedgates import rng
from fedgates.config import parse
from fedgates.errors import ConfigError
from fedgates.methods import threshold
from fedgates.methods.training import Task
from fedgates.nn.network import Network
from fedgates.types import Update, Votes, pack, unpack

C = math.sqrt(2)
"""The frozen magnitude of a layer with one input, at scale kaiming."""


def tiny():
    """Four gates: the weights of class 0 and 1 for one pixel, then their biases."""
    return nn.Sequential(nn.Flatten(), nn.Linear(1, 2))


def method(module=None, **config):
    return FedPM(config_of(FedPMConfig, **config), Network(module or tiny()))


def votes(*counts, trials=1):
    return Votes(np.array(counts, dtype=np.uint32), trials)


def update(*mask):
    return Update(mask=pack(np.array(mask, dtype=bool)))


def one_image(label=0, pixel=255, server_round=1, client=0):
    """One image of one pixel; 255 is 1 for the network, 0 is -1."""
    return Task(torch.full((1, 1, 1, 1), pixel, dtype=torch.uint8), torch.tensor([label]), server_round, client)


# --- theta


@pytest.mark.parametrize(
    ("prior", "counts", "trials", "theta"),
    [
        (1.0, [0, 1, 2, 4], 4, [0, 0.25, 0.5, 1]),
        (2.0, [0, 1, 2, 4], 4, [1 / 6, 2 / 6, 0.5, 5 / 6]),  # (votes + lambda0 - 1) / (trials + 2 lambda0 - 2)
        (1.5, [0, 0, 1, 1], 1, [0.25, 0.25, 0.75, 0.75]),
        (2.0, [0, 0, 0, 0], 0, [0.5] * 4),
        (1.0, [0, 0, 0, 0], 0, [0.5] * 4),
    ],
)
def test_theta_is_the_mode_of_the_beta_posterior(prior, counts, trials, theta):
    found = method(prior=prior).theta(votes(*counts, trials=trials))
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx(theta)
    alpha, beta = prior + np.array(counts), prior + trials - np.array(counts)
    if trials:
        assert found.tolist() == pytest.approx((alpha - 1) / (alpha + beta - 2))


def test_the_first_state_knows_nothing():
    state = method().initial_state()
    assert (state.votes.tolist(), state.votes.dtype, state.trials) == ([0] * 4, np.uint32, 0)


def test_score_init_normal_gives_scores_from_a_standard_normal():
    wide = method(nn.Linear(100, 199), score_init="normal")  # 20,099 gates
    scores = torch.logit(wide.theta(wide.initial_state()).double()).sort().values
    expected = torch.special.ndtri((torch.arange(len(scores)) + 0.5).double() / len(scores))
    distance = (torch.special.ndtr(scores) - torch.special.ndtr(expected)).abs().max()  # Kolmogorov and Smirnov's
    assert distance < 1.63 / math.sqrt(len(scores))  # exceeded once in a hundred seeds
    again = method(nn.Linear(100, 199), score_init="normal")
    assert torch.equal(again.theta(again.initial_state()), wide.theta(wide.initial_state()))
    other = method(nn.Linear(100, 199), score_init="normal", seed=2)
    assert not torch.equal(other.theta(other.initial_state()), wide.theta(wide.initial_state()))


def test_score_init_normal_matters_only_until_votes_are_in():
    assert method(score_init="normal").theta(votes(0, 1, 1, 2, trials=2)).tolist() == [0, 0.5, 0.5, 1]


@pytest.mark.parametrize("prior", [1.0, 1.5])
def test_score_init_normal_starts_there_whatever_the_prior(prior):
    found = method(score_init="normal", prior=prior)
    theta = found.theta(found.initial_state()).tolist()
    assert theta == method(score_init="normal").theta(votes(0, 0, 0, 0, trials=0)).tolist()
    assert len(set(theta)) == 4


def test_threshold():
    assert threshold(torch.tensor([0.0, 0.5, 0.5001, 1])).tolist() == [False, False, True, True]


# --- the client's rule


def test_one_adam_step_by_hand(sent):
    # Label 0 at pixel 1: the loss falls as logit 0 rises and logit 1 falls, whichever mask is drawn. Adam's first step is
    # the learning rate times the sign, so a gate's score is +.1 where its frozen weight helps and -.1 where it hurts.
    found = method(local_epochs=1, learning_rate=0.1)
    found.local_update(found.initial_state(), one_image())
    helps = (found.gates.frozen > 0) == torch.tensor([True, False, True, False])
    expected = torch.where(helps, torch.sigmoid(torch.tensor(0.1)), torch.sigmoid(torch.tensor(-0.1)))
    assert torch.allclose(sent[0], expected, atol=1e-5)
    assert {True, False} == set(helps.tolist())


def test_one_huge_adam_step_decides_the_mask_that_is_sent():
    found = method(local_epochs=1, learning_rate=200.0)
    for label, pixel in itertools.product((0, 1), (0, 255)):
        sign = 1 if pixel else -1
        up = [sign > 0, sign < 0, True, False]  # raise the logit of class 0?
        wanted = [w > 0 if (u == (label == 0)) else w < 0 for w, u in zip(found.gates.frozen.tolist(), up, strict=True)]
        sent = found.local_update(found.initial_state(), one_image(label, pixel))
        assert unpack(sent.mask, 4).tolist() == wanted


def lots(count, draw):
    """Numbers of 16 bits: four of each word that the generator gives, the lowest first."""
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None, generator=draw).tolist()
    return [word >> shift & 0xFFFF for word in words for shift in (0, 16, 32, 48)][:count]


def by_hand(found, state_theta, task, config):
    """FedPM's client rule written out again: float64, Adam spelled out, torch's autograd through a textbook estimator."""
    theta = torch.tensor(state_theta, dtype=torch.float64).clamp(config.fedpm.eps, 1 - config.fedpm.eps)
    s, w = torch.log(theta / (1 - theta)), found.gates.frozen.double()
    draw = task.generator(config.seed, "masks")
    order = task.generator(config.seed, "batches")
    first, second = torch.zeros_like(s), torch.zeros_like(s)
    x, y, losses, step = task.x.view(len(task.y), -1).double() / 127.5 - 1, task.y, [], 0
    for _ in range(config.local_epochs):
        for batch in torch.randperm(len(y), generator=order).split(config.batch_size):
            step += 1
            s = s.detach().requires_grad_()
            p = torch.sigmoid(s)
            m = torch.tensor(lots(len(s), draw)) < (65536 * p.detach().float()).floor()  # a tie has 1 chance in 65,536
            m = m.double()
            slope = p * p.detach() if config.fedpm.straight_through == "authors-code" else p
            w_run = w * (m + slope - slope.detach())
            logits = x[batch] @ w_run[: x.shape[1] * 2].view(2, -1).T + w_run[x.shape[1] * 2 :]
            loss = nn.functional.cross_entropy(logits, y[batch])
            (loss + config.density.penalty * p.mean()).backward()
            losses.append(loss.item())
            first = 0.9 * first + 0.1 * s.grad
            second = 0.999 * second + 0.001 * s.grad**2
            s = s.detach() - config.learning_rate * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
    return torch.sigmoid(s), sum(losses) / len(losses)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"straight_through": "authors-code"},
        {"density_penalty": 3.0},
        {"straight_through": "authors-code", "density_penalty": 0.3, "eps": 0.1},
        {"learning_rate": 0.5, "batch_size": 2, "seed": 9, "local_epochs": 1},
    ],
    ids=str,
)
def test_training_is_the_papers_written_out_again(sent, config):
    settings = config_of(FedPMConfig, **{"batch_size": 3, "local_epochs": 3, **config})
    found = FedPM(settings, Network(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))))
    x = torch.randint(0, 256, (8, 1, 2, 2), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    task = Task(x, torch.arange(8) % 2, server_round=4, client=6)
    state = votes(0, 1, 2, 3, 4, 5, 6, 7, 3, 4, trials=7)
    update = found.local_update(state, task)
    theta, loss = by_hand(found, state.votes / 7, task, settings)
    assert torch.allclose(sent[0].double(), theta, atol=1e-4)
    assert update.metrics["loss"] == pytest.approx(loss, rel=1e-4)
    assert update.num_examples == 8
    assert update.values is None


def test_the_mask_that_is_sent_is_one_sample_of_the_trained_gates_by_coins_that_the_server_can_toss(sent):
    found = method(nn.Sequential(nn.Flatten(), nn.Linear(1, 2000)), local_epochs=1, learning_rate=1e-9, seed=5)
    state = votes(*([1, 3] * 2000), trials=4)  # theta .25 and .75, which so small a step leaves
    update = found.local_update(state, one_image(server_round=3, client=6))
    coins = rng.coins(4000, 5, server_round=3, client=6)
    mask = unpack(update.mask, 4000).astype(bool)
    assert (mask != (coins / 2**32 < np.resize([0.25, 0.75], 4000))).mean() < 0.001
    assert mask.tolist() == (coins < update.theta.astype(np.float64) * 2**32).tolist()
    assert (mask[0::2].mean(), mask[1::2].mean()) == pytest.approx((0.25, 0.75), abs=0.05)


def test_the_update_has_the_probabilities_that_its_mask_was_sampled_from(sent):
    found = method(local_epochs=1, learning_rate=0.5)
    update = found.local_update(found.initial_state(), one_image())
    assert update.theta.dtype == np.float32
    assert update.theta.tolist() == sent[0].tolist()
    assert set(np.round(update.theta, 3)) == {np.float32(0.378), np.float32(0.622)}  # sigmoid(-.5), sigmoid(.5)
    assert FedPM.spec.samples


def test_an_update_is_a_function_of_state_seed_round_and_client():
    def mask(found, state=None, **task):
        sent = found.local_update(state or found.initial_state(), one_image(**task))
        return sent.mask.tobytes()

    def wide(**config):
        return method(nn.Sequential(nn.Flatten(), nn.Linear(1, 100)), local_epochs=1, **config)

    found = wide()
    torch.manual_seed(1)
    first, before = mask(found), torch.get_rng_state()
    assert torch.equal(torch.get_rng_state(), before)
    others = {
        mask(found, server_round=2),
        mask(found, client=1),
        mask(wide(seed=2)),
        mask(found, votes(*[2] * 200, trials=3)),
    }
    torch.manual_seed(2)
    task = Task(one_image().x, torch.tensor([0]), server_round=1)
    found.evaluate(votes(*[1] * 200), task)  # which overwrites the network's weights
    assert mask(found) == mask(wide()) == first
    assert len({first, *others}) == 5


def test_a_state_is_left_as_it_is():
    found, state = method(), votes(0, 1, 2, 2, trials=2)
    found.local_update(state, one_image())
    found.evaluate(state, Task(one_image().x, torch.tensor([0]), server_round=1))
    found.aggregate(state, [update(1, 1, 1, 1)], 2)
    assert (state.votes.tolist(), state.trials) == ([0, 1, 2, 2], 2)


@pytest.mark.parametrize("unanimous", [0, 1])
def test_the_clip_keeps_unanimous_gates_alive(sent, unanimous):
    found = method(local_epochs=1, learning_rate=10.0)
    state = votes(*[9 * unanimous] * 4, trials=9)
    found.local_update(state, one_image())
    # the start is logit(.001) = -6.9 or 6.9, and a step of ten brings the gates back that the loss asks for
    helps = (found.gates.frozen > 0) == torch.tensor([True, False, True, False])
    start = math.log(0.001 / 0.999) * (1 - 2 * unanimous)
    expected = torch.sigmoid(torch.where(helps, start + 10.0, start - 10.0))
    assert torch.allclose(sent[0], expected, atol=1e-3)
    assert (sent[0] > 0.5).tolist() == helps.tolist()


def test_eps_is_where_the_clip_is(sent):
    found = method(local_epochs=1, learning_rate=1e-9, eps=0.2)
    found.local_update(votes(0, 1, 5, 10, trials=10), one_image())
    assert sent[0].tolist() == pytest.approx([0.2, 0.2, 0.5, 0.8], abs=1e-5)


def test_the_clip_works_at_both_ends_for_every_eps_that_is_taken(sent):
    method(local_epochs=1, learning_rate=1e-9, eps=1e-6).local_update(votes(0, 0, 9, 9, trials=9), one_image())
    assert torch.logit(sent[0].double()).tolist() == pytest.approx([-13.8, -13.8, 13.8, 13.8], abs=0.1)
    with pytest.raises(ConfigError):
        parse(FedPMConfig, {"eps": 1e-8})  # in float32 1 - 1e-8 is 1: an infinite score, open for good


# --- the server's rule


def test_votes_and_trials_add_up_within_a_prior_and_start_again_after_it():
    found = method(reset_every=2)
    state = found.initial_state()
    state = found.aggregate(state, [update(1, 0, 0, 1), update(1, 1, 0, 0)], 1)
    assert (state.votes.tolist(), state.trials) == ([2, 1, 0, 1], 2)
    state = found.aggregate(state, [update(1, 1, 1, 0)], 2)
    assert (state.votes.tolist(), state.trials) == ([3, 2, 1, 1], 3)
    state = found.aggregate(state, [update(0, 0, 1, 1), update(0, 0, 0, 1), update(0, 0, 0, 1)], 3)
    assert (state.votes.tolist(), state.trials) == ([0, 0, 1, 3], 3)
    assert state.votes.dtype == np.uint32


@pytest.mark.parametrize(
    ("config", "resets"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7]),  # everybody takes part
        ({"reset_every": 1, "fraction_train": 0.2}, [1, 2, 3, 4, 5, 6, 7]),
        ({"reset_every": 3}, [1, 4, 7]),
        ({"fraction_train": 0.5}, [1, 3, 5, 7]),
        ({"fraction_train": 0.4}, [1, 4, 7]),  # ceil(2.5) = 3
        ({"fraction_train": 0.2}, [1, 6]),
        ({"fraction_train": 0.1, "reset_every": 4}, [1, 5]),
    ],
    ids=str,
)
def test_the_prior_is_reset_every_so_many_rounds(config, resets):
    found = method(**config)
    state = votes(9, 9, 9, 9, trials=9)
    fresh = [r for r in range(1, 8) if found.aggregate(state, [update(1, 0, 0, 0)], r).trials == 1]
    assert fresh == resets
    kept = [found.aggregate(state, [update(1, 0, 0, 0)], r).votes.tolist() for r in range(1, 8) if r not in fresh]
    assert all(counts == [10, 9, 9, 9] for counts in kept)


def test_the_default_is_so_many_rounds_as_it_takes_to_see_everybody_once():
    fractions = [1 / n for n in range(1, 101)] + [k / 100 for k in range(1, 101)]
    expected = [min(n for n in range(1, 102) if n * fraction >= 1 - 1e-9) for fraction in fractions]
    assert [method(fraction_train=fraction).reset_every for fraction in fractions] == expected


def test_the_order_of_updates_does_not_matter_and_they_are_read_one_by_one():
    found = method()
    masks = [update(1, 0, 1, 0), update(0, 0, 1, 1), update(1, 1, 1, 0)]
    states = {
        (tuple(s.votes.tolist()), s.trials)
        for order in itertools.permutations(masks)
        for s in [found.aggregate(found.initial_state(), iter(order), 1)]
    }
    assert states == {((2, 1, 3, 1), 3)}


def test_no_update_is_no_trial():
    state = method().aggregate(votes(1, 1, 1, 1), [], 1)
    assert (state.votes.tolist(), state.trials) == ([0] * 4, 0)


# --- evaluation


def test_evaluations_by_hand():
    found = method(evaluations="threshold,sample,mean,ensemble", ensemble_size=400)
    state = votes(0, 0, 10, 4, trials=10)  # theta: only the biases count, 1 and .4
    found.gates.frozen.copy_(torch.tensor([C, C, C, C]))
    task = Task(one_image().x.repeat(4, 1, 1, 1), torch.tensor([0, 0, 0, 1]), server_round=3)
    metrics = found.evaluate(state, task)
    p = 1 / (1 + math.exp(-C))  # the threshold keeps the bias of class 0 alone
    assert set(metrics) == {
        "accuracy",
        "loss",
        "model_density",
        "accuracy_sample",
        "accuracy_mean",
        "accuracy_ensemble",
    }
    assert metrics["loss"] == pytest.approx(-(3 * math.log(p) + math.log(1 - p)) / 4, rel=1e-5)
    assert metrics["model_density"] == 0.25
    assert [metrics[key] for key in ("accuracy", "accuracy_sample", "accuracy_mean", "accuracy_ensemble")] == [0.75] * 4


def test_each_evaluation_runs_its_own_network(monkeypatch):
    found = method(evaluations="threshold,sample,mean,ensemble", ensemble_size=5)
    loaded = []
    monkeypatch.setattr(found.gates, "load", lambda gate: loaded.append(gate.clone()))
    found.evaluate(votes(0, 3, 5, 10, trials=10), Task(one_image().x, torch.tensor([0]), server_round=3))
    assert found.network.weights.tolist() == (found.gates.frozen * torch.tensor([0, 0, 0, 1])).tolist()  # thresholded
    sampled, mean, *members = loaded
    assert mean.tolist() == pytest.approx([0, 0.3, 0.5, 1])
    assert len(members) == 5
    masks = torch.stack([sampled, *members])
    assert masks.dtype == torch.bool
    assert masks[:, 0].tolist() == [False] * 6  # theta 0
    assert masks[:, 3].tolist() == [True] * 6  # theta 1
    assert 0 < masks[:, 1:3].double().mean() < 1


def test_the_ensemble_votes_with_probabilities(monkeypatch):
    found = method(evaluations="threshold,ensemble", ensemble_size=3)
    answers = iter([[0.4, 0.6], [0.4, 0.6], [0.9, 0.1]])  # two of three members say 1; their mean says 0
    monkeypatch.setattr(found, "_predict", lambda gate, x: torch.tensor([next(answers)]))
    metrics = found.evaluate(votes(1, 1, 1, 1, trials=2), Task(one_image().x, torch.tensor([0]), server_round=1))
    assert metrics["accuracy_ensemble"] == 1.0


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("threshold", set()),
        ("threshold,mean", {"accuracy_mean"}),
        ("sample,threshold", {"accuracy_sample"}),
        ("ensemble,threshold,mean", {"accuracy_mean", "accuracy_ensemble"}),
    ],
)
def test_what_is_asked_for_is_evaluated_and_nothing_else(asked, found):
    metrics = method(evaluations=asked).evaluate(votes(1, 1, 0, 0), Task(one_image().x, torch.tensor([0]), server_round=1))
    assert set(metrics) == {"accuracy", "loss", "model_density"} | found


def test_evaluation_repeats_and_differs_between_rounds():
    wide = method(nn.Sequential(nn.Flatten(), nn.Linear(1, 100)), evaluations="threshold,sample")
    state, x, y = votes(*[1] * 200, trials=2), torch.arange(256).to(torch.uint8).view(-1, 1, 1, 1), torch.arange(256) % 100
    loaded = []
    wide.gates.load = lambda gate: loaded.append(tuple(gate.tolist()))
    for server_round in (1, 1, 2):
        wide.evaluate(state, Task(x, y, server_round))
    assert loaded[0] == loaded[1] != loaded[2]


# --- it learns


def separable(clients=4, images=24):
    """Images of 4x4: class 0 is bright on the left, class 1 on the right; one task a client, and a test set."""
    draw = torch.Generator().manual_seed(3)
    y = torch.arange((clients + 1) * images) % 2
    x = torch.randint(0, 120, (len(y), 1, 4, 4), generator=draw)
    x[y == 0, :, :, :2] += 100
    x[y == 1, :, :, 2:] += 100
    parts = list(zip(x.to(torch.uint8).split(images), y.split(images), strict=True))
    return parts[:-1], parts[-1]


def run(found, rounds):
    parts, test = separable()
    state = found.initial_state()
    for server_round in range(1, rounds + 1):
        tasks = [Task(x, y, server_round, client) for client, (x, y) in enumerate(parts)]
        state = found.aggregate(state, [found.local_update(state, task) for task in tasks], server_round)
    return state, found.evaluate(state, Task(*test, server_round=rounds))


def hidden():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2))


@pytest.mark.parametrize("weight_scale", ["kaiming", "authors-code", "density"])
@pytest.mark.parametrize("straight_through", ["identity", "authors-code"])
def test_it_learns(weight_scale, straight_through):
    found = method(hidden(), batch_size=8, weight_scale=weight_scale, straight_through=straight_through)
    before = found.evaluate(found.initial_state(), Task(*separable()[1], server_round=0))
    _, metrics = run(found, 4)
    assert before["accuracy"] < 0.7
    assert metrics["accuracy"] > 0.9
    assert metrics["accuracy_mean"] > 0.9
    assert metrics["loss"] < before["loss"] / 2


def test_the_density_penalty_lowers_the_density():
    densities = []
    for penalty in (0.0, 1.0, 30.0):
        state, metrics = run(method(hidden(), batch_size=8, density_penalty=penalty), 4)
        densities.append(state.votes.sum() / (state.size * state.trials))
    assert densities[0] > 0.45
    assert densities[1] < densities[0] - 0.03
    assert densities[2] < densities[1] - 0.03
    assert metrics["model_density"] < 0.4
