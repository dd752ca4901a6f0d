"""HTML and SVG elements. Text becomes markup in one place, which escapes it, so text from clients stays text.

:func:`el` takes texts and finished markup (:class:`Html`) alike; only its own results are taken as markup. Adding to an
``Html``, or formatting one into a string, gives a plain ``str``, which is escaped: a mistake is visible, and harmless.
"""

import html
from collections.abc import Iterable

Number = int | float


class Html(str):
    """Finished markup; made only by :func:`el` and :func:`join`, and from constants of this package."""

    __slots__ = ()


Child = Html | str | None
_VOID = frozenset({"meta", "link", "img", "br", "col"})


def el(tag: str, *children: Child, **attributes: str | Number | None) -> Html:
    """Return an element.

    Parameters
    ----------
    tag : str
        Name of the element.
    *children
        Markup, which is kept, and text, which is escaped; None is left out.
    **attributes
        Attributes; values are escaped, floats are rounded to one decimal, and None is left out. In names, a final underscore is
        dropped and others become hyphens (``class_``, ``text_anchor``).
    """
    inside = "".join(f' {_name(key)}="{text(_value(value))}"' for key, value in attributes.items() if value is not None)
    if tag in _VOID:
        return Html(f"<{tag}{inside}>")
    return Html(f"<{tag}{inside}>{join(children)}</{tag}>")


def join(children: Iterable[Child]) -> Html:
    """Return children, concatenated."""
    return Html("".join(child if isinstance(child, Html) else text(child) for child in children if child is not None))


def text(value: str) -> Html:
    """Return text, escaped; unprintable characters, which may change the direction of writing, are written as escapes."""
    seen = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in value)
    return Html(html.escape(seen))


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: str | Number) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
