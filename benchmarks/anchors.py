"""python benchmarks/anchors.py: accuracy of centralised fits on the data of the scarce studies, over the same seeds.

The L1 penalty is chosen by 5-fold cross-validation. A fit on the true support is an upper bound for methods that have to find
the support. Writes anchors.md next to each study's table; needs scikit-learn (``uv sync --group benchmarks``).
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LassoCV, LinearRegression, LogisticRegression, LogisticRegressionCV

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fedgates import data  # noqa: E402  # found by the line above
from fedgates.compare import machine, markdown, read_study, spread  # noqa: E402
from fedgates.config import merged  # noqa: E402
from fedgates.methods.metrics import support_scores  # noqa: E402
from fedgates.methods.registry import configure  # noqa: E402

Array = NDArray[np.float64]
Fit = Callable[[Array, NDArray[np.generic], NDArray[np.bool_]], Array]
"""From features ``[n, d]``, targets ``[n]`` and the true support ``[d]`` to weights ``[d]``."""


def lasso(x: Array, y: NDArray[np.generic], support: NDArray[np.bool_]) -> Array:  # noqa: ARG001
    """Return the weights of the lasso with a penalty chosen by 5-fold cross-validation."""
    return np.asarray(LassoCV(cv=5, fit_intercept=False, max_iter=10_000).fit(x, y).coef_)


def least_squares(x: Array, y: NDArray[np.generic], support: NDArray[np.bool_]) -> Array:
    """Return the weights of least squares on the true support."""
    weights = np.zeros(len(support))
    weights[support] = LinearRegression(fit_intercept=False).fit(x[:, support], y).coef_
    return weights


def l1_logistic(x: Array, y: NDArray[np.generic], support: NDArray[np.bool_]) -> Array:  # noqa: ARG001
    """Return the weights of L1-penalised logistic regression with a penalty chosen by 5-fold cross-validation."""
    model = LogisticRegressionCV(
        Cs=10, cv=5, scoring="accuracy", l1_ratios=(1,), solver="liblinear", fit_intercept=False, use_legacy_attributes=False
    )
    return np.asarray(model.fit(x, y).coef_[0])


def logistic(x: Array, y: NDArray[np.generic], support: NDArray[np.bool_]) -> Array:
    """Return the weights of logistic regression without a penalty on the true support."""
    weights = np.zeros(len(support))
    weights[support] = LogisticRegression(C=np.inf, fit_intercept=False).fit(x[:, support], y).coef_[0]
    return weights


STUDIES: dict[str, dict[str, Fit]] = {
    "scarce_linear": {"lasso, pooled": lasso, "least squares on the true support, pooled": least_squares},
    "scarce_logistic": {
        "L1 logistic regression, pooled": l1_logistic,
        "logistic regression on the true support, pooled": logistic,
    },
}


def main() -> None:
    """Run the fits, and print and write the tables."""
    for name, fits in STUDIES.items():
        study = read_study(ROOT / "benchmarks" / "study" / f"{name}.toml")
        rows = []
        for label, fit in fits.items():
            found = [anchor(merged(study.config, {"strategy": "fediht", "seed": seed}), fit) for seed in study.seeds]
            scores, sizes, f1 = zip(*found, strict=True)
            score = spread(scores, 3, 1) if study.question.metric == "r2" else spread(scores)
            rows.append([label, score, spread(f1, 3, 1), spread(sizes, 1, 1)])
        seeds = ", ".join(map(str, study.seeds))
        heading = "r2" if study.question.metric == "r2" else "accuracy, %"
        table = [
            f"# Anchors of the study {name}",
            "",
            "`python benchmarks/anchors.py`",
            "",
            f"Centralised fits on the examples of all clients; mean and standard deviation over seeds {seeds}.",
            "",
            *markdown(["fit", heading, "support_f1", "nonzero weights"], rows),
            "",
            machine(),
            "",
        ]
        (ROOT / "benchmarks" / "study" / name / "anchors.md").write_text("\n".join(table), encoding="utf-8")
        print("\n".join(table))


def anchor(raw: dict[str, object], fit: Fit) -> tuple[float, float, float]:
    """Return the test score of a fit (r2 or accuracy), its number of nonzero weights, and the F1 of its support."""
    _, config = configure(raw)  # type: ignore[arg-type]
    dataset = data.load_once(config)
    if dataset.support is None:
        raise ValueError(f"{config.dataset} has no known support")
    x, y = (data.normalise(data.to_tensors(dataset.train, "cpu")[0]).flatten(1).double().numpy(), dataset.train.y)
    weights = fit(x, y, dataset.support)
    predicted = data.normalise(data.to_tensors(dataset.test, "cpu")[0]).flatten(1).double().numpy() @ weights
    target = dataset.test.y
    linear = not dataset.num_classes
    score = 1 - np.square(predicted - target).mean() / target.var() if linear else ((predicted > 0) == target).mean()
    return float(score), float((weights != 0).sum()), support_scores(weights != 0, dataset.support)["support_f1"]


if __name__ == "__main__":
    main()
