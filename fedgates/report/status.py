"""How far a run is that has not reached its end: what the page tells of it is no end's result, and says so."""

from fedgates.report import numbers
from fedgates.report.markup import Html, el
from fedgates.report.run_data import RunData

_FRESH = "This page loads itself anew every few seconds: fedgates report --follow writes it, and in the end the run does."
_GO_ON = "The commands at the end go on with it."


def progress(story: RunData) -> str:
    """How far, in few words; nothing of a run that reached its end."""
    if not story.under_way and not story.ended_early:
        return ""
    return f"round {story.done:,} of {story.asked:,}" if story.asked is not None else f"round {story.done:,}"


def status(story: RunData) -> Html | None:
    """The sentence; None of a run that reached its end."""
    if not progress(story):
        return None
    how, then = (_running(story), _FRESH) if story.under_way else (_ended(story), _GO_ON)
    tried = numbers.count(story.repeated, "time")
    missed = f"Round {story.done + 1} was tried {tried}, and too few replies counted. " if story.repeated else ""
    return el("p", el("b", how), missed, then, class_="status")


def _running(story: RunData) -> str:
    if not story.done:
        return "Still running: no round has ended yet. "
    if story.done == story.asked:
        return f"Still running: all {numbers.count(story.done, 'round')} have ended, and it is writing what it leaves. "
    return f"Still running: {progress(story)} has ended, and what follows is as of then. "


def _ended(story: RunData) -> str:
    if not story.done:
        return f"Ended early, before the first of its {numbers.count(story.asked or 0, 'round')}. "
    return f"Ended early, after {progress(story)}. "
