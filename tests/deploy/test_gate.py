"""deploy/gate.sh: nginx, before a SuperLink and without privileges; what passes, and attacks of one stranger."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
from attacks import ATTACKS, ask, family, under_attack
from engines import ROOT, free_ports
from federation import Federation, needs_nginx

pytestmark = [pytest.mark.slow, needs_nginx]

PROTOBUF = {"content-type": "application/protobuf"}


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    with Federation(tmp_path_factory.mktemp("gate")) as federation:
        federation.do("certificates.sh")
        federation.start_superlink()
        yield federation


@pytest.fixture(scope="module")
def gate(federation):
    return federation.start_gate()


def client_at(federation, address):
    """Return a client that knows the authority."""
    context = ssl.create_default_context(cafile=federation.root / "fedgates" / "server" / "ca.crt")
    transport = httpx.HTTPTransport(verify=context, local_address=address)
    return httpx.Client(base_url=f"https://127.0.0.1:{federation.port}", transport=transport)


@pytest.fixture
def device(federation, gate):
    with client_at(federation, "127.0.0.1") as client:
        yield client


def owners(pids):
    return {Path(f"/proc/{pid}").stat().st_uid for pid in pids}


def test_it_runs_without_privileges(gate):
    processes = family(gate.pid)
    assert len(processes) == 2
    assert 0 not in owners(processes)


@pytest.mark.parametrize(
    "path",
    ["/v1/control/list-runs", "/v1/runtime/acquire-task", "/v1/fleet/register-node", "/v1/fleet/unregister-node", "/", "/docs",
     "/v1/fleet/../control/list-runs", "/v1/fleet/%2e%2e/control/list-runs", "/v1/fleet//get-run/../../control/list-runs",
     "/v1/fleet/get-run/", "/v1/fleet/get-run%00"],
)  # fmt: skip
def test_other_calls_are_not_passed(federation, gate, path):
    """Written to the socket, because httpx would tidy the path."""
    ca = federation.root / "fedgates" / "server" / "ca.crt"
    request = f"POST {path} HTTP/1.1\r\nHost: gate\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    command = ["openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", str(ca)]
    command += ["-connect", f"127.0.0.1:{federation.port}"]
    out = subprocess.run(command, input=request.encode(), capture_output=True, timeout=30, check=False).stdout
    assert out.split(b"\r\n")[0] in (b"HTTP/1.1 404 Not Found", b"HTTP/1.1 400 Bad Request"), out


def test_only_posts_pass(device):
    assert {device.request(method, "/v1/fleet/get-run").status_code for method in ("GET", "PUT", "OPTIONS")} == {404}


def test_calls_of_devices_pass_and_the_answer_is_superlinks(device):
    for call in ("activate-node", "pull-messages", "push-object"):
        answer = device.post(f"/v1/fleet/{call}", content=b"", headers=PROTOBUF)
        assert answer.status_code in (400, 401, 403), (call, answer.status_code)  # of SuperLink: there is no signature
        assert json.loads(answer.text), answer.text
        assert answer.headers["server"] == "nginx"  # and no version


def test_long_bodies_are_refused(device):
    for call, longest in (("push-object", 8 << 20), ("pull-messages", 256 << 10)):
        statuses = [device.post(f"/v1/fleet/{call}", content=b"x" * size).status_code for size in (longest + 1, longest)]
        assert statuses[0] == 413
        assert statuses[1] not in (404, 413)


def test_an_address_may_send_32_bodies_at_once(federation, device):
    """Bodies that are not whole are not passed; what is too much is refused at once, and other addresses are not concerned."""
    context = ssl.create_default_context(cafile=federation.root / "fedgates" / "server" / "ca.crt")
    with contextlib.ExitStack() as stack:
        strangers = []
        for _ in range(40):
            raw = socket.create_connection(("127.0.0.1", federation.port), source_address=("127.0.0.2", 0))
            strangers.append(stack.enter_context(context.wrap_socket(raw, server_hostname="localhost")))
            strangers[-1].sendall(b"POST /v1/fleet/push-object HTTP/1.1\r\nHost: gate\r\nContent-Length: 100\r\n\r\nx")
        assert device.post("/v1/fleet/push-object", content=b"x", headers=PROTOBUF).status_code not in (404, 502, 503)
        heads = []
        for one in strangers:
            one.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                heads.append(one.recv(100).split(b"\r\n")[0])
    assert heads == [b"HTTP/1.1 503 Service Temporarily Unavailable"] * 8


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(federation, gate, version):
    flag = {ssl.TLSVersion.TLSv1: "-tls1", ssl.TLSVersion.TLSv1_1: "-tls1_1"}[version]
    command = ["openssl", "s_client", flag, "-cipher", "ALL:@SECLEVEL=0", "-connect", f"127.0.0.1:{federation.port}"]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=30, check=False)
    assert done.returncode != 0
    assert b"alert protocol version" in done.stderr


@pytest.mark.parametrize("name", ATTACKS)
def test_a_stranger_costs_little_and_delays_nobody(federation, gate, name):
    ca = federation.root / "fedgates" / "server" / "ca.crt"
    usual, _ = ask(federation.port, ca)
    cost = under_attack(name, gate.pid, federation.port, ca)
    assert len(cost.statuses) > 20
    assert set(cost.statuses) == {usual}
    assert cost.megabytes < 50, cost
    assert cost.seconds < 5, cost  # alone .1; without a gate the answers stop altogether
    assert gate.poll() is None


def test_without_superlink_devices_are_told_to_try_again(federation, gate, device):
    """With a status of those after which a SuperNode does."""
    assert federation.kill("flower-superlink") == 1
    assert device.post("/v1/fleet/pull-messages", content=b"", headers=PROTOBUF).status_code == 502
    with client_at(federation, "127.0.0.3") as hurried:  # and after so many calls at once, without asking SuperLink
        assert {hurried.post("/v1/fleet/pull-messages").status_code for _ in range(1500)} == {502, 503}
    assert device.post("/v1/fleet/pull-messages", content=b"", headers=PROTOBUF).status_code == 502
    federation.start_superlink("superlink again")
    assert device.post("/v1/fleet/pull-messages", content=b"", headers=PROTOBUF).status_code not in (404, 502, 503)


def test_it_ends_at_sigterm_and_leaves_no_process(federation, gate, device):
    processes = family(gate.pid)
    gate.terminate()
    assert gate.wait(10) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes)


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_root_is_refused(federation):
    script = str(ROOT / "deploy" / "gate.sh")
    code, out = federation.run(script, str(federation.root / "fedgates" / "server"), "127.0.0.1", str(free_ports(1)[0]))
    assert (code, out) == (1, "gate.sh: expected a user without privileges, not root\n")
