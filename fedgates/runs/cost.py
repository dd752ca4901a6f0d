"""Cost of a round for one device: bytes from a run's log, and seconds for a given link and processor speed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedgates.runs.totals import downlink_bytes, network_size

FRAMING = 1600
"""Bytes that Flower adds to a message in either direction: 1.3 to 1.6 kB measured (tests/deploy/test_deployment.py)."""
LINKS = ((10.0, 10.0), (100.0, 100.0), (1000.0, 1000.0), (10000.0, 10000.0))
"""Default link speeds (up, down), kbit/s."""
_HEADER = ("link, kbit/s up / down", "payloads, s", "Flower's framing, s", "computing, s", "round, s", "dense FedAvg, s")


@dataclass(frozen=True)
class DeviceRound:
    """Traffic and computing time of one device in a round in which it trains, averaged over a run.

    Attributes
    ----------
    up, down : float
        Bytes of payloads; `down` includes the payload for evaluation if clients evaluate.
    messages : float
        Number of messages to the device: one to train, and up to one more to evaluate.
    longest_up, longest_down : float
        Largest bytes of a round.
    computing : float or None
        Seconds from message to reply on the machine that ran the client: decoding, training and encoding. None if no client
        reported it.
    parameters : int
        Number of parameters of the network.
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
    """The duration of a round for one device, in seconds."""

    payloads: float
    framing: float
    computing: float | None
    dense: float
    """Seconds for the payloads of dense float32 FedAvg, without framing and computing."""

    @property
    def total(self) -> float:
        """Duration of the whole round, excluding Flower's polling and process start-up."""
        return self.payloads + self.framing + (self.computing or 0.0)


def device_round(lines: Sequence[dict[str, Any]]) -> DeviceRound | None:
    """Return the mean cost of a device's round, computed from lines of ``rounds.jsonl``; None if no client replied."""
    ups = [(line["uplink_bytes"], line["clients_counted"] + line["clients_rejected"]) for line in lines]
    downs = [(downlink_bytes(line), line["clients_selected"]) for line in lines]
    messages = sum(line["clients_selected"] + line.get("clients_evaluating", 0) for line in lines)
    if not any(n for _, n in ups) or not any(n for _, n in downs):
        return None
    seconds = [(line["client_seconds"], line["clients_counted"]) for line in lines if line.get("client_seconds") is not None]
    replies = sum(n for _, n in seconds)
    return DeviceRound(
        up=sum(b for b, _ in ups) / sum(n for _, n in ups),
        down=sum(b for b, _ in downs) / sum(n for _, n in downs),
        messages=messages / sum(n for _, n in downs),
        longest_up=max(b / n for b, n in ups if n),
        longest_down=max(b / n for b, n in downs if n),
        computing=math.fsum(s * n for s, n in seconds) / replies if replies else None,
        parameters=network_size(lines),
    )


def round_seconds(cost: DeviceRound, up_kbps: float, down_kbps: float, slower: float = 1.0) -> Seconds:
    """Return the duration of a round on a device.

    Parameters
    ----------
    cost : DeviceRound
        The traffic and work of the round.
    up_kbps, down_kbps : float
        Speed of the device's link, kbit/s.
    slower : float
        The device's computing time, divided by that of the machine that ran the clients.
    """
    up, down = 8 / 1000 / up_kbps, 8 / 1000 / down_kbps
    return Seconds(
        payloads=cost.up * up + cost.down * down,
        framing=FRAMING * cost.messages * (up + down),
        computing=None if cost.computing is None else cost.computing * slower,
        dense=4 * cost.parameters * (up + cost.messages * down),
    )


def cost_table(cost: DeviceRound, links: Sequence[tuple[float, float]], slower: float) -> str:
    """Return a sentence with the bytes of a round, and a Markdown table of seconds with a row for each link."""
    rows = [_HEADER, ("---",) * len(_HEADER)]
    for up, down in links:
        took = round_seconds(cost, up, down, slower)
        computing = "-" if took.computing is None else f"{took.computing:.3g}"
        rows.append(
            (
                f"{up:g} / {down:g}",
                f"{took.payloads:.3g}",
                f"{took.framing:.3g}",
                computing,
                f"{took.total:.3g}",
                f"{took.dense:.3g}",
            )
        )
    bytes_line = (
        f"A device sends {cost.up:,.0f} bytes a round and receives {cost.down:,.0f} "
        f"(at most {cost.longest_up:,.0f} and {cost.longest_down:,.0f}); {cost.parameters:,} parameters."
    )
    speed = "as fast as" if slower == 1 else f"{slower:g} times slower than"
    return "\n".join(
        [
            bytes_line,
            f"Computing {speed} on the machine that ran the clients:",
            "",
            *("| " + " | ".join(row) + " |" for row in rows),
        ]
    )
