"""The progress of a run that has not run all of its rounds, for the headline and the title."""

from fedgates.report import numbers
from fedgates.report.markup import Html, el
from fedgates.report.run_data import RunData
from fedgates.util.text import one_line

_RELOADS = "This page reloads every few seconds; fedgates report --follow updates it, and the run replaces it when it ends."
_RESUME = "A command at the end of this page resumes it."


def progress(run: RunData) -> str:
    """Return the progress in a few words; empty for a run that has run all of its rounds."""
    if not run.under_way and not run.ended_early and not run.stopped:
        return ""
    return f"round {run.last_round:,} of {run.num_rounds:,}" if run.num_rounds is not None else f"round {run.last_round:,}"


def status(run: RunData) -> Html | None:
    """Return a sentence about the progress; None for a run that has run all of its rounds."""
    if not progress(run):
        return None
    if run.stopped and not run.under_way:
        return el("p", el("b", f"Stopped early, after {progress(run)}: "), f"{one_line(run.stopped)}.", class_="status")
    state, hint = (_running(run), _RELOADS) if run.under_way else (_ended(run), _RESUME)
    times = numbers.count(run.failed_attempts, "time")
    missed = f"Round {run.last_round + 1} missed its quorum {times}. " if run.failed_attempts else ""
    return el("p", el("b", state), missed, hint, class_="status")


def _running(run: RunData) -> str:
    if not run.last_round:
        return "Running: no round has ended yet. "
    if run.last_round == run.num_rounds:
        return f"Running: all {numbers.count(run.last_round, 'round')} have ended; the model and the report are being written. "
    return f"Running: {progress(run)} has ended, and this page shows the state after it. "


def _ended(run: RunData) -> str:
    if not run.last_round:
        return f"Ended early, before the first of {numbers.count(run.num_rounds or 0, 'round')}. "
    return f"Ended early, after {progress(run)}. "
