"""The page: head, headline and sections."""

from fedgates.report.clients import clients
from fedgates.report.devices import devices
from fedgates.report.gates import gates
from fedgates.report.headline import headline, title
from fedgates.report.markup import Html, el
from fedgates.report.results import results
from fedgates.report.run_data import RunData
from fedgates.report.samples import samples
from fedgates.report.settings import reproduce, settings
from fedgates.report.status import progress
from fedgates.report.style import STYLE
from fedgates.report.traffic import traffic

_SECTIONS = (results, traffic, gates, clients, devices, samples, settings, reproduce)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""A second line of defence behind the escaping: the browser runs no script and requests nothing."""
_RELOAD = 5
"""Seconds until the page of a running run reloads; the final page does not."""


def document(run: RunData) -> str:
    """Return the page as HTML; equal data give equal pages."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("meta", http_equiv="refresh", content=str(_RELOAD)) if run.under_way else None,
        el("title", ", ".join(filter(None, (title(run), progress(run)))) + " – fedgates"),  # noqa: RUF001
        el("link", rel="icon", href="data:,"),
        el("style", Html(STYLE)),
    )
    problems = [el("p", f"Left out, because it cannot be read: {problem}", class_="problem") for problem in run.problems]
    sections = [make(run) for make in _SECTIONS]
    main = el("main", headline(run), *problems, *sections, _footer())
    return "<!DOCTYPE html>\n" + el("html", head, "\n", el("body", "\n", main, "\n"), lang="en") + "\n"


def _footer() -> Html:
    return el(
        "footer",
        "Made from config.json, rounds.jsonl, model.fedgates and predictions.json in the folder of the run. "
        "A megabyte is a million bytes.",
    )
