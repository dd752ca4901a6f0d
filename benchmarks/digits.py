"""python benchmarks/digits.py: the README's first command over several seeds, beside dense FedAvg on the same wire."""

from sweep import arguments, spread, sweep, table


def main() -> None:
    """Run, and print the table."""
    args = arguments(__doc__ or "", seeds=3, rounds=30)
    seeds = range(1, args.seeds + 1)
    methods = ("fedpm", "fedavg")
    runs = sweep(
        [({"strategy": m, "num-server-rounds": args.rounds, "seed": s}, 10) for m in methods for s in seeds], args.workers
    )
    rows = []
    for i, method in enumerate(methods):
        mine = runs[i * args.seeds : (i + 1) * args.seeds]
        up, down = (sum(line[key] for line in mine[0]) for key in ("uplink_bytes", "downlink_bytes"))
        rows.append(
            [
                method,
                spread([lines[-1]["accuracy"] for lines in mine]),
                f"{100 * min(lines[-1]['accuracy'] for lines in mine):.1f}",
                f"{up:,}",
                f"{down:,}",
                f"{up + down:,}",
            ]
        )
    table(
        "Digits, 10 clients",
        f"python benchmarks/digits.py --seeds {args.seeds} --rounds {args.rounds}",
        f"mlp, {args.rounds} rounds, defaults; test accuracy in percent (fedpm: thresholded mask), mean and "
        f"standard deviation over {args.seeds} seeds.",
        ["method", "accuracy", "worst seed", "bytes up", "bytes down", "both"],
        rows,
    )


if __name__ == "__main__":
    main()
