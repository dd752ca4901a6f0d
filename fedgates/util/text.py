"""Text for people: untrusted text as one line, and cells as a table."""

import re
from collections.abc import Sequence

_LIMIT = 300
"""Default length of a line, in characters."""
_NAMES = 8
"""Number of names in a list."""


def one_line(text: object, limit: int = _LIMIT) -> str:
    """Return `text` as one line of at most `limit` characters, with control characters escaped."""
    safe = printable(" ".join(str(text)[: 4 * limit].split()))
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def printable(text: str, keep: str = "") -> str:
    """Escape the characters of `text` that are not printable, except those in `keep`."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def name_list(names: Sequence[str]) -> str:
    """Return names on one line: the first eight, each cut to 40 characters, and the number of further ones."""
    more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
    return ", ".join(one_line(name, 40) for name in names[:_NAMES]) + more


def without_secrets(text: str) -> str:
    """Remove possible secrets from addresses in a text: everything up to the last "@", and values such as that of a token."""
    text = re.sub(r"//\S*@", "//", text)
    text = re.sub(r"=[^\s,=/]*@", "=", text)
    return re.sub(r"((?:token|key|secret|password)=)[^&\s,'\"]+", r"\1...", text, flags=re.IGNORECASE)


def error_line(error: BaseException) -> str:
    """Return an exception's type and message on one line."""
    return one_line(f"{type(error).__name__}: {error}")


def columns(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Format rows of cells as lines of a table; the first `left` columns are left-aligned, the others right-aligned."""
    wide = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, wide, strict=True)))
        for row in rows
    ]
