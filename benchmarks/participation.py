"""python benchmarks/participation.py: FedPM's reset of the prior with 4 of 20 clients per round and 2 classes per client.

Digits. reset-every is 1 in the authors' released code, 5 by default here (ceil(1 / participation)), and 1000 never resets. With
batches of 16, a client takes about four times as many steps per round as with batches of 64.
"""

from statistics import mean

from sweep import Line, arguments, spread, sweep, table

RESETS = {1: "1 (every round)", 0: "5 (default)", 1000: "never"}
BATCHES = (16, 64)


def late(lines: list[Line], at: int) -> float:
    """Return the mean accuracy of the five rounds (one period of the default) up to round `at`."""
    return mean(line["accuracy"] for line in lines[at - 5 : at])


def main() -> None:
    """Run, and print the table."""
    args = arguments(__doc__ or "", seeds=5, rounds=100)
    base = {
        "strategy": "fedpm",
        "partition": "classes",
        "classes-per-client": 2,
        "fraction-train": 0.2,
        "num-server-rounds": args.rounds,
        "evaluations": "threshold",
    }
    seeds = range(1, args.seeds + 1)
    cases = [(batch, reset) for batch in BATCHES for reset in RESETS]
    runs = sweep([({**base, "batch-size": b, "reset-every": r, "seed": s}, 20) for b, r in cases for s in seeds], args.workers)
    rows = []
    for i, (batch, reset) in enumerate(cases):
        mine = runs[i * args.seeds : (i + 1) * args.seeds]
        rows.append(
            [
                batch,
                RESETS[reset],
                *(spread([late(lines, at) for lines in mine]) for at in (args.rounds * 2 // 5, args.rounds)),
                spread([lines[-1]["entropy_bpp"] for lines in mine], 3, 1),
                spread([mean(line["downlink_bpp"] for line in lines) for lines in mine], 2, 1),
            ]
        )
    table(
        "Partial participation and the reset of the prior",
        f"python benchmarks/participation.py --seeds {args.seeds} --rounds {args.rounds}",
        f"20 clients of 2 classes, 4 a round, digits, mlp. Test accuracy of the thresholded mask in percent, mean of "
        f"five rounds; mean and standard deviation over {args.seeds} seeds.",
        ["batch", "reset-every", f"to round {args.rounds * 2 // 5}", f"to round {args.rounds}", "H2 bpp", "down bpp"],
        rows,
    )


if __name__ == "__main__":
    main()
