"""python benchmarks/study/pages.py: writes the tables of measured numbers into README.md and the pages of docs/.

Each page has one table, or several, between two marks; every number comes from a study's results.json or from a claim.
"""

from collections.abc import Callable
from pathlib import Path

import claims

ROOT = claims.HERE.parents[1]
MARK = "<!-- made by benchmarks/study/pages.py -->"
STUDY = "methods_digits"
EVEN = "IID, 4 of 20 clients"
FEDAVG = "fedavg"
NAMES = {
    "coupled_masks": ("coupled masks", "masks"),
    "fedpm": ("fedpm", "masks"),
    "fedmask": ("fedmask", "masks"),
    "one_bit_gates": ("one-bit gates, .1", "masks"),
    "fediht": ("fediht, .1", "masks and values"),
    "sparsyfed": ("sparsyfed, .1", "masks and values"),
    "signsgd": ("signsgd", "signs"),
    "topk": ("topk, .05", "masks and values"),
    "fedavg": (FEDAVG, "weights"),
    "entropy_gates": ("entropy gates, .1", "weights and gradients"),
}
"""Page of a method to its name in the study, and what its clients send."""
CLAIMS = {
    "coupled_masks": ("coupled masks",),
    "fedpm": ("2309.10834",),
    "one_bit_gates": ("2512.23071",),
    "entropy_gates": ("2512.23071", "2607.00275", "entropy gates"),
    "sparsyfed": ("2504.05153", "SparsyFed"),
    "lips": ("2506.00932",),
    "fediht": ("Fed-IHT",),
}
"""Page of a method to words that its claims contain."""
HARDWARE = "Hardware: two x86-64 CPU cores, no GPU."


def short_table() -> str:
    """Return one row for each method with its accuracy on uneven digits and its bytes."""
    methods = claims.study(STUDY)[claims.UNEVEN]
    lines = ["| method | clients send | accuracy | MB, both ways |", "|---|---|---|---|"]
    for page, (name, sent) in sorted(NAMES.items(), key=lambda item: methods[item[1][0]]["mean"]["bytes"]):
        one = methods[name]
        lines.append(f"| [{name}](docs/methods/{page}.md) | {sent} | {claims.percent(one)} | {claims.megabytes(one)} |")
    return "\n".join(lines)


def full_table() -> str:
    """Return every method on digits, in an uneven scenario and in the even one."""
    methods = claims.study(STUDY)
    uneven, even = methods[claims.UNEVEN], methods[EVEN]
    lines = [
        "| method | accuracy, 2 classes per client | worst seed | MB, both ways | accuracy, IID | MB | density |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in sorted(uneven.items(), key=lambda item: item[1]["mean"]["bytes"]):
        other = even[name]
        worst = f"{100 * one['worst']:.1f} %"
        cells = (claims.percent(one), worst, claims.megabytes(one), claims.percent(other), claims.megabytes(other))
        lines.append("| " + " | ".join([name, *cells, claims.of(one, "last_model_density", 2)]) + " |")
    return "\n".join(lines)


def method_tables(page: str) -> str:
    """Return a method's results on digits beside FedAvg's, and its claims beside our results."""
    parts = []
    if page in NAMES:
        name, _ = NAMES[page]
        lines = [
            f"Digits, mlp, 30 rounds, five seeds, with FedAvg on the same data (`{name}` in `benchmarks/study/{STUDY}.toml`):",
            "",
            "| data | accuracy | MB, both ways | FedAvg | MB |",
            "|---|---|---|---|---|",
        ]
        for scenario, methods in claims.study(STUDY).items():
            cells = [f"{claims.percent(one)} | {claims.megabytes(one)}" for one in (methods[name], methods[FEDAVG])]
            lines.append(f"| {scenario} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    for heading, found in (("paper's figure", claims.PAPERS), ("to reach", claims.TARGETS)):
        if chosen := tuple(claims_of(page, found)):
            parts.append("\n".join(claims.rows(chosen, heading)))
    return "\n\n".join([*parts, HARDWARE])


def claims_of(page: str, found: tuple[claims.Claim, ...]) -> list[claims.Claim]:
    """Return the claims that contain a word of the page; "the same" belongs to the claim before."""
    chosen, belongs = [], False
    for claim in found:
        if not claim.claim.startswith("the same"):
            belongs = any(word in claim.claim for word in CLAIMS.get(page, ()))
        if belongs:
            chosen.append(claim)
    return chosen


def filled_in(page: str, table: str) -> str:
    """Return a page with a table between its marks."""
    before, _, rest = page.partition(MARK)
    _, _, after = rest.partition(MARK)
    return f"{before}{MARK}\n{table}\n{MARK}{after}"


def tables() -> dict[Path, Callable[[], str]]:
    """Return the pages with marks, and the function that makes the table of each."""
    pages: dict[Path, Callable[[], str]] = {
        ROOT / "README.md": short_table,
        ROOT / "docs/explanation/choosing_a_method.md": full_table,
    }
    for name in sorted({*NAMES, *CLAIMS}):
        pages[ROOT / f"docs/methods/{name}.md"] = lambda name=name: method_tables(name)
    return pages


def main() -> None:
    """Write the tables."""
    for path, table in tables().items():
        path.write_text(filled_in(path.read_text(encoding="utf-8"), table()), encoding="utf-8")


if __name__ == "__main__":
    main()
