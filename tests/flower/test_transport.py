"""The transport over a grid: the reasons of error replies, and payloads beyond the limit."""

from itertools import chain
from types import SimpleNamespace

import pytest
from flwr.app import Error
from flwr.clientapp.client_app import ClientAppException
from loopback_runs import FIRST_NODE, D, answer, client_of, method, payload_of

from client_app import app
from fedgates.federation import Problem, Server
from fedgates.flower import LoopbackGrid
from fedgates.flower.messaging import error_reason
from fedgates.flower.transport import GridTransport
from fedgates.wire.updates import UpdateReader


def said(why):
    return error_reason(SimpleNamespace(error=Error(2, why)))  # a message takes a running engine to be made


@pytest.mark.parametrize(
    ("before", "behind"), [("", ""), ("<class 'ray.exceptions.RayTaskError'>:<'" + "  File x, line 3\n" * 400, "'>")]
)
def test_what_a_client_raised_is_said_and_not_the_tracebacks_around_it(before, behind):
    assert said(before + str(ClientAppException("data-path is\nmissing")) + behind) == "error 2: data-path is missing"


def test_what_is_not_of_flowers_wording_is_said_as_it_is():
    assert said("out of memory") == "error 2: out of memory"
    assert said("") == "error 2: no reason given"


# --- payloads beyond the limit


class Slow(LoopbackGrid):
    """Counts the replies that were fetched; client 0 pads its sound payload beyond the limit."""

    def __init__(self, *args):
        super().__init__(*args)
        self.fetched = []

    def deliver(self, message):
        reply = super().deliver(message)
        return answer(message, payload_of(reply) + bytes(5000)) if client_of(message) == 0 else reply

    def pull_messages(self, message_ids):
        found = super().pull_messages(message_ids)
        self.fetched += [reply.metadata.src_node_id - FIRST_NODE for reply in found]
        return found


def test_a_payload_beyond_the_limit_is_refused_as_it_is_fetched_and_never_decoded(raw, monkeypatch):
    config, decoded = raw(uplink="packed"), []
    server = Server(method(uplink="packed"), Problem.of_images((1, 8, 8), 10))
    grid, read = Slow(app, config, 3), UpdateReader.read
    monkeypatch.setattr(UpdateReader, "read", lambda *args: decoded.append(args[-1]) or read(*args))
    requests = server.open_round(1, {name: FIRST_NODE + name for name in range(3)})
    replies = GridTransport(grid).exchange(requests, timeout=1.0, max_megabytes=0.005)

    first = next(replies)
    assert grid.fetched == [0]  # the others are fetched later, one by one
    size = 36 + -(-D // 8) + 5000
    assert first.malformed == f"a payload of {size:,} bytes, expected at most limits.max-payload-mb = 0.005 megabytes"
    assert (first.size, len(first.payload)) == (size, 36)  # of the payload the header alone is kept

    record = server.close_round(chain([first], replies))
    assert grid.fetched == [0, 1, 2]
    assert decoded == [1, 2]
    assert record.rejected == {0: first.malformed}
    assert record.uplink["mask, packed"]["bytes"] == 3 * (36 + -(-D // 8)) + 5000  # it has travelled
    assert server.state.trials == 2
