"""Every built-in method, and a federation of two clients made by hand, where Flower and Ray are not installed."""

import json
import subprocess
import sys

import pytest

from fedgates.methods.registry import BUILT_IN

SCRIPT = """
import sys
for name in ("flwr", "ray", "flwr_datasets"):
    sys.modules[name] = None
import json
import numpy as np
from fedgates.data.digits import digits
from fedgates.federation import Client, ClientData, Problem, Server
from fedgates.methods.registry import BUILT_IN, build, configure

PROBLEM, TRAIN = Problem.of_images((1, 8, 8), 10), digits().train
NEED_DENSITY = {"entropy-gates", "one-bit-gates", "sparsyfed", "topk", "fediht"}

def rounds(settings):
    method = build(*configure(settings), PROBLEM)
    server, none = Server(method, PROBLEM), TRAIN.take(np.arange(0))
    clients = {name: Client(method, name, ClientData(TRAIN.take(np.arange(40) + 40 * name), none)) for name in (3, 5)}
    nodes = {3: 30, 5: 50}
    for number in (1, 2):
        before, requests = server.codec.pack_state(server.state, 1), server.open_round(number, nodes)
        replies = [clients[request.client].reply(request) for request in requests]
        line = server.close_round(replies).line(0.0, {})
        yield {
            "moved": server.codec.pack_state(server.state, 1) != before,
            "sent": sum(len(request.payload) for request in requests),
            "received": sum(len(reply.payload) for reply in replies),
            "line": line,
        }

for name in BUILT_IN:
    settings = {"strategy": name, "local-epochs": 1} | ({"target-density": 0.1} if name in NEED_DENSITY else {})
    print(json.dumps({"method": name, "rounds": list(rounds(settings))}))
print(json.dumps(sorted(name for name, module in sys.modules.items() if module and name.split(".")[0] in ("flwr", "ray"))))
"""


@pytest.mark.slow
def test_a_federation_of_two_clients_is_made_by_hand_for_every_method():
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    *methods, foreign = map(json.loads, done.stdout.splitlines())
    assert [found["method"] for found in methods] == list(BUILT_IN)
    assert foreign == []
    for found in methods:
        for number, server_round in enumerate(found["rounds"], 1):
            line = server_round["line"]
            assert server_round["moved"], found["method"]
            assert (line["round"], line["clients_counted"], line["failed"], line["rejected"]) == (number, 2, {}, {})
            assert line["uplink_bytes"] == server_round["received"] > 2 * 36
            assert line["downlink_bytes"] == server_round["sent"] >= 2 * 36
