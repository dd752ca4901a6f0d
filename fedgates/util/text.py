"""Text for people: untrusted text as one line, and cells as a table."""

import re
from collections.abc import Sequence

_LIMIT = 300
_NAMES = 8
"""Names in a list."""


def one_line(text: object, limit: int = _LIMIT) -> str:
    """Return `text` as one line of at most `limit` characters; control characters, which could forge a line, are escaped."""
    safe = printable(" ".join(str(text)[: 4 * limit].split()))
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def printable(text: str, keep: str = "") -> str:
    """Return `text` with escapes for the characters that are not printable, except those in `keep`."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def name_list(names: Sequence[str]) -> str:
    """Return names on one line: the first eight, each of at most 40 characters, and how many more there are."""
    more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
    return ", ".join(one_line(name, 40) for name in names[:_NAMES]) + more


def without_secrets(text: str) -> str:
    """Return text without what may be a secret in an address: all before its last "@", and values such as that of a token."""
    text = re.sub(r"//\S*@", "//", text)
    text = re.sub(r"=[^\s,=/]*@", "=", text)
    return re.sub(r"((?:token|key|secret|password)=)[^&\s,'\"]+", r"\1...", text, flags=re.IGNORECASE)


def error_line(error: BaseException) -> str:
    """Return an exception's type and message on one line."""
    return one_line(f"{type(error).__name__}: {error}")


def columns(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Return rows of cells as lines, each column as wide as its widest cell; the first `left` columns are aligned left."""
    wide = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, wide, strict=True)))
        for row in rows
    ]
