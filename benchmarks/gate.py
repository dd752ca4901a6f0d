"""``python benchmarks/gate.py``: memory, and delay of other callers, under four attacks on the devices' port by one stranger.

nginx, as deploy/gate.sh starts it, is compared with the gate in Python that it replaced, which is taken from git. Each is
restarted for each attack, with a soft limit of 1,024 open files, in front of a SuperLink.
"""

import os
import platform
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "deploy"), str(ROOT / "tests" / "support")]

from attacks import ATTACKS, ask, memory, under_attack  # noqa: E402
from engines import until  # noqa: E402
from federation import NGINX, Federation  # noqa: E402

OLD = "203e6c7:deploy/gate.py"


def main() -> None:
    """Attack both gates, and print and write the table."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    if NGINX is None:
        sys.exit("there is no nginx")
    rows = [["idle"], *([name] for name in ATTACKS)]
    with tempfile.TemporaryDirectory() as folder, Federation(Path(folder) / "federation") as server:
        server.do("certificates.sh")
        server.start_superlink()
        site = server.root / "fedgates" / "server"
        old = Path(folder) / "gate.py"
        old.write_text(subprocess.run(["git", "show", OLD], capture_output=True, text=True, check=True, cwd=ROOT).stdout)

        def python() -> subprocess.Popen[bytes]:
            command = f"{sys.executable} {old} {site} 127.0.0.1 {server.port} --superlink 127.0.0.1:{server.local}"
            gate = server.start(*command.split(), name="gate.py")
            until(lambda: ask(server.port, site / "ca.crt")[0] == 415, "gate.py")
            return gate

        for start in (python, server.start_gate):
            gate = start()
            _, seconds = ask(server.port, site / "ca.crt")
            rows[0] += [f"{memory(gate.pid):,.0f}", f"{seconds:.2f}"]
            gate.terminate()
            gate.wait()
            for row in rows[1:]:
                gate = start()
                cost = under_attack(row[0], gate.pid, server.port, site / "ca.crt")
                failed = sum(status != 415 for status in cost.statuses)
                lost = f", {failed} of {len(cost.statuses)} calls failed" if failed else ""
                row += [f"{cost.megabytes:,.0f}", f"{cost.seconds:.2f}{lost}"]
                print(row, flush=True)
                gate.terminate()
                gate.wait()
    version = subprocess.run([str(NGINX), "-v"], capture_output=True, text=True, check=True).stderr.strip()
    table = [
        "| attack | gate.py, MB | slowest answer, s | nginx, MB | slowest answer, s |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    text = (
        "# Attacks on the devices' port\n\n`python benchmarks/gate.py`\n\n"
        f"One stranger; peak memory of all processes of the gate, and the slowest answer to another caller, which makes a new "
        f"connection for each call. {version.split(': ')[1]}, Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"load of the machine {os.getloadavg()[0]:.1f}.\n\n"
    )
    text += "\n".join(table) + "\n"
    (ROOT / "benchmarks" / "results" / "gate.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
