"""python benchmarks/pretrained.py --weights FILE --data-dir DIR: masks over pretrained or random weights, and dense training.

FILE has a resnet8 trained on CIFAR-100 (benchmarks/pretrain.py). 10 clients have 100 images of CIFAR-10 each, IID or with 2
classes per client; all train in each of 12 rounds for 3 local epochs. There are 2,000 test images. Settings were chosen on seed
1 and are reported on seeds 4 to 6. The arms are:

- random gates: a mask over random weights, without the file;
- given, class means: gates on the weights in the file; the last layer is sent as float16 values and starts from class means;
- given, random head: the same, with a last layer that starts from random values;
- dense: FedAvg of all weights, or of the last layer only, which starts from random values;
- fixed norms: batch norms use the statistics in the file instead of those of each batch.

--arms takes names separated by semicolons.
"""

import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from sweep import Line, arguments, spread, sweep, table

from fedgates import data
from fedgates.data.npz import read_npz
from fedgates.methods.masks import MaskMethod
from fedgates.methods.measurements import MEASURES
from fedgates.methods.registry import build, configure
from fedgates.methods.training import Task

CLIENTS, IMAGES, TEST, ROUNDS = 10, 100, 2000, (1, 3, 6, 12)
SIZE, LAST = 77_082, 650
"""Numbers of parameters of resnet8 with ten outputs, and of its last layer."""
GIVEN = {"gates.frozen": "given", "gates.sent": "last", "fresh": "last", "wire.value-type": "float16"}
MEANS = {**GIVEN, "gates.sent-start": "class-means", "gates.sent-learning-rate": 0.005}
FIXED = {"model": "pretrained_networks:resnet8_fixed_norms"}
HEAD_ONLY = {"fresh": "last", "gates.fixed": "0,3,4,5", "learning-rate": 0.1}
ARMS: dict[str, dict[str, Any]] = {
    "fedpm, random gates": {"strategy": "fedpm"},
    "coupled-masks, random gates": {"strategy": "coupled-masks"},
    "fedpm, given, random head": {"strategy": "fedpm", **GIVEN, "gates.sent-learning-rate": 0.01},
    "fedpm, given, class means": {"strategy": "fedpm", **MEANS},
    "fedpm, given, class means, sampled": {"strategy": "fedpm", **MEANS, "uplink": "sampled"},
    "fedpm, given, class means, half the rate": {"strategy": "fedpm", **MEANS, "learning-rate": 0.05},
    "coupled-masks, given, class means": {"strategy": "coupled-masks", **MEANS},
    "fedpm, given, class means, fixed norms": {"strategy": "fedpm", **MEANS, **FIXED},
    "coupled-masks, given, class means, fixed norms": {"strategy": "coupled-masks", **MEANS, **FIXED},
    "fedavg, all weights": {"strategy": "fedavg", "fresh": "last", "learning-rate": 0.1},
    "fedavg, last layer": {"strategy": "fedavg", **HEAD_ONLY},
    "fedavg, all weights, fixed norms": {"strategy": "fedavg", "fresh": "last", "learning-rate": 0.1, **FIXED},
    "fedavg, last layer, fixed norms": {"strategy": "fedavg", **HEAD_ONLY, **FIXED},
}
PARTS = {"iid": {"partition": "iid"}, "2 classes": {"partition": "classes", "data.classes-per-client": 2}}


def reduced(path: Path, target: Path) -> None:
    """Write the training images and the first test images of an npz file."""
    whole = read_npz("cifar10", path)
    few = whole.test.take(np.arange(TEST))
    names = np.array(whole.class_names)
    np.savez(target, x_train=whole.train.x, y_train=whole.train.y, x_test=few.x, y_test=few.y, classes=names)


def settings(arm: str, part: str, seed: int, args: Any, file: Path) -> dict[str, Any]:  # noqa: ANN401
    """Return the settings of a run."""
    own = {"weights": args.weights} if "random gates" not in arm else {}
    base = {"model": "resnet8", "dataset": f"npz:{file}", "data.samples-per-client": IMAGES, "num-server-rounds": args.rounds}
    masks = {"gates.evaluations": "threshold"} if "fedavg" not in arm else {}
    return {**base, **masks, **own, **PARTS[part], **ARMS[arm], "seed": seed}


def start(settings_of_run: dict[str, Any]) -> float:
    """Return the accuracy before the first round."""
    kind, config = configure(settings_of_run)
    dataset = data.load_once(config)
    method = build(kind, config, dataset.problem)
    state = method.initial_state()
    if isinstance(method, MaskMethod) and config.gates.sent_start == "class-means":
        total = np.zeros(MEASURES["features"].size(method.network))
        for part in data.shares(dataset, config, CLIENTS):
            method.load_tail(state)
            method.network.weights.copy_(method.weights(state))
            examples = Task(*data.to_tensors(dataset.train.take(part), "cpu"), server_round=1)
            total += MEASURES["features"].sums(method.network, examples, config.precision)
        state = method.start_at_class_means(state, total)
    method.load_tail(state)
    return method.score(method.weights(state), *data.to_tensors(dataset.test, "cpu"))["accuracy"]


def row(arm: str, starts: list[float], runs: list[list[Line]]) -> list[Any]:
    """Return a row of the table, given the accuracy before the first round and the rounds of each seed's run."""
    cells = [spread(starts)]
    cells += [spread([lines[number - 1]["accuracy"] for lines in runs]) for number in ROUNDS if number <= len(runs[0])]
    up, down = (mean(sum(line[f"{way}link_bytes"] for line in lines) / 1e6 for lines in runs) for way in ("up", "down"))
    six = [line for lines in runs for line in lines[:6]]
    bpp = mean(line["uplink_bpp"] for line in six)
    values = 16 * LAST / (SIZE - LAST) if "given" in arm else 0.0
    mask = f"{bpp - values:.3f}" if "fedavg" not in arm else "-"
    return [arm, *cells, mask, f"{bpp:.3f}", f"{up:.2f}", f"{down:.2f}"]


def main() -> None:
    """Run, and print the tables."""
    options = {"weights": "", "data_dir": "~/fedgates/data", "arms": ";".join(ARMS), "parts": ",".join(PARTS)}
    args = arguments(__doc__ or "", **options, first_seed=4, seeds=3, rounds=12)
    arms = [arm for arm in ARMS if arm in args.arms.split(";")]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cifar10.npz"
        reduced(Path(args.data_dir).expanduser() / "cifar10.npz", file)
        seeds = range(args.first_seed, args.first_seed + args.seeds)
        parts: list[Any] = []
        header = [
            "arm",
            "round 0",
            *(f"round {n}" for n in ROUNDS if n <= args.rounds),
            "bpp up, masks",
            "bpp up",
            "MB up",
            "MB down",
        ]
        for part in args.parts.split(","):
            jobs = [settings(arm, part, seed, args, file) for arm in arms for seed in seeds]
            starts = [start(job) for job in jobs]
            lines = sweep([(job, CLIENTS) for job in jobs], args.workers)
            of_arm = [slice(i * args.seeds, (i + 1) * args.seeds) for i in range(len(arms))]
            rows = [row(arm, starts[its], lines[its]) for arm, its in zip(arms, of_arm, strict=True)]
            text = (
                f"Partition: {part}. Accuracy on {TEST} test images in percent, mean and deviation over seeds {seeds[0]}"
                f" to {seeds[-1]}. bpp up: bits a client sends in a round, for each gate (of FedAvg: weight), mean of the first"
                " six rounds; of masks alone, and with the values of the last layer. MB: all clients, all rounds."
            )
            parts += [text, header, rows]
            print("\n".join(map(str, rows)), file=sys.stderr, flush=True)
        table("Pretrained weights", "python benchmarks/pretrained.py --weights FILE --data-dir DIR", *parts)


if __name__ == "__main__":
    main()
