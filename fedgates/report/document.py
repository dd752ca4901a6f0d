"""The whole page around its sections."""

from fedgates.report.clients import clients
from fedgates.report.devices import devices
from fedgates.report.gates import gates
from fedgates.report.headline import headline, title
from fedgates.report.learned import learned
from fedgates.report.markup import Html, el
from fedgates.report.run_data import RunData
from fedgates.report.samples import samples
from fedgates.report.settings import again, settings
from fedgates.report.status import progress
from fedgates.report.style import STYLE
from fedgates.report.traffic import traffic

_SECTIONS = (learned, traffic, gates, clients, devices, samples, settings, again)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Should a text ever become markup after all, the browser runs no script and asks for nothing."""
_ANEW = 5
"""Seconds after which the page of a run under way loads itself again; the one that the run writes at its end does not."""


def document(story: RunData) -> str:
    """The page. Equal stories give equal pages."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("meta", http_equiv="refresh", content=str(_ANEW)) if story.under_way else None,
        el("title", ", ".join(filter(None, (title(story), progress(story)))) + " – fedgates"),  # noqa: RUF001
        el("link", rel="icon", href="data:,"),
        el("style", Html(STYLE)),
    )
    problems = [el("p", f"Left out, because it cannot be read: {problem}", class_="problem") for problem in story.problems]
    sections = [make(story) for make in _SECTIONS]
    main = el("main", headline(story), *problems, *sections, _footer())
    return "<!DOCTYPE html>\n" + el("html", head, "\n", el("body", "\n", main, "\n"), lang="en") + "\n"


def _footer() -> Html:
    return el(
        "footer",
        "Made from the files of the run's folder alone: config.json, rounds.jsonl, model.fedgates, predictions.json. "
        "Megabytes are millions of bytes.",
    )
