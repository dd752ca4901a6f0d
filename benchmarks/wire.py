"""python benchmarks/wire.py --data-dir DIR --records DIR: size, time and loss of the coders of masks and states.

FedPM on MNIST, conv4, 10 clients with 200 images each, 3 local epochs, Adam .1, batch 64, bfloat16; lossless and with sampled
masks for each seed, and 4 of 20 clients for one seed. Every update is coded and decoded. Recordings are kept under --records
(some hundred megabytes per run) and reused; the data folder is torchvision's folder with MNIST.
"""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from sweep import arguments, table  # must be first, because it puts the repository on the path
from wire_coders import coders, knowledge, server
from wire_federation import federation
from wire_sampled import limits

from fedgates.config import RunConfig

EVALUATED = frozenset((1, 5, 10, 15, 20, 25, 30))
SHOWN = frozenset((1, 5, 10, 20))


def main() -> None:
    """Make the missing recordings, and print the tables."""
    args = arguments(__doc__ or "", data_dir="~/fedgates/data", records="~/fedgates/records", seeds=3, rounds=30)
    records, data_dir = (Path(path).expanduser() for path in (args.records, args.data_dir))
    whole, some = _runs(str(data_dir), records, range(1, args.seeds + 1), args.rounds)
    _record([*whole, *some], args.workers)
    lossless, sampled = ([job[2] for job in whole if job[0]["uplink"] == uplink] for uplink in ("packed", "sampled"))
    table(
        "What the wire costs",
        f"python benchmarks/wire.py --data-dir DIR --records DIR --seeds {args.seeds} --rounds {args.rounds}",
        *coders(lossless[0], some[0][2], sorted(SHOWN)),
        *knowledge(lossless[0], (5, 10, 20)),
        *federation(lossless, sampled, min(20, args.rounds), args.rounds),
        *limits(lossless[0], [number for number in (1, 5, 20) if number <= args.rounds], args.workers),
        *server(),
    )


def _runs(data_dir: str, records: Path, seeds: range, rounds: int) -> tuple[list[Any], list[Any]]:
    """Return the federations to record: with all clients, lossless and sampled, and with some of the clients."""
    base = {
        "strategy": "fedpm",
        "dataset": "mnist",
        "data-dir": data_dir,
        "model": "conv4",
        "precision": "bfloat16",
        "evaluations": "threshold",
        "samples-per-client": 200,
        "batch-size": 64,
    }
    extra = {"packed": {}, "sampled": {"sampled-extra-bits": RunConfig().wire.sampled_extra_bits}}
    whole = [
        (
            {**base, "uplink": uplink, **extra[uplink], "seed": seed},
            10,
            records / f"k10{name}-seed{seed}",
            rounds,
            EVALUATED,
            thetas,
        )
        for uplink, name, thetas in (("packed", "", SHOWN), ("sampled", "-sampled", frozenset[int]()))
        for seed in seeds
    ]
    one = {**base, "uplink": "packed", "seed": 1, "fraction-train": 0.2}
    return whole, [(one, 20, records / "k4of20-seed1", min(20, rounds), EVALUATED, SHOWN)]


def _record(jobs: list[Any], workers: int) -> None:
    from recordings import record  # imports torch, which the parent process does not need

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(workers) as pool:
        for done, _ in enumerate(pool.map(record, jobs), 1):
            print(f"  {done}/{len(jobs)} recordings", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
