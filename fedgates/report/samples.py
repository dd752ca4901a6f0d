"""The section with sample predictions of the finished model."""

from fedgates.report import numbers
from fedgates.report.files import Sample
from fedgates.report.markup import Html, el
from fedgates.report.parts import note, section
from fedgates.report.run_data import RunData


def samples(run: RunData) -> Html | None:
    """Return the section, or None without samples."""
    if not run.samples:
        return None
    wrong = sum(not sample.right for sample in run.samples)
    right = len(run.samples) - wrong
    when = f" after round {run.model.round}" if run.model and run.model.round is not None else ""
    about = f"Predictions of the model{when}: {wrong} wrong, then {right} correct. Their ratio is no estimate of the accuracy."
    return section("Sample predictions", note(about), el("ul", *map(_card, run.samples), class_="samples"))


def _card(sample: Sample) -> Html:
    probability = None if sample.probability is None else numbers.percent(sample.probability, 0)
    prediction = sample.label if sample.right else f"{sample.predicted} (true: {sample.label})"
    alt = f"Test image of class {sample.label}, predicted as {sample.predicted}"
    return el(
        "li",
        el("img", src=f"data:image/png;base64,{sample.image}", alt=alt),
        el("b", "✓ " if sample.right else "✗ ", prediction),
        el("span", probability),
        class_="right" if sample.right else "wrong",
    )
