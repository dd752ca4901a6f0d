"""deploy/gate.py: calls that it passes, and attacks that it withstands; SuperLink is replaced by a mock."""

import asyncio
import importlib.util
import sys
from pathlib import Path

import certifi
import httpx
import pytest
from engines import ROOT


@pytest.fixture
def gate(monkeypatch):
    spec = importlib.util.spec_from_file_location("gate_of_the_page", ROOT / "deploy" / "gate.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gate_of_the_page", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "BODY_SECONDS", 0.3)
    return module


async def answered(text):
    yield text


def asked(gate, *questions, fails=False):
    """Send calls (path, content, headers) at once; return the answers, and the calls that reached SuperLink."""
    reached = []

    async def superlink(request):
        if fails:
            raise httpx.ConnectError("connection refused")
        reached.append((request.url.path, await request.aread(), dict(request.headers)))
        return httpx.Response(200, content=answered(b"done"), headers={"x-theirs": "1", "connection": "close"})

    async def ask():
        app = gate.gate("https://127.0.0.1:1", Path(certifi.where()))
        door = app.routes[0].endpoint.func.__self__
        door.client = httpx.AsyncClient(base_url="https://127.0.0.1:1", transport=httpx.MockTransport(superlink))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://gate") as client:
            answers = await asyncio.gather(*(client.post(path, content=content, headers=h) for path, content, h in questions))
        assert door._held == 0
        return answers

    return asyncio.run(ask()), reached


def test_a_devices_call_goes_through_with_its_signature_and_comes_back(gate):
    headers = {"flwr-signature": "s", "connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c"}
    (answer,), ((path, body, sent),) = asked(gate, ("/v1/fleet/push-object", b"x" * 1000, headers))
    assert (answer.status_code, answer.content, answer.headers["x-theirs"]) == (200, b"done", "1")
    assert (path, body, sent["flwr-signature"]) == ("/v1/fleet/push-object", b"x" * 1000, "s")
    assert "upgrade" not in sent
    assert "connection" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/control/list-runs", "/v1/runtime/acquire-task", "/v1/fleet/register-node", "/", "/docs"])
def test_other_calls_are_not_passed(gate, path):
    (answer,), reached = asked(gate, (path, b"", {}))
    assert (answer.status_code, reached) == (404, [])


def test_a_body_that_is_too_long_is_refused_before_superlink(gate):
    (answer,), reached = asked(gate, ("/v1/fleet/push-object", b"x" * (gate.LONGEST_BODY + 1), {}))
    assert (answer.status_code, reached) == (413, [])


def test_bodies_of_all_callers_together_are_limited(gate, monkeypatch):
    monkeypatch.setattr(gate, "MOST_HELD", 1500)

    async def half():
        yield b"x" * 1000
        await asyncio.sleep(0.1)
        yield b"x"

    answers, reached = asked(gate, *[("/v1/fleet/push-object", half(), {}) for _ in range(3)])
    assert sorted(answer.status_code for answer in answers) == [200, 503, 503]
    assert len(reached) == 1


def test_slow_callers_are_cut_off_and_delay_no_others(gate):
    async def slow():
        yield b"a"
        await asyncio.sleep(3)
        yield b"b"

    strangers = [("/v1/fleet/pull-messages", slow(), {}) for _ in range(300)]
    answers, reached = asked(gate, *strangers, ("/v1/fleet/pull-messages", b"honest", {}))
    assert [answer.status_code for answer in answers] == [408] * 300 + [200]
    assert [body for _, body, _ in reached] == [b"honest"]


def test_an_absent_superlink_is_logged_once(gate, caplog):
    answers, _ = asked(gate, *[("/v1/fleet/pull-messages", b"", {})] * 3, fails=True)
    assert [answer.status_code for answer in answers] == [503] * 3
    assert [record.getMessage() for record in caplog.records if record.name == "gate"] == [
        "SuperLink cannot be reached: connection refused"
    ]
