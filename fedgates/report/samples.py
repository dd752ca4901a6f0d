"""Test images, and what the finished model makes of them."""

from fedgates.report import numbers
from fedgates.report.files import Sample
from fedgates.report.markup import Html, el
from fedgates.report.parts import note, section
from fedgates.report.run_data import RunData


def samples(story: RunData) -> Html | None:
    """The section; None where there are no samples."""
    if not story.samples:
        return None
    wrong = sum(not sample.right for sample in story.samples)
    right = len(story.samples) - wrong
    what = f"The model after round {story.model.round}" if story.model and story.model.round is not None else "The model"
    chosen = f"{what}, {wrong} wrong ones first, then {right} right ones"
    about = f"{chosen}: chosen to be looked at, so how many there are says nothing."
    return section("Some predictions", note(about), el("ul", *map(_card, story.samples), class_="samples"))


def _card(sample: Sample) -> Html:
    sure = None if sample.probability is None else numbers.percent(sample.probability, 0)
    said = sample.label if sample.right else f"{sample.predicted}, is {sample.label}"
    alt = f"A test image of class {sample.label}, predicted to be {sample.predicted}"
    return el(
        "li",
        el("img", src=f"data:image/png;base64,{sample.image}", alt=alt),
        el("b", "✓ " if sample.right else "✗ ", said),
        el("span", sure),
        class_="right" if sample.right else "wrong",
    )
