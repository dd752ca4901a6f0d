"""Strategies of hypothesis that replace one value of a file of a run by arbitrary JSON."""

import json

from hypothesis import strategies as st

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e\x00\ud800'\" & "
DEEP = json.loads("[" * 200 + "]" * 200)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 1, 2**63, -(10**400), 10**400, 1e308, -1e308, 5e-324, 1.5, float("inf"), float("nan")]),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["", "NaN", "Infinity", "1", "x" * 1_000_000, HOSTILE, HOSTILE * 1000]),
)
keys = st.text(max_size=5) | st.just(HOSTILE)
anything = st.just(DEEP) | st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=5
)


@st.composite
def damaged(draw, value):
    """Return `value` with one of its values, at any depth, replaced or removed, or with one more key."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from([*sorted(value), None]))
        if key is None:
            return {**value, draw(keys): draw(anything)}
        if not draw(st.integers(0, 5)):
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: draw(damaged(value[key]))}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        i = draw(st.integers(0, len(value) - 1))
        return [*value[:i], draw(damaged(value[i])), *value[i + 1 :]]
    return draw(anything)
