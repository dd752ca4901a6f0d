"""The whole page around its sections."""

from fedgates.page.clients import clients, devices
from fedgates.page.gates import gates
from fedgates.page.headline import headline, title
from fedgates.page.learned import learned
from fedgates.page.markup import Html, el
from fedgates.page.samples import samples
from fedgates.page.settings import again, settings
from fedgates.page.story import Story
from fedgates.page.style import STYLE
from fedgates.page.traffic import traffic

_SECTIONS = (learned, traffic, gates, clients, devices, samples, settings, again)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Should a text ever become markup after all, the browser runs no script and asks for nothing."""


def document(story: Story) -> str:
    """The page. Equal stories give equal pages."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", f"{title(story)} – fedgates"),  # noqa: RUF001
        el("link", rel="icon", href="data:,"),
        el("style", Html(STYLE)),
    )
    problems = [el("p", f"Left out, because it cannot be read: {problem}", class_="problem") for problem in story.problems]
    empty = None if story.lines else el("p", "No round has ended yet.")
    sections = [make(story) for make in _SECTIONS]
    main = el("main", headline(story), *problems, empty, *sections, _footer())
    return "<!DOCTYPE html>\n" + el("html", head, "\n", el("body", "\n", main, "\n"), lang="en") + "\n"


def _footer() -> Html:
    return el(
        "footer",
        "Made from the files of the run's folder alone: config.json, rounds.jsonl, model.fedgates, predictions.json. "
        "Megabytes are millions of bytes.",
    )
