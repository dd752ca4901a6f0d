"""Numbers as text."""

from fedgates.util.text import one_line


def size(count: float) -> str:
    """Return bytes as text: ``1.46 MB``, ``339 kB``, ``36 bytes``. A megabyte is a million bytes."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit * 0.9995:
            return f"{three(count / unit)} {name}"
    return f"{count:,.0f} bytes"


def three(value: float) -> str:
    """Return three significant digits, without an exponent: ``1.46``, ``25.3``, ``301``, ``1,234``."""
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:,.{digits}f}"


def percent(share: float, digits: int = 1) -> str:
    """Return a share of 1 in percent: ``96.7 %``."""
    return f"{100 * share:.{digits}f} %"


def times(dense: float, ours: float) -> str:
    """Return the ratio of two numbers of bytes, or a dash if `ours` is 0."""
    return f"{three(dense / ours)} ×" if ours else "–"  # noqa: RUF001  # the sign, not a letter


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: ``1 round``, ``12 rounds``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Return a duration as text: ``9.3 s``, ``4 min 10 s``, ``3 h 5 min``."""
    if seconds < 60:
        return f"{three(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plain(value: object) -> str:
    """Return a scalar of a configuration or a log as text; of a long text, the beginning."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "–"  # noqa: RUF001
    return f"{value:.6g}" if isinstance(value, float) else one_line(value)
