"""python benchmarks/privacy.py: cost of flipping the bits of masks with probability p, in accuracy and in bits.

Digits, all clients in every round. One bit has epsilon = ln((1 - p) / p). H2(p) is the entropy of the flips: even a coder that
knew the trained mask would have to send it. The last table combines flips, liars and trimmed votes.
"""

import math

import numpy as np
from lies import accuracy, case, federations, method
from sweep import Line, arguments, spread, table

from fedgates.methods.randomized_response import epsilon
from fedgates.types import Update, Value, pack
from fedgates.util.entropy import binary_entropy
from fedgates.wire import VersionedState

PROBABILITIES = {10: (0.0, 0.05, 0.1, 0.2, 0.3, 0.4), 50: (0.0, 0.1, 0.2, 0.3)}
CLIENTS: dict[int, dict[str, Value]] = {10: {}, 50: {"samples-per-client": 28}}


def packed_bpp() -> float:
    """Return the bits per gate of a packed mask including its header, which is the same for all masks."""
    of = method((("strategy", "fedpm"), ("uplink", "packed")))
    mask = pack(np.zeros(of.network.size, dtype=np.bool_))
    return 8 * len(of.codec.pack_update(Update(mask), VersionedState(of.initial_state(), 1), 0)) / of.network.size


def uplink_bpp(runs: list[list[Line]]) -> str:
    """Return the bits per gate and message over all rounds."""
    return spread([sum(line["uplink_bpp"] for line in lines) / len(lines) for lines in runs], 3, 1)


def main() -> None:
    """Run, and print the tables."""
    args = arguments(__doc__ or "", seeds=3, rounds=20)
    base = {"strategy": "fedpm", "num-server-rounds": args.rounds}
    flips = {(n, p): case({**base, "flip-probability": p, **more}, n) for n, more in CLIENTS.items() for p in PROBABILITIES[n]}
    met = [
        ("nothing", case({**base, "trim": 0.0}, 20)),
        ("30 % liars", case({**base, "trim": 0.0}, 20, 0.3, "inverse")),
        ("30 % liars, trim 0.3", case({**base, "trim": 0.3}, 20, 0.3, "inverse")),
        ("30 % liars, trim 0.3, p 0.1", case({**base, "trim": 0.3, "flip-probability": 0.1}, 20, 0.3, "inverse")),
    ]
    runs = federations([*flips.values(), *(of for _, of in met)], args.seeds, args.workers)
    packed = f"{packed_bpp():.3f}"
    table(
        "Randomised response on masks",
        f"python benchmarks/privacy.py --seeds {args.seeds} --rounds {args.rounds}",
        "FedPM on digits, IID, all clients in every round: 10 of 143 images, 50 of 28. Test accuracy of the thresholded mask "
        f"after round {args.rounds}, in percent; uplink bits per gate and message, mean of all rounds; mean and standard "
        f"deviation over {args.seeds} seeds. Epsilon is of one bit in one round.",
        ["clients", "p", "epsilon", "accuracy", "side-info", "packed", "H2(p)"],
        [
            [n, f"{p:g}", eps(p), accuracy(runs[of]), uplink_bpp(runs[of]), packed, f"{binary_entropy(p):.3f}"]
            for (n, p), of in flips.items()
        ],
        "## With liars and trimmed votes\n\n20 clients with 71 images; liars send the inverse of their masks (lies.py).",
        ["with", "accuracy"],
        [[name, accuracy(runs[of])] for name, of in met],
    )


def eps(p: float) -> str:
    """Return epsilon of one bit as text."""
    return "none" if math.isinf(epsilon(p)) else f"{epsilon(p):.2f}"


if __name__ == "__main__":
    main()
