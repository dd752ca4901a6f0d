"""Clients of a process that train together: in groups that are alike, each with its own reply or failure."""

import numpy as np
import pytest
import torch
from loopback_runs import SMALL

from fedgates.data import Examples
from fedgates.data.digits import digits
from fedgates.errors import WireError
from fedgates.federation import Client, ClientData, Problem, Server, train_together
from fedgates.federation.messages import Reply, Request
from fedgates.methods.registry import build, configure

PROBLEM, TRAIN = Problem.of_images((1, 8, 8), 10), digits().train
NONE = TRAIN.take(np.arange(0))
SIZES = (40, 33, 40, 16, 48, 12, 35, 1)
"""Examples of each client: five with three mini-batches, three with one."""


def federation(monkeypatch, **changes):
    """A server, its clients, and the sizes of the groups that train together."""
    raw = {**SMALL, "local-epochs": 1, "client.train-together": 3, **{k.replace("_", "-"): v for k, v in changes.items()}}
    method = build(*configure(raw), PROBLEM)
    clients = {k: Client(method, k, ClientData(TRAIN.take(np.arange(n) + 50 * k), NONE)) for k, n in enumerate(SIZES)}
    groups, original = [], method.local_updates
    monkeypatch.setattr(
        method, "local_updates", lambda state, tasks: (groups.append([t.client for t in tasks]), original(state, tasks))[1]
    )
    return Server(method, PROBLEM), clients, groups


def answers(clients, requests):
    """What clients that train together answer, in the order of the requests."""
    found = dict(train_together((clients[request.client], request) for request in requests))
    return [found[request] for request in requests]


def test_groups_have_as_many_batches_and_at_most_so_many_clients(monkeypatch):
    server, clients, groups = federation(monkeypatch)
    requests = server.open_round(1, {name: 100 + name for name in clients})
    replies = answers(clients, requests)
    assert sorted(map(sorted, groups)) == [[0, 1, 2], [3, 5, 7], [4, 6]]
    assert [reply.node for reply in replies] == [request.node for request in requests]
    assert [reply.num_examples for reply in replies] == list(SIZES)
    record = server.close_round(replies)
    assert record.counted == len(SIZES)
    assert all(0 < seconds < 60 for seconds in (reply.metrics["seconds"] for reply in replies))


def test_deltas_from_several_bases_lead_to_one_group(monkeypatch):
    server, clients, groups = federation(monkeypatch, num_server_rounds=5, fraction_train=0.5)
    nodes = {name: 100 + name for name in clients}
    for number in (1, 2, 3):
        groups.clear()
        requests = server.open_round(number, nodes)
        replies = answers(clients, requests)
        steps = [-(-SIZES[request.client] // 16) for request in requests]
        together = sum(len(group) for group in groups)
        alone = sum(steps.count(each) == 1 for each in set(steps)) + sum(steps.count(each) == 4 for each in set(steps))
        assert together == len(requests) - alone
        assert server.close_round(replies).counted == len(requests)
    assert len({request.payload for request in requests}) > 1


@pytest.mark.parametrize(
    "settings", [{"strategy": "fedavg"}, {"strategy": "coupled-masks"}, {"strategy": "fedavg", "model": "cnn"}]
)
def test_with_one_the_bytes_are_those_alone(settings, monkeypatch):
    server, clients, groups = federation(monkeypatch, **{"client.train-together": 1, **settings})
    requests = server.open_round(1, {name: 100 + name for name in clients})
    together = answers(clients, requests)
    alone = [Client(server.method, r.client, clients[r.client].examples).reply(r) for r in requests]
    assert [reply.payload for reply in together] == [reply.payload for reply in alone]
    assert groups == []


def test_one_that_fails_takes_no_other_with_it(monkeypatch):
    server, clients, groups = federation(monkeypatch, strategy="fedavg")
    original = server.method.client_update

    def client_update(state, trained, task, loss):
        return original(state, trained * float("nan") if task.client == 1 else trained, task, loss)

    monkeypatch.setattr(server.method, "client_update", client_update)
    requests = server.open_round(1, {name: 100 + name for name in clients})
    requests[2] = Request(102, 2, "train", b"damaged", PROBLEM)
    replies = answers(clients, requests)
    kinds = [type(reply) for reply in replies]
    assert kinds == [Reply, FloatingPointError, WireError, Reply, Reply, Reply, Reply, Reply]
    assert all(2 not in group for group in groups)


def test_labels_that_a_loss_refuses_fail_alone(monkeypatch):
    server, clients, _ = federation(monkeypatch, strategy="fedavg")
    bad = Examples(TRAIN.x[:40], np.full(40, 77, dtype=np.int64))  # there are ten classes
    clients[1] = Client(server.method, 1, ClientData(bad, NONE))
    requests = server.open_round(1, {name: 100 + name for name in clients})
    replies = answers(clients, requests)
    failed = [k for k, reply in enumerate(replies) if not isinstance(reply, Reply)]
    assert failed == [1]


def test_threads_and_the_global_generator_are_as_before(monkeypatch):
    server, clients, _ = federation(monkeypatch)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    requests = server.open_round(1, {name: 100 + name for name in clients})
    answers(clients, requests)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads
