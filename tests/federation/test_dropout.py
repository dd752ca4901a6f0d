"""`dropout`: chosen clients that a server asks in its record alone."""

import numpy as np
import pytest

from fedgates import rng
from fedgates.data.digits import digits
from fedgates.errors import ConfigError
from fedgates.federation import Client, ClientData, Problem, Server
from fedgates.federation.setup import refuse_dropout
from fedgates.methods.registry import build, configure

PROBLEM, CLIENTS = Problem.of_images((1, 8, 8), 10), 12
NODES = {name: 1000 + name for name in range(CLIENTS)}


def server_of(**changes):
    settings = {"model": "tiny_network:build", "local-epochs": 1, "fraction-evaluate": 1.0, **changes}
    return Server(build(*configure(settings), PROBLEM), PROBLEM)


def clients_of(server):
    """Every client, with ten images and an eleventh that is held out."""
    train = digits().train
    parts = {name: train.take(np.arange(11) + 11 * name) for name in NODES}
    return {
        name: Client(server.method, name, ClientData(part.take(np.arange(10)), part.take(np.arange(10, 11))))
        for name, part in parts.items()
    }


def silent(server_round, attempt, share=0.3, seed=1, names=NODES):
    """The clients that do not answer, by the words of the generator."""
    draws = {n: rng.words(1, seed, f"dropout, attempt {attempt}", server_round=server_round, client=n)[0] for n in names}
    return {name for name, word in draws.items() if int(word) / 2**64 < share}


def test_who_is_silent_is_a_function_of_seed_round_attempt_and_client():
    server = server_of(dropout=0.3)
    for server_round in (1, 2):
        for attempt in (1, 2, 3):
            requests = server.open_round(server_round, NODES)
            record = server.close_round([])
            assert {request.client for request in requests} == NODES.keys() - silent(server_round, attempt)
            assert (record.attempt, record.selected) == (attempt, sorted(NODES))
    assert silent(1, 1) != silent(1, 2) != silent(2, 2)


def test_the_share_of_silent_clients():
    counts = [len(silent(server_round, 1)) for server_round in range(200)]
    assert np.mean(counts) / CLIENTS == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / (200 * CLIENTS)))


def test_a_request_that_is_not_sent_is_counted_and_the_record_says_why():
    server = server_of(dropout=0.3)
    clients = clients_of(server)
    requests = server.open_round(1, NODES)
    line = server.close_round([clients[request.client].reply(request) for request in requests]).line(1.0, {})
    names = silent(1, 1)
    assert line["failed"] == {str(name): "no answer: simulated, dropout = 0.3" for name in sorted(names)}
    assert (line["clients_selected"], line["clients_counted"]) == (CLIENTS, CLIENTS - len(names))
    assert (line["clients_failed"], line["clients_rejected"]) == (len(names), 0)
    assert sum(kind["messages"] for kind in line["downlink"].values()) == CLIENTS


def test_a_reply_of_a_silent_client_is_ignored():
    server = server_of(dropout=0.3)
    clients = clients_of(server_of())
    everyone = server_of().open_round(1, NODES)
    server.open_round(1, NODES)
    record = server.close_round([clients[request.client].reply(request) for request in everyone])
    assert record.counted == CLIENTS - len(silent(1, 1))


def test_too_many_silent_clients_cost_the_quorum():
    server = server_of(dropout=0.99)
    before = server.state
    server.open_round(1, NODES)
    assert not server.close_round([]).quorum
    assert server.state is before


def test_clients_that_evaluate_all_answer():
    server = server_of(dropout=0.3)
    clients = clients_of(server)
    requests = server.open_round(1, NODES)
    server.close_round([clients[request.client].reply(request) for request in requests])
    assert {request.client for request in server.open_evaluation(NODES)} == set(NODES)


@pytest.mark.parametrize("downlink", ["delta", "relay"])
def test_a_silent_client_counts_as_knowing_nothing(downlink):
    # fedpm's snapshots are larger than changes
    settings = {"strategy": "fedpm", "downlink": downlink, "model": "tiny_network:small", "fraction-evaluate": 0.0}
    server = server_of(dropout=0.3, **settings)
    clients = clients_of(server)
    answered = set()
    for server_round in range(1, 6):
        requests = server.open_round(server_round, NODES)
        kinds = server.record.downlink
        snapshots = sum(count["messages"] for kind, count in kinds.items() if kind == "votes")
        assert snapshots == (len(NODES) if server_round == 1 else len(NODES) - len(answered))  # of the round before
        server.close_round([clients[request.client].reply(request) for request in requests])
        answered = {request.client for request in requests}
        assert server.record.counted == len(answered)
        assert not server.record.rejected


def test_real_devices_cannot_be_silenced():
    with pytest.raises(ConfigError, match=r"^dropout = 0\.3: expected 0 on real devices: only simulated clients"):
        refuse_dropout(server_of(dropout=0.3).config)
    refuse_dropout(server_of().config)
