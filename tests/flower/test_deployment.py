"""Flower's deployment runtime on 127.0.0.1: what the ledger counts is what Flower counts, less its framing.

The run relays sampled masks, so that each client's memory has to last from one message's process to the next one's.
"""

import re
import time
from pathlib import Path

import pytest
from engines import ROOT, Sandbox, config_override, free_ports

from fedgates.checkpoint import RunFolder

pytestmark = pytest.mark.slow

FRAMING = 2000
"""Bytes that Flower may add to a message: its metadata, a header an object, and the other records (1.3 to 1.6 kB with 1.41)."""


def test_the_ledgers_bytes_are_the_bytes_that_flower_counts(raw, tmp_path):
    config = raw(round_timeout=120.0, num_server_rounds=3, uplink="sampled", downlink="relay")
    with Sandbox(tmp_path / "sandbox") as sandbox:
        link, *nodes = free_ports(3)
        (sandbox.home / "config.toml").write_text(
            f'[superlink]\ndefault = "dep"\n\n[superlink.dep]\naddress = "127.0.0.1:{link}"\ninsecure = true\n'
        )
        offline = "--disable-runtime-dependency-installation"
        sandbox.start("flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(link), offline, name="superlink")
        time.sleep(3)
        for i, port in enumerate(nodes):
            sandbox.start(
                "flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{link}", "--port", str(port),
                "--node-config", f"partition-id={i} num-partitions=2", name=f"supernode{i}",
            )  # fmt: skip
        code, out = sandbox.run(
            "flwr", "run", str(ROOT), "dep", "--stream", "--run-config", config_override(config), timeout=500
        )
        assert code == 0, out + sandbox.log("superlink")
        (run,) = sandbox.runs("dep")
    folder = RunFolder(Path(re.findall(r"^results: (.+)$", out, re.MULTILINE)[0]))
    lines = folder.ledger.read()
    assert [line["clients_counted"] for line in lines] == [2, 2, 2], out
    assert [list(line["uplink"]) for line in lines] == [["mask, sampled"]] * 3
    assert [list(line["downlink"]) for line in lines] == [["votes"], ["relay, sampled"], ["relay, sampled"]]
    uplink, downlink = (sum(line[key] for line in lines) for key in ("uplink_bytes", "downlink_bytes"))
    traffic = run["network-traffic"]
    messages = 3 * 2 + 2  # three rounds of two clients, and one introduction each
    for ledger, flower in ((uplink, traffic["inbound-bytes"]), (downlink, traffic["outbound-bytes"])):
        assert ledger < flower < ledger + messages * FRAMING, (uplink, downlink, traffic)
