"""Table of ``wire.py``: traffic of a federation in both directions for each pair of codecs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

import recordings
from recordings import Table, mask_of, strategy
from sweep import spread

from fedgates.types import State, Update, Votes
from fedgates.wire import VersionedState, state_crc
from fedgates.wire.broadcast import Broadcast
from fedgates.wire.codec import Codec, WireOptions


def federation(lossless: Sequence[Path], sampled_runs: Sequence[Path], rounds: int, last: int) -> Table:
    """Return the table of bits per gate in both directions, averaged over rounds and clients, for every pair of codecs."""
    rows: list[list[object]] = []
    for uplink, folders in (("packed", lossless), ("entropy", lossless), ("side-info", lossless), ("sampled", sampled_runs)):
        coded = [_code(folder, uplink, rounds) for folder in folders]
        up = [_rate(payloads) for payloads in coded]
        for downlink in ("float32", "votes", "relay"):
            down = [_rate(_send(*way, uplink, downlink)) for way in zip(folders, coded, strict=True)]
            rows.append(
                [
                    uplink,
                    downlink,
                    spread(up, 4, 1),
                    spread(down, 4, 1),
                    spread([a + b for a, b in zip(up, down, strict=True)], 3, 1),
                    *(spread([recordings.accuracy(folder, at) for folder in folders]) for at in (rounds, last)),
                ]
            )
    text = (
        "## A federation in both directions\n\nBits per gate and message, including headers, averaged over "
        f"{rounds} rounds and all clients; mean and standard deviation over {len(lossless)} seeds. Every payload was "
        "decoded, and masks and states compared with the originals, so all lossless pairs train bit-identical models: "
        "their rows share one run per seed."
    )
    header = ["uplink", "downlink", "up bpp", "down bpp", "both", f"accuracy %, round {rounds}", f"round {last}"]
    return text, header, rows


def _code(folder: Path, uplink: str, rounds: int) -> list[list[bytes]]:
    """Code the updates of each round of a recorded run, decode and compare them, and return the payloads."""
    codec, coded = _codec(folder, uplink, "votes"), []
    for number in range(1, rounds + 1):
        found, payloads = recordings.read(folder, number), []
        for i, (client, update) in enumerate(zip(found.clients, found.updates, strict=True)):
            payload = found.payloads[i] if uplink == "sampled" else codec.pack_update(update, found.known, client)
            if (mask_of(codec.unpack_update(payload, found.known, client)) != mask_of(update)).any():
                raise ValueError(f"{uplink} does not decode")
            payloads.append(payload)
        coded.append(payloads)
    return coded


def _send(folder: Path, coded: list[list[bytes]], uplink: str, downlink: str) -> list[list[bytes]]:
    """Return the payloads to the clients of each round for given coded updates, after decoding and comparing them."""
    codec = _codec(folder, uplink, downlink)
    sender, sent, kept = Broadcast(codec, 256), list[list[bytes]](), dict[int, VersionedState]()
    for number, updates in enumerate(coded, 1):
        found = recordings.read(folder, number)
        snapshot = codec.pack_state(found.state, number)
        sender.open(found.known, snapshot)
        payloads = [sender.payload(client) for client in found.clients]
        for payload, client in dict(zip(payloads, found.clients, strict=True)).items():
            whole = payload == snapshot
            known = codec.unpack_state(payload) if whole else codec.apply_relay(payload, kept[client], _aggregate)
            if state_crc(known.state) != state_crc(found.state):
                raise ValueError("a state does not decode")
        for client in found.clients:
            sender.confirm(client)
            kept[client] = found.known
        for client, update, payload in zip(found.clients, found.updates, updates, strict=True):
            sender.collect(replace(update, client=client), payload)
        sender.close(number, changed=True)
        sent.append(payloads)
    return sent


def _rate(payloads: list[list[bytes]]) -> float:
    """Return the bits per gate and message."""
    return 8 * mean(len(payload) for of_round in payloads for payload in of_round) / strategy().network.size


def _codec(folder: Path, uplink: str, downlink: str) -> Codec:
    method = strategy(int(folder.name.rpartition("seed")[2]))
    layers = tuple(part.size for part in method.network.slices)
    return Codec(WireOptions(uplink, downlink, seed=method.config.seed), layers, method.digest, "mask")


def _aggregate(state: State, updates: Iterator[Update], server_round: int) -> State:
    if not isinstance(state, Votes):
        raise TypeError("FedPM's state is votes")
    return strategy().aggregate(state, updates, server_round)
