"""The table of ``wire.py`` that says what a federation moves, both ways, under each pair of codecs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import recordings
from recordings import Table, mask_of, strategy
from sweep import spread

from fedgates.state import Votes
from fedgates.wire import Counted, Known
from fedgates.wire.channel import Channel
from fedgates.wire.downlink import Downlink
from strategies.fedpm import FedPMConfig


def federation(lossless: Sequence[Path], sampled_runs: Sequence[Path], rounds: int, last: int) -> Table:
    """Bits a gate both ways, averaged over rounds and clients, for every pair of codecs."""
    rows: list[list[object]] = []
    for uplink, folders in (("packed", lossless), ("entropy", lossless), ("side-info", lossless), ("sampled", sampled_runs)):
        ways = [[_replay(folder, uplink, downlink, rounds) for folder in folders] for downlink in ("float32", "votes", "relay")]
        for downlink, found in zip(("float32", "votes", "relay"), ways, strict=True):
            rows.append(
                [
                    uplink,
                    downlink,
                    *(spread([run[way] for run in found], 4, 1) for way in (0, 1)),
                    spread([sum(run) for run in found], 3, 1),
                    *(spread([recordings.accuracy(folder, at) for folder in folders]) for at in (rounds, last)),
                ]
            )
    text = (
        f"## A federation, both ways\n\nBits a gate and message, headers included, averaged over {rounds} rounds and all "
        f"clients; mean and standard deviation over {len(lossless)} seeds. Every payload was decoded, and masks and states "
        "compared with what was sent, so every lossless pair trains the same model, bit for bit."
    )
    header = ["uplink", "downlink", "up bpp", "down bpp", "both", f"accuracy %, round {rounds}", f"round {last}"]
    return text, header, rows


def _replay(folder: Path, uplink: str, downlink: str, rounds: int) -> tuple[float, float]:
    """Send a recorded run's updates and states once more, coded so; bits a gate up and down."""
    method = strategy()
    config = replace(FedPMConfig(), uplink=uplink, downlink=downlink, seed=int(folder.name.rpartition("seed")[2]))
    channel = Channel(config, method.network, method.digest, "mask")
    sender, sent, kept = Downlink(channel), [0, 0], dict[int, Known]()
    messages = 0
    for number in range(1, rounds + 1):
        found = recordings.read(folder, number)
        snapshot = channel.pack_state(found.state, number)
        sender.open(found.state, number, snapshot)
        counted = []
        payloads = [sender.payload(client) for client in found.clients]
        _check_states(payloads, snapshot, found, channel, kept)
        for i, (client, update) in enumerate(zip(found.clients, found.updates, strict=True)):
            payload = found.payloads[i] if uplink == "sampled" else channel.pack_update(update, found.known, client)
            if uplink != "packed" and (mask_of(channel.unpack_update(payload, found.known, client)) != mask_of(update)).any():
                raise ValueError(f"{uplink} does not decode")
            counted.append(Counted(client, 1, payload))
            sender.confirm(client)
            kept[client] = found.known
            sent[0] += len(payload)
        sent[1] += sum(len(payload) for payload in payloads)
        messages += len(payloads)
        sender.close(number, counted)
    up, down = (8 * n / messages / method.network.size for n in sent)
    return up, down


def _check_states(
    payloads: list[bytes],
    snapshot: bytes,
    found: recordings.Round,
    channel: Channel,
    kept: dict[int, Known],
) -> None:
    """Rebuild the state from each different payload, as a client would, and compare."""
    for payload, client in dict(zip(payloads, found.clients, strict=True)).items():
        if payload == snapshot:
            known = channel.unpack_state(payload)
        else:
            known = channel.apply_relay(payload, kept[client], strategy().aggregate)  # type: ignore[arg-type]
        state = known.state
        if not isinstance(state, Votes) or state.trials != found.state.trials or (state.votes != found.state.votes).any():
            raise ValueError("a state does not decode")
