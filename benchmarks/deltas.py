"""python benchmarks/deltas.py --data-dir DIR: bits of the downlink with votes, relays and deltas, compared with the entropy.

Clients train and the server counts as in a federation. Each state is coded in three ways for each sampled client, given what
the client knows, and each delta is decoded and compared. The ideal is the entropy of the votes given the coins, if each bin of
coins flips at its rate in that round and gates are independent (a Poisson binomial distribution, without the cost of tables).
It is computed for single rounds, and therefore only shown if all clients take part in every round. --parts takes names
separated by semicolons.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sweep import arguments, spread, table

from fedgates import data
from fedgates.federation import Client, Server, partition_data
from fedgates.methods.registry import build, configure
from fedgates.types import Update, unpack
from fedgates.wire import VersionedState, describe
from fedgates.wire.broadcast import Broadcast
from fedgates.wire.codec import Codec, WireOptions
from fedgates.wire.delta import Coupling
from fedgates.wire.flips import NO_FLIPS, coin_bins

FEDPM = {"strategy": "fedpm"}
TWO_CLASSES = {"partition": "classes", "data.classes-per-client": 2}
CONV4 = {"strategy": "fedpm", "dataset": "mnist", "model": "conv4", "precision": "bfloat16", "batch-size": 64}
RUNS: dict[str, tuple[dict[str, Any], int, int]] = {
    "digits, fedpm, 10 of 10": (FEDPM, 10, 30),
    "digits, fedpm, 4 of 20": ({**FEDPM, "fraction-train": 0.2}, 20, 30),
    "digits, fedpm, 40 of 40": (FEDPM, 40, 30),
    "digits, coupled-masks, 10 of 10": ({}, 10, 30),
    "digits, coupled-masks, 4 of 20, 2 classes": ({**TWO_CLASSES, "fraction-train": 0.2}, 20, 30),
    "digits, fedmask, 10 of 10": ({"strategy": "fedmask"}, 10, 30),
    "MNIST MLP, coupled-masks, 100 of 1,000, 2 classes": (
        {**TWO_CLASSES, "dataset": "mnist", "samples-per-client": 20, "fraction-train": 0.1},
        1000,
        20,
    ),
    "MNIST conv4, fedpm, 10 of 10": ({**CONV4, "samples-per-client": 200}, 10, 12),
    "MNIST conv4, fedpm, 4 of 20": ({**CONV4, "samples-per-client": 200, "fraction-train": 0.2}, 20, 12),
    "MNIST conv4, fedpm, 40 of 40": ({**CONV4, "samples-per-client": 64, "local-epochs": 1}, 40, 5),
}
"""Name to settings, clients and rounds."""
WAYS = ("votes", "relay", "delta")


def one_run(settings: dict[str, Any], clients: int, rounds: int) -> dict[str, float]:
    """Return the bits per gate and payload of each way, of the ideal and of the updates, and the bytes of all rounds."""
    torch.set_num_threads(1)
    raw = {**settings, "num-server-rounds": rounds, "downlink": "votes", "gates.evaluations": "threshold"}
    kind, config = configure(raw)
    problem = data.load_once(config).problem
    method = build(kind, config, problem)
    server = Server(method, problem)
    everyone = {name: Client(method, name, partition_data(config, name, clients)) for name in range(clients)}
    codecs = {way: _codec(method, way) for way in WAYS}
    broadcasts = {way: Broadcast(codec, config.limits.max_relay_updates) for way, codec in codecs.items()}
    sent = dict.fromkeys((*WAYS, "up"), 0)
    ideal, payloads, known = list[float](), 0, dict.fromkeys(range(clients), 1)
    states = {1: VersionedState(server.state, 1)}
    for server_round in range(1, rounds + 1):
        opened = states[server_round] = VersionedState(server.state, server_round)
        requests = server.open_round(server_round, {name: name for name in range(clients)})
        for way, broadcast in broadcasts.items():
            broadcast.open(opened, codecs[way].pack_state(opened.state, server_round))
            for request in requests:
                payload = broadcast.payload(request.client)
                broadcast.confirm(request.client)
                sent[way] += len(payload)
                if describe(payload).startswith("delta"):
                    found = codecs[way].apply_delta(payload, states[known[request.client]])
                    if found.state.votes.tobytes() != opened.state.votes.tobytes():
                        raise ValueError("a delta leads to another state")
        known |= {request.client: server_round for request in requests}
        replies = [everyone[request.client].reply(request) for request in requests]
        updates = []
        for request, reply in zip(requests, replies, strict=True):
            update = replace(method.codec.unpack_update(reply.payload, opened, request.client), client=request.client)
            updates.append(update)
            sent["up"] += len(reply.payload)
            for broadcast in broadcasts.values():
                broadcast.collect(replace(update, num_examples=reply.num_examples), reply.payload)
        payloads += len(requests)
        server.close_round(replies)
        for broadcast in broadcasts.values():
            broadcast.close(server_round, changed=True)
        if len(requests) == clients and server_round < rounds and method.coupling.expect:
            ideal.append(_ideal(opened, updates, codecs["delta"], method.coupling))
    size = method.network.size
    bits = {way: 8 * total / payloads / size for way, total in sent.items()}
    megabytes = {f"{way} MB": total / 1e6 for way, total in sent.items()}
    # the first state costs each client only a header
    return {**bits, **megabytes, "ideal": sum(ideal) / rounds / size if ideal else 0.0}


def _codec(method: Any, way: str) -> Codec:  # noqa: ANN401
    config, network = method.config, method.network
    options = WireOptions(config.uplink, way, config.wire.value_type, seed=config.seed)
    layers = tuple(part.size for part in network.slices)
    rows = tuple(part.shape[0] if len(part.shape) > 1 else 1 for part in network.slices)
    coupling = method.coupling if way == "delta" else None  # relays alone
    return Codec(options, layers, method.digest, "mask", rows=rows, coupling=coupling)


def _ideal(opened: VersionedState, updates: Sequence[Update], codec: Codec, coupling: Coupling) -> float:
    """Return the entropy of the sum of masks given the coins, in bits."""
    size = opened.state.size
    flips = sum((codec.count_flips(update.mask, opened, update.client) for update in updates), NO_FLIPS)
    rates = np.clip(flips.flipped / np.maximum(flips.gates, 1), 1e-9, 1 - 1e-9)
    chance = np.zeros((len(updates) + 1, size), dtype=np.float32)
    chance[0] = 1
    total = np.zeros(size, dtype=np.int64)
    for update, bins in _with_bins(updates, opened, codec, coupling):
        ones = np.where(bins < 16, 1 - rates[bins], rates[bins]).astype(np.float32)
        chance[1:] = chance[1:] * (1 - ones) + chance[:-1] * ones
        chance[0] *= 1 - ones
        total += unpack(update.mask, size)
    return float(-np.log2(np.maximum(chance[total, np.arange(size)], 1e-30)).sum(dtype=np.float64))


def _with_bins(
    updates: Sequence[Update], opened: VersionedState, codec: Codec, coupling: Coupling
) -> Iterator[tuple[Update, NDArray[np.uint8]]]:
    for update in updates:
        yield update, coin_bins(codec.context_of(opened, update.client), coupling.probability)


def main() -> None:
    """Run all parts, and print the table."""
    args = arguments(__doc__ or "", data_dir="~/fedgates/data", parts=";".join(RUNS), first_seed=4, seeds=3)
    folder = Path(args.data_dir).expanduser()
    rows = []
    for name in args.parts.split(";"):
        settings, clients, rounds = RUNS[name]
        large = "MNIST" in name
        seeds = range(args.first_seed, args.first_seed + (1 if large else args.seeds))
        found = [one_run({**settings, "data-dir": str(folder), "seed": seed}, clients, rounds) for seed in seeds]
        cells = [spread([each[way] for each in found], 3, 1) for way in WAYS]
        ideal = mean(each["ideal"] for each in found)
        ratio = f"{mean(each['delta'] for each in found) / ideal:.3f}" if ideal else "-"
        megabytes = [f"{mean(each[f'{way} MB'] for each in found):.2f}" for way in ("votes", "delta", "up")]
        rows.append([name, rounds, len(seeds), *cells, f"{ideal:.3f}" if ideal else "-", ratio, *megabytes])
        print(rows[-1], flush=True)
    header = ["run", "rounds", "seeds", *WAYS, "ideal", "delta / ideal", "MB votes", "MB delta", "MB up"]
    text = "Bits a gate and payload, headers and the first broadcast included, mean over rounds and clients (and standard"
    text += f" deviation over seeds, from {args.first_seed} on). MB: of all clients and rounds."
    table("Bits of the downlink", "python benchmarks/deltas.py --data-dir DIR", text, header, rows)


if __name__ == "__main__":
    main()
