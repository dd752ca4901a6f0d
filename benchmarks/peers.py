"""python benchmarks/peers.py: CPU time and memory of a simulated client, compared with pfl-research 0.6 on the same work.

1,000 clients with 20 random 8x8 images each, 100 clients per round, an MLP with 85,002 parameters, 1 epoch of SGD with batches
of 10, no evaluation, one CPU thread. fedgates runs without Flower: a `Server` and `Client` objects exchange coded states and
updates. Each run is a new process; runs alternate, and figures are medians. The cost of a client is that of a round, including
the server's work, divided by the number of clients; the first round and data generation are not counted. Memory is the growth
of the resident peak during the rounds.

The requirements of pfl on absl-py and attrs conflict with those of other dependencies, so it is installed in a separate folder,
given by `--pfl`; without it, only fedgates is measured:

    uv pip install --target FOLDER --no-deps pfl==0.6.0 "dp-accounting<0.6" "prv-accountant<0.3"
"""

import argparse
import gc
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

CLIENTS, CHOSEN, IMAGES, BATCH, RATE = 1000, 100, 20, 10, 0.1
PFL = "pfl-research FedAvg"
TOGETHER = {"client.train-together": 10}
VOTES = {"strategy": "coupled-masks", "downlink": "votes"}
PACKED = VOTES | {"uplink": "packed"}
ARMS: dict[str, dict[str, Any]] = {
    PFL: {},
    "FedAvg": {"strategy": "fedavg"},
    "FedAvg, 10 together": {"strategy": "fedavg"} | TOGETHER,
    "coupled masks": {"strategy": "coupled-masks"},
    "coupled masks, 10 together": {"strategy": "coupled-masks"} | TOGETHER,
    'coupled masks, downlink "votes"': VOTES,
    'coupled masks, uplink "packed", downlink "votes"': PACKED,
    'coupled masks, uplink "packed", downlink "votes", 10 together': PACKED | TOGETHER,
}
"""Name and settings of each row."""


def pixels() -> tuple[np.ndarray, np.ndarray]:
    """Return random images ``[clients, images, 8, 8, 1]``, uint8, and labels, of all clients."""
    draw = np.random.default_rng(1)
    x = draw.integers(0, 256, (CLIENTS, IMAGES, 8, 8, 1), dtype=np.uint8)
    return x, draw.integers(0, 10, (CLIENTS, IMAGES), dtype=np.int64)


def fedgates_round(arm: dict[str, Any]) -> Callable[[int], None]:
    """Return a function that runs round `number` of a federation."""
    from fedgates.data import Examples
    from fedgates.federation import Client, ClientData, Problem, Server, train_together
    from fedgates.federation.payloads import decode_state
    from fedgates.methods.registry import build, configure

    problem = Problem.of_images((1, 8, 8), 10)
    settings: dict[str, Any] = {**arm, "local-epochs": 1, "batch-size": BATCH, "fraction-train": CHOSEN / CLIENTS}
    if arm["strategy"] == "fedavg":
        settings["learning-rate"] = RATE
    method = build(*configure(settings), problem)
    server, (x, y) = Server(method, problem), pixels()
    empty = Examples(x[0][:0], y[0][:0])
    decode = lru_cache(maxsize=4)(partial(decode_state, method))  # as in the ClientApp
    clients = [Client(method, name, ClientData(Examples(x[name], y[name]), empty), decode=decode) for name in range(CLIENTS)]
    nodes = {name: name for name in range(CLIENTS)}

    def one_round(number: int) -> None:
        requests = server.open_round(number, nodes)
        if method.config.client.train_together > 1:
            outcomes = train_together((clients[request.client], request) for request in requests)
            replies: Iterable[Any] = (reply for _, reply in outcomes)
        else:
            replies = (clients[request.client].reply(request) for request in requests)
        record = server.close_round(replies)
        if record.counted != CHOSEN:
            raise RuntimeError(f"{record.counted} of {CHOSEN} clients were counted")

    return one_round


def pfl_round() -> Callable[[int], None]:
    """Return a function that runs a central iteration of pfl's FedAvg."""
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.algorithm.base import NNAlgorithmParams
    from pfl.algorithm.federated_averaging import FederatedAveraging
    from pfl.data.federated_dataset import FederatedDataset
    from pfl.data.pytorch import PyTorchTensorDataset
    from pfl.data.sampling import get_user_sampler
    from pfl.hyperparam import NNTrainHyperParams
    from pfl.model.pytorch import PyTorchModel
    from torch.nn import functional as F

    from fedgates import models
    from fedgates.data import normalise
    from fedgates.federation import Problem

    module = models.build("mlp", Problem.of_images((1, 8, 8), 10))
    module.loss = lambda x, y: F.cross_entropy(module(normalise(x)), y)  # type: ignore[assignment]
    module.metrics = lambda x, y: {}  # type: ignore[assignment]  # noqa: ARG005
    x, y = (torch.from_numpy(each) for each in pixels())
    x = x.permute(0, 1, 4, 2, 3).contiguous()
    users = {str(i): PyTorchTensorDataset((x[i], y[i]), user_id=str(i)) for i in range(CLIENTS)}
    dataset = FederatedDataset(users.__getitem__, get_user_sampler("minimize_reuse", list(users)))
    model = PyTorchModel(module, torch.optim.SGD, torch.optim.SGD(module.parameters(), lr=1.0))
    algorithm, backend = FederatedAveraging(), SimulatedBackend(dataset, dataset)
    parameters = NNAlgorithmParams(
        central_num_iterations=1_000_000, evaluation_frequency=1_000_000, train_cohort_size=CHOSEN, val_cohort_size=None
    )
    training = NNTrainHyperParams(local_num_epochs=1, local_learning_rate=RATE, local_batch_size=BATCH)

    def one_round(number: int) -> None:
        (context,), _, _ = algorithm.get_next_central_contexts(model, number, parameters, training)
        statistics, metrics = backend.gather_results(model, algorithm, central_context=context)
        algorithm.process_aggregated_statistics(context, metrics, model, statistics)

    return one_round


def measure(arm: str, rounds: int) -> dict[str, float]:
    """Run a first round and then `rounds` rounds; return CPU milliseconds per client, and megabytes added to the peak."""
    torch.set_num_threads(1)
    one_round = pfl_round() if arm == PFL else fedgates_round(ARMS[arm])
    gc.collect()
    before = resident_peak()
    one_round(1)
    started = time.process_time()
    for number in range(2, rounds + 2):
        one_round(number)
    took = time.process_time() - started
    return {"ms": 1000 * took / rounds / CHOSEN, "mb": (resident_peak() - before) / 1e6}


def resident_peak() -> float:
    """Return the resident peak in bytes, as counted by the kernel."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024.0 * int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])


def main() -> None:
    """Measure all rows, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pfl", default="", help="folder in which pfl is installed")
    parser.add_argument("--measure", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        sys.path.append(args.pfl)
        print(json.dumps(measure(args.measure, args.rounds)))
        return
    from sweep import table

    arms = [arm for arm in ARMS if args.pfl or arm != PFL]
    bases = [base for base in (PFL, "FedAvg") if base in arms]
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
    for _ in range(args.repeats):
        for arm in arms:
            command = [sys.executable, __file__, "--rounds", str(args.rounds), "--pfl", args.pfl, "--measure", arm]
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
            found[arm].append(json.loads(done.stdout.splitlines()[-1]))
    rows = []
    for arm in arms:
        ratios = [median(a["ms"] / b["ms"] for a, b in zip(found[arm], found[base], strict=True)) for base in bases]
        ms, mb = (median(each[name] for each in found[arm]) for name in ("ms", "mb"))
        rows.append([arm, f"{ms:.2f}", *(f"{ratio:.2f}" for ratio in ratios), f"{mb:.0f}"])
    table(
        "A simulated client, beside pfl-research",
        f"python benchmarks/peers.py --rounds {args.rounds} --repeats {args.repeats}" + (" --pfl FOLDER" if args.pfl else ""),
        f"{CLIENTS:,} clients, {CHOSEN} a round, {IMAGES} images each, an MLP of 85,002 parameters, 1 epoch in batches of"
        f" {BATCH}, one CPU thread. Median of {args.repeats} alternating runs of {args.rounds} rounds each; load of the machine"
        f" {os.getloadavg()[0]:.1f}.",
        ["", "CPU ms a client", *(f"/ {base}" for base in bases), "MB added to the peak"],
        rows,
    )


if __name__ == "__main__":
    main()
