"""python benchmarks/digits.py: the README's first command over several seeds, beside other codecs and dense FedAvg."""

from sweep import arguments, spread, sweep, table

RUNS = {
    "fedpm, packed up, float32 down": {"uplink": "packed", "downlink": "float32"},
    "fedpm (side-info up, votes down)": {},
    "fedpm, side-info up, relay down": {"downlink": "relay"},
    "fedpm, sampled up, relay down": {"uplink": "sampled", "downlink": "relay"},
    "dense fedavg": {"strategy": "fedavg"},
}


def main() -> None:
    """Run, and print the table."""
    args = arguments(__doc__ or "", seeds=3, rounds=30)
    seeds = range(1, args.seeds + 1)
    jobs = [({**changes, "num-server-rounds": args.rounds, "seed": s}, 10) for changes in RUNS.values() for s in seeds]
    runs = sweep(jobs, args.workers)
    rows = []
    for i, name in enumerate(RUNS):
        mine = runs[i * args.seeds : (i + 1) * args.seeds]
        up, down = (
            sum(line[key] for lines in mine for line in lines) / len(mine) for key in ("uplink_bytes", "downlink_bytes")
        )
        rates = (
            spread([sum(x[key] for x in lines) / len(lines) for lines in mine], 3, 1) for key in ("uplink_bpp", "downlink_bpp")
        )
        rows.append(
            [
                name,
                spread([lines[-1]["accuracy"] for lines in mine]),
                f"{100 * min(lines[-1]['accuracy'] for lines in mine):.1f}",
                *rates,
                f"{up:,.0f}",
                f"{down:,.0f}",
                f"{up + down:,.0f}",
            ]
        )
    table(
        "Digits, 10 clients",
        f"python benchmarks/digits.py --seeds {args.seeds} --rounds {args.rounds}",
        f"mlp, {args.rounds} rounds, defaults but for the codecs; test accuracy in percent (fedpm: thresholded mask), bits a "
        f"parameter and message, and bytes of all clients; mean and standard deviation over {args.seeds} seeds.",
        ["run", "accuracy", "worst seed", "up bpp", "down bpp", "bytes up", "bytes down", "both"],
        rows,
    )


if __name__ == "__main__":
    main()
