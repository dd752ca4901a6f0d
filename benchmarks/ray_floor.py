"""CPU seconds of a simulation, compared with a trivial Flower app that sends equally many messages of the same sizes.

    python benchmarks/ray_floor.py
    python benchmarks/ray_floor.py --nodes 200 --repeats 1

The trivial app sends messages with Flower's send_and_receive, and its clients reply with arbitrary bytes. It shows the cost of
Flower and Ray ("bare"), and their cost for an app that imports torch ("with torch"). The apps run alternately with `flwr run`.
"""

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sweep import ROOT, table

import fedgates
from fedgates import data
from fedgates.config import RunConfig
from fedgates.federation.callbacks import Record
from fedgates.federation.server import Server
from fedgates.runs.callback import Callback

sys.path.insert(0, str(ROOT / "tests" / "support"))

from engines import Sandbox  # found by the line above

SETTINGS = {
    "data.seed": 1,
    "fraction-train": 0.1,
    "local-epochs": 1,
    "strategy": "coupled-masks",
}
PYPROJECT = """
[project]
name = "{name}"
version = "1.0.0"
description = "An app of benchmarks/ray_floor.py"
license = {{file = "LICENSE"}}
dependencies = ["flwr[simulation]>=1.41,<2"]
[tool.flwr.app]
publisher = "fedgates"
fab-format-version = 1
flwr-version-target = "1.41.0"
fab-include = ["/*.py", "/LICENSE"]
[tool.flwr.app.components]
serverapp = "server:app"
clientapp = "client:app"
[tool.flwr.app.config]
{config}
"""
METER = '''
import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu():
    """User and system seconds of this process and all below it, with those of processes that have ended."""
    seconds, parents = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_bytes().rsplit(b")", 1)[1].split()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        seconds[int(entry.name)] = sum(map(int, fields[11:15])) / TICKS
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(seconds[pid] for pid in ours if pid in seconds)


def report(what):
    print(f"cpu seconds {what}: {cpu():.2f}", flush=True)
'''
OURS = (
    METER
    + """
from fedgates.runs.callback import Callback
from fedgates.flower import make_server_app


class Report(Callback):
    def on_start(self, server, first_round, *, resumed):
        report("at the start")

    def on_round_end(self, record, server):
        report(f"round {record['round']}")
        print("clients", record["clients_counted"], "of", record["clients_selected"], flush=True)


app = make_server_app(callbacks=lambda: [Report()])
""",
    """
from fedgates.flower import make_client_app

app = make_client_app()
""",
)
FLOOR = (
    METER
    + """
import json, random, time

from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import ServerApp
IMPORT

app = ServerApp()


@app.main()
def main(grid, context):
    sizes, nodes = json.loads(context.run_config["sizes"]), []
    while len(nodes) < context.run_config["nodes"]:
        time.sleep(0.1)
        nodes = list(grid.get_node_ids())
    report("at the start")
    for number, (count, down, up) in enumerate(sizes, 1):
        array = Array(dtype="uint8", shape=(down,), stype="raw", data=bytes(down))
        content = RecordDict({"state": ArrayRecord({"state": array}), "sizes": MetricRecord({"up": up})})
        chosen = random.sample(nodes, count)
        replies = list(grid.send_and_receive([Message(content, node, MessageType.TRAIN) for node in chosen]))
        assert len(replies) == count and not any(reply.has_error() for reply in replies)
        report(f"round {number}")
""",
    """
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.clientapp import ClientApp
IMPORT

app = ClientApp()


@app.train()
def train(message, context):
    up = int(message.content["sizes"]["up"])
    array = Array(dtype="uint8", shape=(up,), stype="raw", data=bytes(up))
    return Message(RecordDict({"update": ArrayRecord({"update": array})}), reply_to=message)
""",
)
EXAMPLES = 20
"""Number of examples of a client."""
Numbers = dict[str, float]


def write_data(file: Path, nodes: int) -> None:
    """Write enough images of 8x8 pixels, digits with noise, for all clients, and the test images of digits."""
    digits = data.load_once(RunConfig())
    random = np.random.default_rng(1)
    chosen = random.integers(0, len(digits.train), nodes * EXAMPLES)
    noise = random.integers(0, 10, (len(chosen), *digits.train.x.shape[1:]), dtype=np.uint8)
    np.savez(
        file, x_train=digits.train.x[chosen] + noise, y_train=digits.train.y[chosen], x_test=digits.test.x, y_test=digits.test.y
    )


def write_app(folder: Path, code: tuple[str, str], config: dict[str, object]) -> Path:
    """Write a Flower app and return its folder."""
    folder.mkdir()
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in config.items())
    (folder / "pyproject.toml").write_text(PYPROJECT.format(name=folder.name, config=lines))
    (folder / "LICENSE").write_text("Apache-2.0\n")
    for name, text in zip(("server.py", "client.py"), code, strict=True):
        (folder / name).write_text(text)
    return folder


def run(box: Sandbox, app: Path, nodes: int) -> tuple[Numbers, str]:
    """Run an app; return the CPU seconds that it printed, by name, and its output."""
    federation = f"num-supernodes={nodes} client-resources-num-cpus=1"
    _, out = box.run("flwr", "run", str(app), "--stream", "--federation-config", federation, cwd=app.parent, timeout=1800)
    found = {what: float(seconds) for what, seconds in re.findall(r"cpu seconds (.+): ([\d.]+)", out)}
    if "round 1" not in found:
        sys.exit(out)
    return found, out


def message_sizes(out: str) -> list[tuple[int, int, int]]:
    """Return the number of clients and the mean bytes down and up for each round of our run."""
    folder = re.findall(r"^results: (.+)$", out, re.MULTILINE)[0]
    lines = [json.loads(line) for line in (Path(folder) / "rounds.jsonl").read_text().splitlines()]
    return [(n := line["clients_selected"], line["downlink_bytes"] // n, line["uplink_bytes"] // n) for line in lines]


def main() -> None:
    """Run the apps in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        write_data(place / "images.npz", options.nodes)
        config = (
            SETTINGS
            | {"dataset": f"npz:{place / 'images.npz'}"}
            | {"num-server-rounds": options.rounds, "output-dir": str(place / "runs")}
        )
        ours = write_app(place / "ours", OURS, {json.dumps(key): value for key, value in config.items()})
        found: dict[str, list[Numbers]] = {}
        with Sandbox(place / "sandbox") as box:
            floors: dict[str, Path] = {}
            for _ in range(options.repeats):
                numbers, out = run(box, ours, options.nodes)
                found.setdefault("fedgates", []).append(numbers)
                trained = set(re.findall(r"^clients (.+)$", out, re.MULTILINE))
                if trained != {f"{options.nodes // 10} of {options.nodes // 10}"}:
                    sys.exit(f"not all clients trained: {trained}")
                if not floors:
                    sizes = {"sizes": json.dumps(message_sizes(out)), "nodes": options.nodes}
                    for name, line in (("bare", ""), ("with torch", "import torch")):
                        code = tuple(text.replace("IMPORT", line) for text in FLOOR)
                        floors[name] = write_app(place / name.replace(" ", "-"), code, sizes)
                for name, app in floors.items():
                    found.setdefault(name, []).append(run(box, app, options.nodes)[0])
                print(json.dumps({name: each[-1] for name, each in found.items()}), file=sys.stderr)
        own = own_work(config, options.nodes)
    report(options, found, own)


def own_work(config: Mapping[str, Any], nodes: int) -> float:
    """Return the CPU seconds of a round in one process, that is, of clients and server alone; the first is not counted."""
    torch.set_num_threads(1)
    clock = Clock()
    fedgates.simulate(config, nodes, callbacks=[clock], progress=False)
    return (clock.seconds[-1] - clock.seconds[0]) / (len(clock.seconds) - 1)


class Clock(Callback):
    """Callback that records the CPU seconds of this process at the end of each round."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_round_end(self, record: Record, server: Server[Any]) -> None:  # noqa: ARG002
        """Read the clock."""
        self.seconds.append(time.process_time())


def report(options: argparse.Namespace, found: dict[str, list[Numbers]], own: float) -> None:
    """Print the table."""
    first, last, further = "round 1", f"round {options.rounds}", options.rounds - 1
    means = {name: {what: statistics.mean(each[what] for each in runs) for what in runs[0]} for name, runs in found.items()}
    rows = []
    for title, work, seconds in (
        ("to the end of round 1", own, {name: mean[first] for name, mean in means.items()}),
        ("a further round", own, {name: (mean[last] - mean[first]) / further for name, mean in means.items()}),
        (f"to the end of round {options.rounds}", own * options.rounds, {name: mean[last] for name, mean in means.items()}),
    ):
        floors = seconds["bare"], seconds["bare"] + work, seconds["with torch"], seconds["with torch"] + work
        ratios = (f"{floor:.2f} ({seconds['fedgates'] / floor:.2f})" for floor in floors)
        rows.append([title, f"{seconds['fedgates']:.2f}", *ratios])
    command = f"python benchmarks/ray_floor.py --nodes {options.nodes} --rounds {options.rounds} --repeats {options.repeats}"
    text = (
        f"CPU seconds of all processes of a simulation, mean of {options.repeats} runs of each app in turn; {options.nodes:,}"
        " nodes, of which a tenth trains each round. Own work is what a round of ours takes in one process,"
        f" {own:.2f} s. In brackets the ratio of ours to the floor."
    )
    header = ["", "fedgates", "bare", "bare + own work", "with torch", "with torch + own work"]
    table("Cost of a simulation beside Flower's own", command, text, header, rows)


if __name__ == "__main__":
    main()
