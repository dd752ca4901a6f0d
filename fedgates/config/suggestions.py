"""Suggestions for misspelt names: "did you mean" in error messages."""

import difflib
from collections.abc import Iterable, Mapping


def nearest(word: str, names: Iterable[str] | Mapping[str, str]) -> str | None:
    """Return the name most similar to `word`, or None if none is similar.

    Case is ignored, and underscores equal hyphens. In a mapping, keys are spellings and values are the names to suggest.

    >>> nearest("Side_Info", ["packed", "entropy", "side-info"])
    'side-info'
    """
    spellings = (
        {_plain(name): name for name in names} if not isinstance(names, Mapping) else {_plain(k): names[k] for k in names}
    )
    found = difflib.get_close_matches(_plain(word), spellings, n=1)
    return spellings[found[0]] if found else None


def did_you_mean(word: object, names: Iterable[str] | Mapping[str, str]) -> str:
    """Return ``"; did you mean NAME?"`` with the nearest name, or an empty string if there is none."""
    name = nearest(word, names) if isinstance(word, str) else None
    return f"; did you mean {name}?" if name else ""


def _plain(word: str) -> str:
    return word.casefold().replace("_", "-")
