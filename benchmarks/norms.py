"""python benchmarks/norms.py: norm layers over random frozen weights, and statistics of batch norms in finished models.

Digits, 10 clients, IID or with 2 classes each, 10 rounds. The variants are: batch norm with scale and shift fixed (1 and 0),
sent as values, or with a gate on each scale (the frozen scale has a random sign); group norm; no norm. In training, batch norms
use the statistics of the batch. The finished network is evaluated with three kinds of statistics:

- batch: statistics of 360 test images, as in the evaluation of every round;
- clients: sums of x and x^2 from one pass over the clients' examples with the final mask, as in the model file;
- running: averages with momentum .1 that clients collect with sampled masks, as an unmodified batch norm does.
"""

import logging
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import norm_networks
import torch
from sweep import ROOT, arguments, spread, table
from torch import nn

from fedgates import data, load
from fedgates.data import normalise, to_tensors
from fedgates.methods.masks import MaskMethod
from fedgates.methods.registry import build, configure
from fedgates.nn.gates import sample
from fedgates.runs import checkpoint

CLIENTS, ROUNDS = 10, 10
ARMS: dict[str, dict[str, Any]] = {
    "batch norm, scale and shift fixed": {"model": "norm_networks:batch_norm"},
    "batch norm, scale and shift sent": {"model": "norm_networks:batch_norm", "gates.sent": "1,4"},
    "batch norm, scale gated": {"model": "norm_networks:batch_norm", "gates.gated": "1.weight,4.weight"},
    "group norm": {"model": "norm_networks:group_norm"},
    "no norm": {"model": "norm_networks:no_norm"},
}
PARTS: dict[str, dict[str, Any]] = {
    "alike": {"partition": "iid"},
    "2 classes": {"partition": "classes", "data.classes-per-client": 2},
}


def accuracy(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Return the accuracy in evaluation mode."""
    network.eval()
    with torch.no_grad():
        return float((network(normalise(x)).argmax(1) == y).double().mean())


def running(method: MaskMethod[Any], state: Any, raw: dict[str, Any], x: torch.Tensor, y: torch.Tensor) -> float:  # noqa: ANN401
    """Return the accuracy of the thresholded mask with running averages collected with sampled masks."""
    config, network = method.config, method.network
    dataset = data.load_once(config)
    method.load_tail(state)
    norms = [layer for layer in network.module.modules() if isinstance(layer, nn.BatchNorm2d)]
    averages = [[torch.zeros(layer.num_features), torch.ones(layer.num_features)] for layer in norms]
    draw = torch.Generator().manual_seed(raw["seed"])

    def average(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        kept = averages[norms.index(layer)]  # type: ignore[arg-type]
        found = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3))
        kept[:] = [0.9 * old + 0.1 * new for old, new in zip(kept, found, strict=True)]

    handles = [layer.register_forward_pre_hook(average) for layer in norms]
    theta = method.theta(state)
    for part in data.shares(dataset, config, CLIENTS):
        images, _ = to_tensors(dataset.train.take(part), "cpu")
        for batch in images.split(16):
            method.gates.load(sample(theta, draw))
            with torch.no_grad():
                network.eval()
                network(normalise(batch))
    for handle in handles:
        handle.remove()
    method.network.weights.copy_(method.weights(state))
    for layer, (mean, var) in zip(norms, averages, strict=True):
        layer.running_mean, layer.running_var, layer.track_running_stats = mean, var, True
    return accuracy(network.module, x, y)


def run(job: tuple[str, dict[str, Any]]) -> tuple[float, float, float]:
    """Return the accuracies of one run with the three kinds of statistics, which are equal without batch norms."""
    from fedgates.flower.app import load_app, run_one  # imported in the worker process

    log = logging.getLogger("fedgates")
    log.addHandler(logging.NullHandler())
    log.setLevel(logging.ERROR)
    torch.set_num_threads(1)
    arm, raw = job
    with tempfile.TemporaryDirectory() as folder:
        left = run_one(load_app(ROOT), raw, CLIENTS, Path(folder))
        of_batch = left.round_log.read()[-1]["accuracy"]
        function = getattr(norm_networks, raw["model"].partition(":")[2])
        model = load(left.path / "model.fedgates", network=function)
        kind, config = configure(raw)
        dataset = data.load_once(config)
        method = build(kind, config, dataset.problem)
        found = checkpoint.load(left.path, method.digest)
    x, y = to_tensors(dataset.test, "cpu")
    of_clients = accuracy(model.network, x, y)
    if found is None or "batch norm" not in arm or not isinstance(method, MaskMethod):
        return of_batch, of_clients, of_clients
    return of_batch, of_clients, running(method, found[0], raw, x, y)


def main() -> None:
    """Run all, and print the tables."""
    args = arguments(__doc__ or "", strategy="fedpm", first_seed=4, seeds=3)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    parts: list[Any] = []
    for part, own in PARTS.items():
        base = {**own, "strategy": args.strategy, "num-server-rounds": ROUNDS, "gates.evaluations": "threshold"}
        jobs = [(arm, {**base, **keys, "seed": seed}) for arm, keys in ARMS.items() for seed in seeds]
        with ProcessPoolExecutor(args.workers) as pool:
            found = list(pool.map(run, jobs))
        rows = []
        for i, arm in enumerate(ARMS):
            mine = found[i * args.seeds : (i + 1) * args.seeds]
            kinds = [spread([each[k] for each in mine]) for k in range(3)]
            rows.append([arm, *kinds] if "batch norm" in arm else [arm, kinds[0], "-", "-"])
        text = (
            f"Partition: {part}, {args.strategy}. Accuracy in percent on the test set after {ROUNDS} rounds, mean and standard"
            f" deviation over seeds {seeds[0]} to {seeds[-1]}; statistics of the batch, of the clients, and running averages."
        )
        parts += [text, ["norm", "batch", "clients", "running"], rows]
    table("Norm layers", f"python benchmarks/norms.py --strategy {args.strategy}", *parts)


if __name__ == "__main__":
    main()
