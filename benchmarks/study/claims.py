"""python benchmarks/study/claims.py: each claim beside our result and a verdict, from the studies' results.json.

Writes claims.md; pages.py writes the tables of the documentation. Every number comes from a study, and each verdict's
thresholds are next to the text of its claim.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

HERE = Path(__file__).resolve().parent
NEARLY = 1.5
"""Points of accuracy within which two methods count as nearly equal."""
UNEVEN = "2 classes, 4 of 20 clients"
Methods = dict[str, dict[str, Any]]
Result = tuple[str, str]
"""A verdict, and our figures."""


@dataclass(frozen=True)
class Claim:
    """A row of a table."""

    claim: str
    paper: str
    """The paper's figure, or the figure to reach."""
    studies: str
    """Studies that the result is computed from, separated by spaces."""
    judge: Callable[[], Result]


def study(name: str) -> dict[str, Methods]:
    """Scenario to method to its numbers."""
    found: dict[str, Methods] = json.loads((HERE / name / "results.json").read_text(encoding="utf-8"))["scenarios"]
    return found


def of(method: dict[str, Any], key: str, digits: int = 1, scale: float = 1.0) -> str:
    """A key's mean and standard deviation over seeds."""
    middle, sd = method["mean"][key], method["sd"].get(key)
    if middle is None:
        return "never"
    return f"{scale * middle:.{digits}f}" + (f" ± {scale * sd:.{digits}f}" if sd is not None else "")


def percent(method: dict[str, Any], key: str = "metric") -> str:
    """An accuracy in percent."""
    return of(method, key, 1, 100) + " %"


def verdict(value: float, held: float, in_part: float) -> str:
    """Held from `held` on, in part from `in_part` on."""
    return "held" if value >= held else "held in part" if value >= in_part else "not held"


def megabytes(method: dict[str, Any]) -> str:
    """Bytes both ways, of all clients and rounds."""
    return f"{method['mean']['bytes'] / 1e6:.2f}"


def points(base: dict[str, Any], other: dict[str, Any]) -> float:
    """By how many points of accuracy a method is below another one."""
    return float(100 * (base["mean"]["metric"] - other["mean"]["metric"]))


def penalty_rate() -> Result:
    """H2 of the masks .8 bits below FedPM's on MNIST (.31 to .52 on CIFAR), at nearly equal accuracy."""
    (_, base), *others = study("density_mnist")["default"].items()
    best, parts = 0.0, []
    for name, found in others:
        gain = base["mean"]["last_entropy_bpp"] - found["mean"]["last_entropy_bpp"]
        loss = points(base, found)
        parts.append(f"{name}: {gain:.2f} lower, {-loss:+.1f} points")
        best = max(best, gain if loss <= NEARLY else 0)
    return verdict(best, 0.8, 0.31), f"FedPM has {of(base, 'last_entropy_bpp', 2)} and {percent(base)}; " + "; ".join(parts)


def penalty_bytes() -> Result:
    """Up to five times less communication than FedPM at nearly equal accuracy: bytes both ways, as they travel."""
    best, parts = 0.0, []
    for name, scenario in (("density_penalty", "IID"), ("density_mnist", "default")):
        (_, base), *others = study(name)[scenario].items()
        for other, found in others:
            times, loss = base["mean"]["bytes"] / found["mean"]["bytes"], points(base, found)
            best = max(best, times if loss <= NEARLY else 0)
            parts.append(f"{'digits' if scenario == 'IID' else 'MNIST'}, {other}: {times:.1f} times, {-loss:+.1f} points")
    return verdict(best, 5, 1.2), f"at most {best:.1f} times at nearly equal accuracy; " + "; ".join(parts)


def penalty_questions() -> list[str]:
    """Return a table: the four questions that readers of arXiv 2309.10834 ask, on digits."""
    lines = [
        "| scenario | lambda | (a) H2 of the last masks | (b) MB, both ways | (c) accuracy | (d) rounds to 60 % (seeds) |",
        "|---|---|---|---|---|---|",
    ]
    for scenario, methods in study("density_penalty").items():
        for name, found in methods.items():
            rounds = f"{of(found, 'round_to_0.6')} ({found['reached']['0.6']}/{len(found['seeds'])})"
            row = [
                scenario,
                name.removeprefix("lambda "),
                of(found, "last_entropy_bpp", 2),
                megabytes(found),
                percent(found),
                rounds,
            ]
            lines.append(f"| {' | '.join(row)} |")
    return lines


def density_control() -> Result:
    """Gates end within .02 of the target density, with partial participation, too."""
    worst: dict[str, float] = {}
    for methods in study("gates_density").values():
        for name, found in methods.items():
            kind, _, target = name.partition(", ")
            off = max(abs(run["last_model_density"] - float(target)) for run in found["seeds"])
            worst[kind] = max(worst.get(kind, 0.0), off)
    return verdict(-worst["entropy gates"], -0.02, -0.05), "; ".join(f"{kind}: {off:.3f}" for kind, off in worst.items())


def scarce(name: str, metric: str) -> Result:
    """Entropy gates beat Fed-IHT and FedAvg with pruning on test data and in support recovery."""
    methods = study(name)["default"]
    gates = {key: found for key, found in methods.items() if key.startswith("entropy gates")}
    others = {key: found for key, found in methods.items() if key not in gates}
    best = max(gates, key=lambda key: gates[key]["mean"]["metric"])
    wins = [
        sum(gates[best]["mean"][key] > found["mean"][key] for key in ("metric", "last_support_f1")) for found in others.values()
    ]
    parts = [
        f"{key}: {metric} {of(m, 'metric', 3)}, F1 {of(m, 'last_support_f1', 2)}"
        for key, m in {best: gates[best], **others}.items()
    ]
    return "held" if min(wins) == 2 else "held in part" if max(wins) == 2 else "not held", "; ".join(parts)


def entropy_term() -> Result:
    """A positive entropy term, which keeps gates undecided, helps; the negative one is its counterpart."""
    wins, parts = 0, []
    for name, metric in (("scarce_linear", "r2"), ("scarce_logistic", "accuracy")):
        methods = study(name)["default"]
        base = methods["entropy gates, tau 0"]["mean"]
        for key, found in methods.items():
            if key.startswith("entropy gates") and not key.endswith("tau 0"):
                gain, f1 = found["mean"]["metric"] - base["metric"], found["mean"]["last_support_f1"] - base["last_support_f1"]
                parts.append(f"{name.removeprefix('scarce_')}, {key.rpartition(', ')[2]}: {metric} {gain:+.3f}, F1 {f1:+.2f}")
                wins += 0 if "minus" in key else (gain > 0) + (f1 > 0)
    return "held" if wins == 4 else "held in part" if wins else "not held", "compared with tau 0, " + "; ".join(parts)


def sparsyfed_accuracy(arm: str) -> Result:
    """SparsyFed at 95 % sparsity loses next to nothing against dense training."""
    losses, parts = [], []
    for scenario, methods in study("sparsyfed").items():
        losses.append(points(methods["fedavg"], methods[arm]))
        parts.append(f"{scenario}: {percent(methods[arm])}, dense {percent(methods['fedavg'])}")
    return verdict(-max(losses), -1, -5), "; ".join(parts)


def sparsyfed_bytes(arm: str) -> Result:
    """19.29 times less communication than dense training."""
    ratios, parts = [], []
    for scenario, methods in study("sparsyfed").items():
        ratios.append(methods["fedavg"]["mean"]["bytes"] / methods[arm]["mean"]["bytes"])
        parts.append(f"{scenario}: {ratios[-1]:.1f} times, mean density {of(methods[arm], 'last_mean_density', 3)}")
    return verdict(mean(ratios), 19.29, 10), "; ".join(parts)


def sparsyfed_regrowth() -> Result:
    """Regrowth of weights a round 200 times smaller than under Top-K without Powerprop."""
    held, parts, key = True, [], "last_mean_regrown_share_of_ones"
    for scenario, methods in study("sparsyfed").items():
        own, other = (methods[name]["mean"][key] for name in ("sparsyfed", "Top-K of weights"))
        held &= 200 * own <= other and other > 0
        parts.append(f"{scenario}: {own:.1e} and {other:.1e}")
    return "held" if held else "not held", "share of the ones sent, SparsyFed and Top-K: " + "; ".join(parts)


def lips_gain() -> Result:
    """LIPS is more accurate than FedAvg with scarce, uneven data."""
    methods = study("lips")["default"]
    base = methods["fedavg"]
    gains = []
    for name in ("lips, d0 .5", "lips, d0 .3"):
        pairs = zip(methods[name]["seeds"], base["seeds"], strict=True)
        gains.append(mean(100 * (a["last_client_accuracy"] - b["last_client_accuracy"]) for a, b in pairs))
    parts = [
        f"{name}: before aggregation {percent(m, 'last_train_accuracy')}, after {percent(m, 'last_client_accuracy')}"
        for name, m in methods.items()
    ]
    return verdict(max(gains), 1, 0.0001), f"at best {max(gains):+.1f} points after aggregation; " + "; ".join(parts)


def middle_layers() -> Result:
    """Under FedAvg middle layers move least, and stall soonest."""
    layers = json.loads((HERE / "lips" / "inertia.json").read_text(encoding="utf-8"))["fedavg"]
    (first, *_), (last, *_) = layers.values(), reversed(layers.values())
    middle = list(layers.values())[1:-1]
    early, late = (mean(layer[when] for layer in middle) for when in ("early", "late"))
    least = max(layer["early"] for layer in middle) < min(first["early"], last["early"])
    soonest = late / early < min(first["late"] / first["early"], last["late"] / last["early"])
    text = (
        f"resnet8 on digits, root mean square of a round's global update a weight, first 5 rounds and last 10: first layer "
        f"{first['early']:.5f} and {first['late']:.5f}, middle layers {early:.5f} and {late:.5f}, classifier "
        f"{last['early']:.5f} and {last['late']:.5f}; they {'move' if least else 'do not move'} least from the start, and "
        f"{'fall' if soonest else 'do not fall'} off more than both"
    )
    return ("not held", "held in part", "held")[least + soonest], text


def at_least(name: str, scenario: str, target: float, method: str = "coupled masks") -> Result:
    """The method reaches a mean accuracy, in percent; FedAvg's is beside it."""
    methods = study(name)[scenario]
    mine = methods[method]
    others = [
        f"{key}: {percent(m)}, {megabytes(m)} MB" for key, m in methods.items() if key.startswith(("fedpm", "fedavg", "dense"))
    ]
    found = f"{percent(mine)}, worst seed {100 * mine['worst']:.1f} %, {megabytes(mine)} MB; "
    return "reached" if 100 * mine["mean"]["metric"] >= target else "not reached", found + "; ".join(others)


def recovers(name: str, method: str, metric: float, f1: float) -> Result:
    """The method reaches a mean r2 or accuracy, and a mean F1 of the support."""
    found = study(name)["default"][method]
    reached = found["mean"]["metric"] >= metric and found["mean"]["last_support_f1"] >= f1
    text = f"{of(found, 'metric', 3)}, F1 {of(found, 'last_support_f1', 2)}, worst seed {found['worst']:.3f}"
    return "reached" if reached else "not reached", text


def near_fedavg(name: str, scenario: str, within: float, method: str = "coupled masks") -> Result:
    """The method comes within so many points of FedAvg, the better of its arms."""
    methods = study(name)[scenario]
    loss = max(points(dense, methods[method]) for key, dense in methods.items() if key.startswith("fedavg"))
    _, figures = at_least(name, scenario, 0, method)
    return "reached" if loss <= within else "not reached", f"{-loss:+.1f} points; {figures}"


PAPERS = (
    Claim(
        "2309.10834: the density penalty lowers H2 of the masks, at nearly equal accuracy",
        ".8 bits per parameter on MNIST, .31 to .52 on CIFAR",
        "density_mnist",
        penalty_rate,
    ),
    Claim("2309.10834: fewer bytes than FedPM", "up to 5 times", "density_penalty density_mnist", penalty_bytes),
    Claim(
        "2512.23071: gates end at the target density, with partial participation, too (largest distance of any seed)",
        "at the target",
        "gates_density",
        density_control,
    ),
    Claim(
        "2607.00275: gates beat Fed-IHT and FedAvg with pruning, linear regression",
        "better test error and support (abstract)",
        "scarce_linear",
        lambda: scarce("scarce_linear", "r2"),
    ),
    Claim(
        "2607.00275: the same, logistic regression",
        "the same",
        "scarce_logistic",
        lambda: scarce("scarce_logistic", "accuracy"),
    ),
    Claim(
        "2607.00275: entropy that keeps gates undecided (tau above 0) helps",
        "helps (abstract)",
        "scarce_linear scarce_logistic",
        entropy_term,
    ),
    Claim(
        "2504.05153: 95 % sparse, as published",
        "negligible loss of accuracy",
        "sparsyfed",
        lambda: sparsyfed_accuracy("sparsyfed as published"),
    ),
    Claim("the same, with our defaults", "negligible loss of accuracy", "sparsyfed", lambda: sparsyfed_accuracy("sparsyfed")),
    Claim(
        "2504.05153: fewer bytes than dense, as published",
        "19.29 times",
        "sparsyfed",
        lambda: sparsyfed_bytes("sparsyfed as published"),
    ),
    Claim("the same, with our defaults", "19.29 times", "sparsyfed", lambda: sparsyfed_bytes("sparsyfed")),
    Claim("2504.05153: less regrowth a round than Top-K", "200 times", "sparsyfed", sparsyfed_regrowth),
    Claim(
        "2506.00932: under FedAvg with scarce, uneven data middle layers hardly move after early rounds",
        "stall",
        "lips",
        middle_layers,
    ),
    Claim("2506.00932: with scarce data transient sparsity is more accurate than FedAvg", "a gain", "lips", lips_gain),
)
"""Claims of the papers."""

TARGETS = (
    Claim("coupled masks, digits, 2 classes", "85 %", "methods_digits", lambda: at_least("methods_digits", UNEVEN, 85)),
    Claim(
        "coupled masks, digits, 1 class",
        "75 %",
        "methods_digits",
        lambda: at_least("methods_digits", "1 class, 4 of 20 clients", 75),
    ),
    Claim(
        "coupled masks, digits, Dirichlet .1",
        "90 %",
        "methods_digits",
        lambda: at_least("methods_digits", "Dirichlet .1, 4 of 20 clients", 90),
    ),
    Claim(
        "coupled masks, digits, IID, 10 of 10 clients",
        "96.5 %",
        "digits_codecs",
        lambda: at_least("digits_codecs", "default", 96.5, "coupled masks, side-info up, delta down"),
    ),
    Claim(
        "coupled masks, digits, 2 classes, 90 rounds, defaults",
        "FedAvg less 1.5 points",
        "uneven_long",
        lambda: near_fedavg("uneven_long", "default", 1.5),
    ),
    Claim(
        "the same, T 4, rho 2000, class-prior 5",
        "FedAvg less 1.5 points",
        "uneven_long",
        lambda: near_fedavg("uneven_long", "default", 1.5, "coupled masks, tuned for 90 rounds"),
    ),
    Claim("coupled masks, MNIST subsets, 2 classes", "57 %", "methods_mnist", lambda: at_least("methods_mnist", UNEVEN, 57)),
    Claim(
        "coupled masks, MNIST subsets, Dirichlet .1",
        "72 %",
        "methods_mnist",
        lambda: at_least("methods_mnist", "Dirichlet .1, 4 of 20 clients", 72),
    ),
    Claim(
        "coupled masks, MNIST subsets, cnn, 2 classes",
        "FedAvg less 3 points",
        "uneven_cnn",
        lambda: near_fedavg("uneven_cnn", "cnn", 3),
    ),
    Claim(
        "the same, cnn twice as wide",
        "FedAvg less 3 points",
        "uneven_cnn",
        lambda: near_fedavg("uneven_cnn", "cnn, twice as wide", 3),
    ),
    Claim(
        "entropy gates, digits, 2 classes, density .1",
        "76 %",
        "methods_digits",
        lambda: at_least("methods_digits", UNEVEN, 76, "entropy gates, .1"),
    ),
    Claim(
        "entropy gates, scarce linear regression",
        "r2 .58, F1 .70",
        "scarce_linear",
        lambda: recovers("scarce_linear", "entropy gates, tau 0", 0.58, 0.7),
    ),
    Claim(
        "entropy gates, scarce logistic regression",
        "93 %, F1 .97",
        "scarce_logistic",
        lambda: recovers("scarce_logistic", "entropy gates, tau 0", 0.93, 0.97),
    ),
    Claim("Fed-IHT, scarce linear regression", "r2 .66", "scarce_linear", lambda: recovers("scarce_linear", "fediht", 0.66, 0)),
    Claim(
        "Fed-IHT, scarce logistic regression", "92 %", "scarce_logistic", lambda: recovers("scarce_logistic", "fediht", 0.92, 0)
    ),
    Claim(
        "SparsyFed, digits, Dirichlet .1",
        "79 %",
        "sparsyfed",
        lambda: at_least("sparsyfed", "digits, mlp, Dirichlet .1, 4 of 20 clients", 79, "sparsyfed"),
    ),
    Claim(
        "SparsyFed, MNIST subsets",
        "82 %",
        "sparsyfed",
        lambda: at_least("sparsyfed", "MNIST, mlp, 60 images per client", 82, "sparsyfed"),
    ),
)
"""Figures that an independent implementation reached; by default with 4 of 20 clients per round."""


def rows(claims: tuple[Claim, ...], heading: str) -> list[str]:
    """Return a table of claims."""
    lines = [f"| claim | {heading} | ours | verdict | command |", "|---|---|---|---|---|"]
    for claim in claims:
        found, ours = claim.judge()
        commands = "<br>".join(f"`fedgates compare benchmarks/study/{name}.toml`" for name in claim.studies.split())
        lines.append(f"| {claim.claim} | {claim.paper} | {ours} | **{found}** | {commands} |")
    return lines


def text() -> str:
    """Return the contents of claims.md."""
    parts = [
        "# Claims and results",
        "",
        "`python benchmarks/study/claims.py`",
        "",
        f"Small networks, few images, few rounds: two cores. Nearly equal is within {NEARLY:g} points of accuracy. Mean and",
        "standard deviation are over the seeds of each study; megabytes are of all clients and rounds, both ways.",
        "",
        "## The papers",
        "",
        *rows(PAPERS, "paper's figure"),
        "",
        "## Figures to reach",
        "",
        *rows(TARGETS, "to reach"),
        "",
        "## The density penalty: four questions",
        "",
        *penalty_questions(),
        "",
    ]
    return "\n".join(parts)


def main() -> None:
    """Write claims.md and print it."""
    (HERE / "claims.md").write_text(text(), encoding="utf-8")
    print(text())


if __name__ == "__main__":
    main()
