"""python benchmarks/participation.py: 4 of 20 clients a round, 2 classes each; how long the prior is kept.

Digits, 40 rounds. reset-every 1 is the authors' released code, 5 the default here (ceil(1 / participation)), 1000 never resets.
"""

from sweep import arguments, spread, sweep, table


def main() -> None:
    """Run, and print the table."""
    args = arguments(__doc__ or "", seeds=5, rounds=40)
    base = {"partition": "classes", "classes-per-client": 2, "fraction-train": 0.2, "num-server-rounds": args.rounds}
    resets = (1, 0, 1000)
    jobs = [({**base, "reset-every": reset, "seed": s}, 20) for reset in resets for s in range(1, args.seeds + 1)]
    runs = sweep(jobs, args.workers)
    rows = []
    for i, reset in enumerate(resets):
        mine = runs[i * args.seeds : (i + 1) * args.seeds]
        late = [sum(x["accuracy"] for x in lines[-5:]) / 5 for lines in mine]
        rows.append(
            [
                {1: "1 (every round)", 0: "5 (default)", 1000: "never"}[reset],
                spread([lines[-1]["accuracy"] for lines in mine]),
                spread(late),
                spread([lines[-1]["accuracy_mean"] for lines in mine]),
                spread([x[-1]["density"] for x in mine], 3, 1),
                spread([sum(x["downlink_bpp"] for x in lines) / len(lines) for lines in mine], 2, 1),
            ]
        )
    table(
        "Partial participation and the reset of the prior",
        f"python benchmarks/participation.py --seeds {args.seeds} --rounds {args.rounds}",
        f"20 clients of 2 classes, 4 a round, digits, {args.rounds} rounds; percent, mean and standard deviation over "
        f"{args.seeds} seeds.",
        ["reset-every", "accuracy, last round", "mean of last 5 rounds", "mean network", "density", "down bpp"],
        rows,
    )


if __name__ == "__main__":
    main()
