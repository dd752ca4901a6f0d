"""What sections are made of: figures, tables, and lists that are cut."""

from collections.abc import Sequence

from fedgates.report.markup import Child, Html, el


def section(title: str, *children: Child) -> Html | None:
    """A part of the page under a heading; None where there is nothing in it."""
    if all(child is None for child in children):
        return None
    return el("section", el("h2", title), *children)


def figures(*children: Html | None) -> Html | None:
    """Figures beside each other, where there is room."""
    return el("div", *children, class_="figures") if any(child is not None for child in children) else None


def figure(title: str, chart: Html, *, note: str | None = None, legend: Html | None = None) -> Html:
    """A chart with its title above and what its colours mean below."""
    about = el("span", note) if note else None
    return el("figure", el("figcaption", el("h3", title), about), chart, legend)


def table(head: Sequence[str], rows: Sequence[Sequence[Child]], *, name: str, words: int = 1) -> Html:
    """A table under its name, which scrolls where it is too wide: `words` columns of texts, then numbers."""

    def row(cells: Sequence[Child], tag: str) -> Html:
        return el("tr", *(el(tag, cell, class_=None if i < words else "number") for i, cell in enumerate(cells)))

    inside = el("table", el("thead", row(head, "th")), el("tbody", *(row(cells, "td") for cells in rows)), aria_label=name)
    scrolled = el("div", inside, class_="wide", tabindex=0, role="region", aria_label=name)
    return el("div", el("p", name, class_="caption"), scrolled, class_="card")


def folded(summary: str, *children: Child) -> Html:
    """What opens when it is asked for."""
    return el("details", el("summary", summary), *children)


def more(left_out: int, says: str) -> Html | None:
    """How many are left out, in words with a place for the number; None where none are."""
    return note(says.format(f"{left_out:,}")) if left_out > 0 else None


def note(*children: Child) -> Html:
    """A sentence beside the matter."""
    return el("p", *children, class_="note")
