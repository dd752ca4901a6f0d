"""Numbers as a person reads them."""

from fedgates.util.text import one_line

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def size(count: float) -> str:
    """Bytes: ``1.46 MB``, ``339 kB``, ``36 bytes``. A megabyte is a million bytes."""
    for unit, name in _UNITS:
        if count >= unit * 0.9995:
            return f"{three(count / unit)} {name}"
    return f"{count:,.0f} bytes"


def tick(count: float) -> str:
    """Bytes beside an axis: ``50 kB``, ``1 MB``, ``0``."""
    for unit, name in _UNITS:
        if count >= unit * 0.9995:
            return f"{count / unit:.3g} {name}"
    return f"{count:.3g} B" if count else "0"


def three(value: float) -> str:
    """Three significant digits, without an exponent: ``1.46``, ``25.3``, ``301``, ``1,234``."""
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:,.{digits}f}"


def percent(share: float, digits: int = 1) -> str:
    """A share of 1: ``96.7 %``."""
    return f"{100 * share:.{digits}f} %"


def times(dense: float, ours: float) -> str:
    """How many times less, or a dash where nothing moved."""
    return f"{three(dense / ours)} ×" if ours else "–"  # noqa: RUF001  # the sign, not a letter


def unit(longest: float) -> tuple[int, str]:
    """The unit of a scale of so many seconds: how many of them it is, and its name."""
    return (3600, "h") if longest >= 7200 else (60, "min") if longest >= 120 else (1, "s")


def count(number: int, one: str, many: str | None = None) -> str:
    """``1 round``, ``12 rounds``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """``9.3 s``, ``4 min 10 s``, ``3 h 5 min``."""
    if seconds < 60:
        return f"{three(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plain(value: object) -> str:
    """Any single value of a configuration or a ledger; of a long text its beginning."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "–"  # noqa: RUF001
    return f"{value:.6g}" if isinstance(value, float) else one_line(value)
