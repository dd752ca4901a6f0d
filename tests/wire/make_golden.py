"""Write the golden payloads: ``uv run python tests/wire/make_golden.py``.

It is run by hand when the format gets another version, or a kind of payload more, which leaves those of the others as they are.

Each file holds a list of payloads over one network with all that a reader needs and all that it must find, in plain JSON: no
number in it has to be drawn again. Masks are strings of 0 and 1 in the order of the gates; values are decimal and exact.
"""

import json
from pathlib import Path

import numpy as np
from wire_cases import Case, Found, cases

from fedgates.types import State, Update, Votes

FOLDER = Path(__file__).parent / "golden"
NETWORKS = {"tiny": (5, 3), "middle": (100, 150, 30, 20)}
SEED = 2026


def state_as_json(state: State | None) -> dict | None:
    if state is None:
        return None
    scalars = {"scalars": list(state.scalars)} if state.scalars else {}
    if isinstance(state, Votes):
        tail = {"tail": state.tail.tolist()} if len(state.tail) else {}
        return {"trials": state.trials, "votes": state.votes.tolist(), **scalars, **tail}
    return {"weights": state.values.tolist(), **scalars}


def found_as_json(found: Found, size: int) -> dict:
    """The content of a payload."""
    if isinstance(found, np.ndarray):
        return {"sums": found.tolist()}
    if not isinstance(found, Update):
        return {"round": found[1], "state": state_as_json(found[0])}
    mask = None if found.mask is None else "".join(map(str, found.gates(size).tolist()))
    tail = {} if found.tail is None else {"tail": found.tail.tolist()}
    return {"mask": mask, "values": None if found.values is None else found.values.tolist(), **tail}


def case_as_json(case: Case) -> dict:
    context = case.context
    return {
        "name": case.name,
        "sort": case.sort,
        "kind": case.kind,
        "codec": case.codec,
        "value_type": case.value_type,
        "digest": context.digest.hex(),
        "layers": list(context.layers),
        "round": context.server_round,
        "seed": context.seed,
        "client": context.client,
        **({"scalars": context.scalars} if context.scalars else {}),
        **({"tail": context.tail} if context.tail else {}),
        **({"rows": list(context.rows)} if context.rows else {}),
        **({"which": case.which, "count": case.count} if case.sort == "sums" else {}),
        "state": state_as_json(context.state),
        "base": case.base and {"round": case.base.server_round, "state": state_as_json(case.base.state)},
        "payload": case.payload.hex(),
        "found": found_as_json(case.read(case.payload), context.size),
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, layers in NETWORKS.items():
        lines = (json.dumps(case_as_json(case)) for case in cases(layers, SEED).values())
        (FOLDER / f"{name}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
