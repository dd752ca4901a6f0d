"""The scripts of deploy/, without Flower: what they make, and their errors; and the systemd units."""

import re
import shutil
import stat
import subprocess
import sys

import pytest
from commands import Page
from engines import ROOT

DEPLOY = ROOT / "deploy"


def call(script, *arguments, **env):
    command = [str(DEPLOY / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", **env})
    return done.returncode, done.stdout, done.stderr


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def openssl(*arguments):
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=True).stdout


def test_certificates_name_what_they_are_for_and_keys_are_private(tmp_path):
    ca, server = tmp_path / "ca", tmp_path / "server"
    code, _, error = call("certificates.sh", ca, server, "fed.example.org", "192.168.1.10", "fd00::10")
    assert (code, error) == (0, "")
    names = openssl("x509", "-in", server / "server.crt", "-noout", "-ext", "subjectAltName")
    for name in ("DNS:localhost", "IP Address:127.0.0.1", "DNS:fed.example.org", "IP Address:192.168.1.10", "IP Address:FD00:"):
        assert name in names
    assert "OK" in openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", ca / "ca.crt", server / "server.crt")
    assert sorted(path.name for path in server.iterdir()) == ["ca.crt", "server.crt", "server.key"]
    assert [mode(ca / "ca.key"), mode(server / "server.key"), mode(ca / "ca.crt"), mode(server / "server.crt")] == [
        0o600, 0o600, 0o644, 0o644,
    ]  # fmt: skip


def test_no_key_is_ever_overwritten(tmp_path):
    ca, server, device = tmp_path / "ca", tmp_path / "server", tmp_path / "device"
    assert call("certificates.sh", ca, server, "localhost")[0] == 0
    assert call("device-key.sh", device)[0] == 0
    assert mode(device / "device.key") == 0o600
    before = {path: path.read_bytes() for path in (ca / "ca.key", server / "server.key", device / "device.key")}
    for script, arguments, key in (
        ("certificates.sh", (ca, server, "localhost"), server / "server.key"),
        ("device-key.sh", (device,), device / "device.key"),
    ):
        assert call(script, *arguments) == (1, "", f"{script}: {key} is there already; remove it to make another\n")
    assert call("certificates.sh", ca, tmp_path / "second", "localhost")[0] == 0  # by the same authority
    assert {path: path.read_bytes() for path in before} == before
    assert openssl("verify", "-CAfile", ca / "ca.crt", tmp_path / "second" / "server.crt").endswith("OK\n")


BAD = [
    ("certificates.sh", [], "usage: certificates.sh CA_FOLDER SERVER_FOLDER NAME_OR_ADDRESS..."),
    ("certificates.sh", ["ca", "server", "a b"], "a b: expected a host name or an IP address"),
    ("certificates.sh", ["ca", "server", "1.2.3.400"], ""),
    ("certificates.sh", [".", ".", "localhost"], ".: expected two folders, because the CA's key does not belong on the server"),
    ("device-key.sh", [], "usage: device-key.sh FOLDER"),
    ("superlink.sh", [], "usage: superlink.sh SERVER_FOLDER [PORT]"),
    ("superlink.sh", ["none"], "none/ca.crt: expected what certificates.sh makes"),
    ("supernode.sh", ["f"], "usage: supernode.sh DEVICE_FOLDER SERVER:PORT NUMBER DATA [LOCAL_PORT [LIMIT=VALUE...]]"),
    ("supernode.sh", ["none", "s:1", "0", "/d"], "none/ca.crt: expected the server's ca.crt and the device.key that"),
    ("supernode.sh", ["device", "s", "0", "/d"], "s: expected SERVER:PORT"),
    ("supernode.sh", ["device", "s:1", "01", "/d"], "01: expected a number, another one for each device"),
    ("supernode.sh", ["device", "s:1", "0", "d"], "d: expected an absolute path"),
    ("supernode.sh", ["device", "s:1", "0", '/"d'], '/"d: expected a path without quotes and backslashes'),
    ("supernode.sh", ["device", "s:1", "0", "/d"], "/d: expected an .npz file or a folder of images, but there is none"),
    (
        "supernode.sh",
        ["device", "s:1", "0", "/", "9094", "a b=1"],
        "a b=1: expected limits.max-gates, -payload-mb, -decode-mb or",
    ),
    ("gate.sh", ["f"], "usage: gate.sh SERVER_FOLDER ADDRESS PORT [SUPERLINK:PORT]"),
    ("gate.sh", ["none", "0.0.0.0", "8443"], "none/ca.crt: expected what certificates.sh makes"),
    ("gate.sh", ["site", "0.0.0.0;", "8443"], "0.0.0.0;: expected an address of this machine, 0.0.0.0 for all"),
    ("gate.sh", ["site", "0.0.0.0", "084"], "084: expected a port"),
    ("gate.sh", ["site", "0.0.0.0", "8443", "8000"], "8000: expected SUPERLINK:PORT"),
    ("gate.sh", ["a|site", "0.0.0.0", "8443"], "a|site: expected a path without quotes, \\, $, | and &"),
    ("register.sh", ["f"], "usage: register.sh KEYS_FOLDER CONNECTION"),
    ("register.sh", ["f", "fed"], "f: expected a folder with NUMBER.pub, the device.pub of a device, for each number"),
    ("connection.sh", ["fed"], "usage: connection.sh NAME SERVER:PORT CA_CRT"),
    ("connection.sh", ["a.b", "s:1", "ca.crt"], "a.b: expected a name of letters, digits and -"),
    ("connection.sh", ["fed", "s", "ca.crt"], "s: expected SERVER:PORT"),
    ("connection.sh", ["fed", "s:1", "ca.crt"], "ca.crt: expected the server's ca.crt"),
]


@pytest.mark.parametrize("limit", ["limits.max-payload-mb=8", "max-payload-mb=8"])
def test_a_device_sets_lower_limits_in_its_node_config(limit, tmp_path):
    (tmp_path / "flower-supernode").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "flower-supernode").chmod(0o755)
    for name in ("ca.crt", "device.key"):
        (tmp_path / name).touch()
    code, out, _ = call("supernode.sh", tmp_path, "s:1", "3", "/", "9094", limit, PATH=f"{tmp_path}:/usr/bin:/bin")
    assert code == 0
    assert f'partition-id=3 data-path="/" {limit}' in out.splitlines()


@pytest.mark.parametrize(("script", "arguments", "line"), BAD)
def test_bad_input_gets_one_line(script, arguments, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("device", "site", "a|site"):
        (tmp_path / folder).mkdir()
        for name in ("ca.crt", "device.key", "server.crt", "server.key"):
            (tmp_path / folder / name).touch()
    code, out, error = call(script, *arguments, HOME=str(tmp_path))
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert error.startswith(f"{script}: {line}")
    assert not (tmp_path / "server" / "server.key").exists()


def test_a_connection_is_named_once(tmp_path):
    ca = tmp_path / "ca.crt"
    ca.touch()
    config = tmp_path / ".flwr" / "config.toml"
    assert call("connection.sh", "fed", "s:1", ca, HOME=str(tmp_path))[0] == 0
    assert call("connection.sh", "other", "[::1]:2", ca, HOME=str(tmp_path))[0] == 0
    text = config.read_text()
    assert text == "".join(
        f'\n[superlink.{name}]\naddress = "{address}"\nroot-certificates = "{ca}"\n'
        for name, address in (("fed", "s:1"), ("other", "[::1]:2"))
    )
    again = f"connection.sh: {config} has a connection fed already; remove it to make another\n"
    assert call("connection.sh", "fed", "s:3", ca, HOME=str(tmp_path)) == (1, "", again)
    assert config.read_text() == text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
@pytest.mark.parametrize("unit", ["superlink", "gate", "supernode"])
def test_systemd_accepts_the_units(unit, tmp_path):
    text = (DEPLOY / f"fedgates-{unit}.service").read_text()
    here = text.replace("/opt/fedgates/.venv/bin/python", sys.executable).replace("/opt/fedgates", str(ROOT))
    assert "/opt" not in here
    path = tmp_path / f"fedgates-{unit}.service"
    path.write_text(here)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
@pytest.mark.parametrize("unit", sorted(DEPLOY.glob("*.service")), ids=lambda unit: unit.stem)
def test_units_are_confined_and_bounded(unit):
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=25", "--no-pager", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    for limit in ("MemoryMax", "LimitNOFILE"):
        assert re.search(rf"^{limit}=\d+[M%]?$", unit.read_text(), re.MULTILINE), limit


def test_the_page_installs_every_unit_and_its_environment():
    blocks = [block for block in Page().blocks if block.how == "systemd"]
    assert [block.machine for block in blocks] == ["server", "device"]
    commands = "\n".join(block.commands for block in blocks)
    for unit in DEPLOY.glob("*.service"):
        assert f"deploy/{unit.name}" in commands
        text = unit.read_text()
        (environment,) = re.findall(r"^EnvironmentFile=(.+)$", text, re.MULTILINE)
        written = re.search(rf"printf '([^']+)'(?:(?!printf)[\s\S])*tee {environment}", commands)[1]
        assert set(re.findall(r"\$\{?([A-Z]+)", text.split("ExecStart=")[1].split("\n")[0])) <= set(
            re.findall(r"([A-Z]+)=", written)
        )
