"""Flower's deployment runtime on 127.0.0.1: what the ledger counts is what Flower counts, less its framing."""

import re
import time
from pathlib import Path

import pytest
from engines import ROOT, Sandbox, config_override, free_ports

from fedgates.checkpoint import RunFolder

pytestmark = pytest.mark.slow

FRAMING = 3000
"""Bytes that Flower may add to a message both ways together: metadata, object headers, and the other records in it."""


def test_the_ledgers_bytes_are_the_bytes_that_flower_counts(raw, tmp_path):
    config = raw(round_timeout=120.0, num_server_rounds=2)
    with Sandbox(tmp_path / "sandbox") as sandbox:
        link, *nodes = free_ports(3)
        (sandbox.home / "config.toml").write_text(
            f'[superlink]\ndefault = "dep"\n\n[superlink.dep]\naddress = "127.0.0.1:{link}"\ninsecure = true\n'
        )
        offline = "--disable-runtime-dependency-installation"
        sandbox.start(
            "flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(link), offline, name="superlink"
        )
        time.sleep(3)
        for i, port in enumerate(nodes):
            sandbox.start(
                "flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{link}", "--port", str(port), offline,
                "--node-config", f"partition-id={i} num-partitions=2", name=f"supernode{i}",
            )  # fmt: skip
        code, out = sandbox.run(
            "flwr", "run", str(ROOT), "dep", "--stream", "--run-config", config_override(config), timeout=200
        )
        assert code == 0, out + sandbox.log("superlink")
        (run,) = sandbox.runs("dep")
    folder = RunFolder(Path(re.findall(r"^results: (.+)$", out, re.MULTILINE)[0]))
    lines = folder.ledger.read()
    assert [line["clients_counted"] for line in lines] == [2, 2], out
    uplink, downlink = (sum(line[key] for line in lines) for key in ("uplink_bytes", "downlink_bytes"))
    messages = 2 * 2 + 2  # two rounds of two clients, and one introduction each
    traffic = {key: value for key, value in run.items() if "bytes" in key or "traffic" in key}
    counted = sorted(_numbers(traffic))
    assert counted, run
    print(f"ledger: up {uplink}, down {downlink}; Flower: {traffic}")
    # every payload is sent to the SuperLink by one end and fetched from it by the other, so both of Flower's directions carry both
    for total in counted:
        assert uplink + downlink <= total <= uplink + downlink + messages * FRAMING, (traffic, uplink, downlink)


def _numbers(value):
    if isinstance(value, dict):
        return [n for v in value.values() for n in _numbers(v)]
    return [value] if isinstance(value, int) and value > 0 else []
