"""Text from outside, made fit for a line of a log."""

_LIMIT = 300


def one_line(text: object, limit: int = _LIMIT) -> str:
    """`text` on one line of at most `limit` characters; what could move a terminal's cursor or forge a line is escaped."""
    words = " ".join(str(text)[: 4 * limit].split())
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def error_line(error: BaseException) -> str:
    """An exception's type and message on one line."""
    return one_line(f"{type(error).__name__}: {error}")
