"""HTML and SVG out of elements. A text becomes markup in one place, which escapes it, so what a client wrote stays text.

:func:`el` takes texts and finished markup (:class:`Html`) alike; only its own results are taken as markup. Adding to an
``Html``, or formatting one into a string, gives a plain ``str``, which is escaped: a mistake shows, and harms nobody.
"""

import html
from collections.abc import Iterable

Number = int | float


class Html(str):
    """Finished markup; made by :func:`el` and :func:`join` alone, and from texts of this package's own."""

    __slots__ = ()


Child = Html | str | None
_VOID = frozenset({"meta", "link", "img", "br", "col"})


def el(tag: str, *children: Child, **attributes: str | Number | None) -> Html:
    """An element.

    Parameters
    ----------
    tag : str
        Its name.
    *children
        Markup, which stays, and texts, which are escaped; None is left out.
    **attributes
        Escaped, too. Of a name the underscore at the end goes and others become hyphens (``class_``, ``text_anchor``); one that
        is None is left out. Floats are cut to what a drawing needs.
    """
    inside = "".join(f' {_name(key)}="{text(_value(value))}"' for key, value in attributes.items() if value is not None)
    if tag in _VOID:
        return Html(f"<{tag}{inside}>")
    return Html(f"<{tag}{inside}>{join(children)}</{tag}>")


def join(children: Iterable[Child]) -> Html:
    """Children one after the other."""
    return Html("".join(child if isinstance(child, Html) else text(child) for child in children if child is not None))


def text(value: str) -> Html:
    """A text, escaped; characters that cannot be seen, which turn the direction of writing or end a file, are spelled out."""
    seen = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in value)
    return Html(html.escape(seen))


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: str | Number) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
