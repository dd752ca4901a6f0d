"""Parts of a section: figures, tables, folded parts and notes."""

from collections.abc import Sequence

from fedgates.report.markup import Child, Html, el


def section(title: str, *children: Child) -> Html | None:
    """Return a section under a heading, or None if it is empty."""
    if all(child is None for child in children):
        return None
    return el("section", el("h2", title), *children)


def figures(*children: Html | None) -> Html | None:
    """Return figures side by side, or None if there are none."""
    return el("div", *children, class_="figures") if any(child is not None for child in children) else None


def figure(title: str, chart: Html, *, note: str | None = None, legend: Html | None = None) -> Html:
    """Return a chart with its title above and its legend below."""
    about = el("span", note) if note else None
    return el("figure", el("figcaption", el("h3", title), about), chart, legend)


def table(head: Sequence[str], rows: Sequence[Sequence[Child]], *, name: str, words: int = 1) -> Html:
    """Return a table under its name, with `words` columns of text, then numbers. A table that is too wide scrolls."""

    def row(cells: Sequence[Child], tag: str) -> Html:
        return el("tr", *(el(tag, cell, class_=None if i < words else "number") for i, cell in enumerate(cells)))

    inside = el("table", el("thead", row(head, "th")), el("tbody", *(row(cells, "td") for cells in rows)), aria_label=name)
    scrolled = el("div", inside, class_="wide", tabindex=0, role="region", aria_label=name)
    return el("div", el("p", name, class_="caption"), scrolled, class_="card")


def folded(summary: str, *children: Child) -> Html:
    """Return a part that a click opens."""
    return el("details", el("summary", summary), *children)


def more(left_out: int, text: str) -> Html | None:
    """Return a note with the number that is left out in place of ``{}`` in `text`; None if it is 0."""
    return note(text.format(f"{left_out:,}")) if left_out > 0 else None


def note(*children: Child) -> Html:
    """Return a sentence in small print."""
    return el("p", *children, class_="note")
