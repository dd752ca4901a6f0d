"""python benchmarks/density_penalty.py: what lambda does to density, bit rate and accuracy; digits, 10 IID clients."""

from sweep import arguments, spread, sweep, table

LAMBDAS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)


def main() -> None:
    """Run, and print the table."""
    args = arguments(__doc__ or "", seeds=3, rounds=30)
    seeds = range(1, args.seeds + 1)
    jobs = [
        ({"density-penalty": value, "num-server-rounds": args.rounds, "seed": seed}, 10) for value in LAMBDAS for seed in seeds
    ]
    runs = sweep(jobs, args.workers)
    rows = []
    for i, value in enumerate(LAMBDAS):
        last = [lines[-1] for lines in runs[i * args.seeds : (i + 1) * args.seeds]]
        rows.append(
            [
                f"{value:g}",
                spread([x["density"] for x in last], 3, 1),
                spread([x["entropy_bpp"] for x in last], 3, 1),
                spread([x["uplink_bpp"] for x in last], 3, 1),
                spread([x["density_threshold"] for x in last], 3, 1),
                spread([x["accuracy"] for x in last]),
                spread([x["accuracy_sample"] for x in last]),
            ]
        )
    table(
        "The density penalty",
        f"python benchmarks/density_penalty.py --seeds {args.seeds} --rounds {args.rounds}",
        f"Digits, mlp, 10 IID clients, last of {args.rounds} rounds; mean and standard deviation over {args.seeds} seeds, "
        "accuracy in percent.",
        [
            "lambda",
            "density sent",
            "H2 bpp",
            "side-info bpp",
            "density thresholded",
            "accuracy thresholded",
            "accuracy sampled",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
