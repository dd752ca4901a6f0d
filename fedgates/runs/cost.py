"""What a round costs one device: bytes from a run's ledger, and seconds at given speeds of its link and its processor."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedgates.runs.totals import parameters, sent_down

FRAMING = 1600
"""Bytes that Flower adds to a message, either way: 1.3 to 1.6 kB were measured (tests/deploy/test_deployment.py)."""
LINKS = ((10.0, 10.0), (100.0, 100.0), (1000.0, 1000.0), (10000.0, 10000.0))
"""Up and down, kbit/s: what is shown unless a link is asked for."""
_HEADER = ("link, kbit/s up / down", "payloads, s", "Flower's framing, s", "computing, s", "round, s", "dense FedAvg, s")


@dataclass(frozen=True)
class DeviceRound:
    """One device's part in a round in which it trains, as means over a run.

    Attributes
    ----------
    up, down : float
        Bytes of payload; down to train and, where clients evaluate, to evaluate.
    messages : float
        How often it is asked: once to train, and up to once more to evaluate.
    longest_up, longest_down : float
        The same in the round in which it was most.
    computing : float or None
        Seconds from the message to the answer on the machine that ran it, all of unpacking, training and packing; None where no
        client said.
    parameters : int
        Of the network.
    """

    up: float
    down: float
    messages: float
    longest_up: float
    longest_down: float
    computing: float | None
    parameters: int


@dataclass(frozen=True)
class Seconds:
    """How long a round takes one device."""

    payloads: float
    framing: float
    computing: float | None
    dense: float
    """Payloads alone, of dense float32 FedAvg."""

    @property
    def whole(self) -> float:
        """All of a round but for Flower's waiting, and the start of a process."""
        return self.payloads + self.framing + (self.computing or 0.0)


def device_round(lines: Sequence[dict[str, Any]]) -> DeviceRound | None:
    """What the lines of a ledger say of one device's round; None where nothing came back in any.

    Lines are objects of ``rounds.jsonl``.
    """
    ups = [(line["uplink_bytes"], line["clients_counted"] + line["clients_rejected"]) for line in lines]
    downs = [(sent_down(line), line["clients_selected"]) for line in lines]
    questions = sum(line["clients_selected"] + line.get("clients_evaluating", 0) for line in lines)
    if not any(n for _, n in ups) or not any(n for _, n in downs):
        return None
    seconds = [(line["client_seconds"], line["clients_counted"]) for line in lines if line.get("client_seconds") is not None]
    answers = sum(n for _, n in seconds)
    return DeviceRound(
        up=sum(b for b, _ in ups) / sum(n for _, n in ups),
        down=sum(b for b, _ in downs) / sum(n for _, n in downs),
        messages=questions / sum(n for _, n in downs),
        longest_up=max(b / n for b, n in ups if n),
        longest_down=max(b / n for b, n in downs if n),
        computing=math.fsum(s * n for s, n in seconds) / answers if answers else None,
        parameters=parameters(lines),
    )


def seconds(cost: DeviceRound, up_kbps: float, down_kbps: float, slower: float = 1.0) -> Seconds:
    """How long a round takes a device with such a link (kbit/s) that computes so many times slower than what ran it."""
    up, down = 8 / 1000 / up_kbps, 8 / 1000 / down_kbps
    return Seconds(
        payloads=cost.up * up + cost.down * down,
        framing=FRAMING * cost.messages * (up + down),
        computing=None if cost.computing is None else cost.computing * slower,
        dense=4 * cost.parameters * (up + cost.messages * down),
    )


def table(cost: DeviceRound, links: Sequence[tuple[float, float]], slower: float) -> str:
    """Bytes in one sentence, and a row of seconds for each link, in markdown."""
    rows = [_HEADER, ("---",) * len(_HEADER)]
    for up, down in links:
        took = seconds(cost, up, down, slower)
        computing = "-" if took.computing is None else f"{took.computing:.3g}"
        rows.append(
            (
                f"{up:g} / {down:g}",
                f"{took.payloads:.3g}",
                f"{took.framing:.3g}",
                computing,
                f"{took.whole:.3g}",
                f"{took.dense:.3g}",
            )
        )
    bytes_line = (
        f"A device sends {cost.up:,.0f} bytes a round and is sent {cost.down:,.0f} "
        f"(at most {cost.longest_up:,.0f} and {cost.longest_down:,.0f}); {cost.parameters:,} parameters."
    )
    speed = "as fast as the machine that ran it" if slower == 1 else f"{slower:g} times slower than the machine that ran it"
    return "\n".join([bytes_line, f"Computing {speed}:", "", *("| " + " | ".join(row) + " |" for row in rows)])
