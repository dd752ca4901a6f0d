"""`learning-rate-final` in every method that trains: the rates that its optimizers are built with, round by round."""

import numpy as np
import pytest

from fedgates.data.digits import digits
from fedgates.federation import Client, ClientData, Problem, Server
from fedgates.methods.registry import BUILT_IN, build, configure, method_class
from fedgates.strategies import fedmask, fedpm, one_bit_gates

PROBLEM = Problem.of_images((1, 8, 8), 10)
OWN = {"lips": {"model": "mlp"}, "fedmask": {"fedpm.eps": 0.3}}
"""Keys with which a few steps move every method's state."""
FIXED = {"coupled-masks", "entropy-gates", "sparsyfed"}
"""Methods whose own tests are in their own files."""


def states(strategy, **changes):
    """The coded states after each of three rounds with one client."""
    settings = {"strategy": strategy, "model": "tiny_network:build", "num-server-rounds": 3, **changes} | OWN.get(strategy, {})
    if method_class(strategy).Config.requires_density:
        settings["density.target"] = 0.5
    method = build(*configure(settings), PROBLEM)
    server, train = Server(method, PROBLEM), digits().train
    client = Client(method, 0, ClientData(train.take(np.arange(40)), train.take(np.arange(0))))
    for server_round in (1, 2, 3):
        requests = server.open_round(server_round, {0: 1000})
        server.close_round([client.reply(request) for request in requests])
        yield server.codec.pack_state(server.state, 9)


@pytest.mark.parametrize("module", [fedpm, fedmask, one_bit_gates])
def test_adam_of_mask_methods_gets_the_rate_of_the_round(monkeypatch, module):
    rates, adam = [], module.Adam

    def noting(*tensors, learning_rate, **others):
        rates.append(learning_rate)
        return adam(*tensors, learning_rate=learning_rate, **others)

    monkeypatch.setattr(module, "Adam", noting)
    list(states(module.__name__.rpartition(".")[2].replace("_", "-"), **{"learning-rate": 0.4, "learning-rate-final": 0.1}))
    assert rates == pytest.approx([0.4, 0.2, 0.1])


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("strategy", [name for name in BUILT_IN if name not in FIXED])
def test_a_final_rate_changes_every_round_but_the_first(strategy):
    constant, falling = (list(states(strategy, **{"learning-rate": 1.0, "learning-rate-final": rate})) for rate in (0.0, 1e-3))
    assert constant[0] == falling[0]
    assert constant[1] != falling[1]
    assert constant[2] != falling[2]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("strategy", [name for name in BUILT_IN if name not in FIXED])
def test_a_final_rate_that_is_the_first_changes_nothing(strategy):
    rate = method_class(strategy).Config.default_learning_rate
    assert list(states(strategy)) == list(states(strategy, **{"learning-rate-final": rate}))
