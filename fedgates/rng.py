"""Randomness as a function of (seed, purpose, round, client): there is no global generator.

A purpose is a short word ("weights", "choose", "train", ...); purposes, rounds and clients have streams of their own. What must
be the same on every machine and in every version (frozen weights, the choice of clients) is made from Philox's raw words; what
only has to repeat on one machine (the samples drawn while a client trains) comes from a torch generator seeded from the same
key. Of that seed torch's CPU generator uses 32 bits, so two of its streams are the same with probability 2^-32: harmless for
samples, and the reason why nothing else is made from them.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def _digest(seed: int, purpose: str, server_round: int, client: int) -> bytes:
    return hashlib.blake2b(f"{purpose}/{seed}/{server_round}/{client}".encode(), digest_size=16).digest()


def philox(seed: int, purpose: str, *, server_round: int = 0, client: int = 0) -> np.random.Philox:
    """Philox4x64-10 at the start of its stream, whose raw words are the same on every machine and with every version of NumPy.

    The key is BLAKE2b, 16 bytes read as a little-endian integer, of the four names; NumPy counts up before the first block.
    """
    return np.random.Philox(key=int.from_bytes(_digest(seed, purpose, server_round, client), "little"))


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
    generator = philox(seed, purpose, server_round=server_round, client=client)
    return np.asarray(generator.random_raw(count), dtype=np.uint64)


def bits(count: int, seed: int, purpose: str, *, server_round: int = 0, client: int = 0) -> NDArray[np.uint8]:
    """Fair bits from :func:`words`: shape ``[count]``, values 0 and 1; bit i is bit ``i % 64`` of word ``i // 64``."""
    raw = words(-(-count // 64), seed, purpose, server_round=server_round, client=client).astype("<u8")
    return np.unpackbits(raw.view(np.uint8), bitorder="little", count=count)


def coins(count: int, seed: int, *, server_round: int, client: int) -> NDArray[np.uint32]:
    """The numbers by which a client's upload is sampled, one a gate: ``[count]``, uniform from 0 to 2^32 - 1.

    They are a function of the key, so a server that decodes the mask holds them, too, and the coder makes use of that
    (:mod:`fedgates.wire.side_info`). Number i is the lower half of word ``i // 2`` for an even i, else the upper.
    """
    return _halves(count, seed, "upload", server_round=server_round, client=client)


def flip_lots(count: int, seed: int, *, server_round: int, client: int) -> NDArray[np.uint32]:
    """The numbers by which a simulated client turns bits over, ``[count]``, uniform from 0 to 2^32 - 1; as :func:`coins`."""
    return _halves(count, seed, "flips", server_round=server_round, client=client)


def _halves(count: int, seed: int, purpose: str, *, server_round: int, client: int) -> NDArray[np.uint32]:
    raw = words(-(-count // 2), seed, purpose, server_round=server_round, client=client).astype("<u8")
    return raw.view("<u4")[:count].astype(np.uint32, copy=False)


def generator(
    seed: int, purpose: str, *, server_round: int = 0, client: int = 0, device: "torch.device | str" = "cpu"
) -> "torch.Generator":
    """A torch generator of its own for this key; it repeats on one kind of device and version of torch."""
    import torch  # noqa: PLC0415  # a second, and commands that look at files have no use for it

    entropy = int.from_bytes(_digest(seed, purpose, server_round, client)[:8], "little") >> 1
    return torch.Generator(device=device).manual_seed(entropy)
