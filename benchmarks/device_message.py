"""CPU and wall seconds for one message on a device: a new process decodes a state, trains, and codes the update.

    python benchmarks/device_message.py
    python benchmarks/device_message.py --against /path/to/another/checkout

With --against, the same message is also sent to the client app of another checkout, alternately; the last column is the ratio.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {"num-server-rounds": 2, "samples-per-client": 50, "local-epochs": 3}
METHODS = {"fedpm": {}, "fedavg": {"learning-rate": 0.1}}
CHILD = """
import sys, time
from flwr.app import Context, RecordDict
from flwr.common.serde import message_from_proto
from flwr.proto.message_pb2 import Message as Proto
from flwr.supercore.task_identity import TaskIdentity
import json
TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
flower = time.process_time()
from client_app import app
message = message_from_proto(Proto.FromString(open(sys.argv[1], "rb").read()))
context = Context(1, 1000, {"partition-id": 0, "num-partitions": 10}, RecordDict(), json.loads(sys.argv[2]))
reply = app(message, context)
assert not reply.has_error(), reply.error.reason
print(time.process_time() - flower, "torch._dynamo" in sys.modules, file=sys.stderr)
"""


def state_message(settings: dict[str, object], file: Path) -> None:
    """Write the first message of a run to a client that trains."""
    sys.path.insert(0, str(ROOT))
    from flwr.common.serde import message_to_proto

    from client_app import app
    from fedgates.flower import LoopbackGrid, run_on_grid

    class Recording(LoopbackGrid):
        def deliver(self, message):  # noqa: ANN001, ANN202
            if message.metadata.message_type == "train" and not file.exists():
                file.write_bytes(message_to_proto(message).SerializeToString())
            return super().deliver(message)

    run_on_grid(Recording(app, settings, 10), settings)


def measure(tree: Path, file: Path, settings: dict[str, object]) -> tuple[float, float, str]:
    """Return CPU and wall seconds of a process that answers the message with the code of a checkout."""
    started, before = time.monotonic(), os.times()
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, "-c", CHILD, str(file), json.dumps(settings)]
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, time.monotonic() - started, done.stderr.split()[-1]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--repeat", type=int, default=5)
    chosen = parser.parse_args()
    trees = {"this checkout": ROOT, **({"the other": chosen.against.resolve()} if chosen.against else {})}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, own in METHODS.items():
            settings = {**SETTINGS, **own, "strategy": name, "output-dir": folder}
            file = Path(folder, f"{name}.message")
            state_message(settings, file)
            found: dict[str, list[tuple[float, float, str]]] = {label: [] for label in trees}
            for tree in trees.values():
                measure(tree, file, settings)  # compiles what it imports
            for _ in range(chosen.repeat):
                for label, tree in trees.items():
                    found[label].append(measure(tree, file, settings))
            first = statistics.median(cpu for cpu, _, _ in found["this checkout"])
            for label, values in found.items():
                cpu, wall = (statistics.median(v[i] for v in values) for i in (0, 1))
                loads = "yes" if values[-1][2] == "True" else "no"
                rows.append(f"| {name} | {label} | {cpu:.2f} | {wall:.2f} | {loads} | {cpu / first:.2f} |")
    print(f"python benchmarks/device_message.py{' --against OTHER' if chosen.against else ''}, median of {chosen.repeat}")
    print("\n| method | code | CPU seconds | wall seconds | imports torch._dynamo | CPU, ratio |\n|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
