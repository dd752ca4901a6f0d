"""Randomness as a function of (seed, purpose, round, client): there is no global generator.

A purpose is a short word ("weights", "choose", "train", ...); purposes, rounds and clients have streams of their own. What must
be the same on every machine and in every version (frozen weights, the choice of clients) is made from Philox's raw words; what
only has to repeat on one machine (the samples drawn while a client trains) comes from a torch generator seeded from the same
key. Of that seed torch's CPU generator uses 32 bits, so two of its streams are the same with probability 2^-32: harmless for
samples, and the reason why nothing else is made from them.
"""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray


def _digest(seed: int, purpose: str, server_round: int, client: int) -> bytes:
    return hashlib.blake2b(f"{purpose}/{seed}/{server_round}/{client}".encode(), digest_size=16).digest()


def words(count: int, seed: int, purpose: str, *, server_round: int = 0, client: int = 0) -> NDArray[np.uint64]:
    """Raw 64-bit words of Philox4x64-10, keyed by BLAKE2b of the four names.

    Parameters
    ----------
    count : int
        How many words.
    seed, purpose, server_round, client
        The key.

    Returns
    -------
    numpy.ndarray
        Shape ``[count]``, dtype uint64; the same on every machine and with every version of NumPy.
    """
    key = int.from_bytes(_digest(seed, purpose, server_round, client), "little")
    return np.asarray(np.random.Philox(key=key).random_raw(count), dtype=np.uint64)


def bits(count: int, seed: int, purpose: str, *, server_round: int = 0, client: int = 0) -> NDArray[np.uint8]:
    """Fair bits from :func:`words`: shape ``[count]``, values 0 and 1; bit i is bit ``i % 64`` of word ``i // 64``."""
    raw = words(-(-count // 64), seed, purpose, server_round=server_round, client=client).astype("<u8")
    return np.unpackbits(raw.view(np.uint8), bitorder="little", count=count)


def generator(
    seed: int, purpose: str, *, server_round: int = 0, client: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A torch generator of its own for this key; it repeats on one kind of device and version of torch."""
    entropy = int.from_bytes(_digest(seed, purpose, server_round, client)[:8], "little") >> 1
    return torch.Generator(device=device).manual_seed(entropy)
