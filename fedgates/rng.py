"""Random numbers as a function of (seed, purpose, round, client), without a global generator.

A purpose is a short word ("weights", "choose", "train", ...); each purpose, round and client has its own stream. Numbers that
must be equal on every machine and in every version (frozen weights, the sampling of clients) are raw words of Philox. Numbers
that only have to be reproducible on one machine (samples during training) come from a torch generator seeded from the same key.
Torch's CPU generator uses only 32 bits of its seed, so two streams are equal with probability 2^-32; this is harmless for
samples, but rules it out for everything else.
"""

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def _digest(seed: int, purpose: str, server_round: int, client: int) -> bytes:
    return hashlib.blake2b(f"{purpose}/{seed}/{server_round}/{client}".encode(), digest_size=16).digest()


def philox(seed: int, purpose: str, *, server_round: int = 0, client: int = 0) -> np.random.Philox:
    """Return a Philox4x64-10 generator at the start of a stream; its raw words do not depend on machine or NumPy version.

    The Philox key is the BLAKE2b digest of the four arguments, 16 bytes read as a little-endian integer. NumPy increments the
    counter before the first block.
    """
    return np.random.Philox(key=int.from_bytes(_digest(seed, purpose, server_round, client), "little"))


def words(count: int, seed: int, purpose: str, *, server_round: int = 0, client: int = 0) -> NDArray[np.uint64]:
    """Return raw 64-bit words of Philox4x64-10.

    Parameters
    ----------
    count : int
        Number of words.
    seed, purpose, server_round, client
        Key of the stream, as for :func:`philox`.

    Returns
    -------
    numpy.ndarray
        Shape ``[count]``, dtype uint64; equal on every machine and with every version of NumPy.

    Examples
    --------
    >>> int(words(1, seed=1, purpose="example")[0])
    1551853375859495253
    """
    generator = philox(seed, purpose, server_round=server_round, client=client)
    return np.asarray(generator.random_raw(count), dtype=np.uint64)


def uniform(count: int, seed: int, purpose: str, *, server_round: int = 0, client: int = 0) -> NDArray[np.float64]:
    """Return uniform numbers in [0, 1), float64 ``[count]``, from the upper 53 bits of :func:`words`."""
    raw = words(count, seed, purpose, server_round=server_round, client=client) >> np.uint64(11)
    return np.asarray(raw * 2.0**-53, dtype=np.float64)


def bits(count: int, seed: int, purpose: str, *, server_round: int = 0, client: int = 0) -> NDArray[np.uint8]:
    """Return fair random bits, uint8 ``[count]`` of 0 and 1; bit i is bit ``i % 64`` of word ``i // 64`` of :func:`words`.

    Examples
    --------
    >>> bits(8, seed=1, purpose="example").tolist() == bits(8, seed=1, purpose="example").tolist()
    True
    """
    raw = words(-(-count // 64), seed, purpose, server_round=server_round, client=client).astype("<u8")
    return np.unpackbits(raw.view(np.uint8), bitorder="little", count=count)


def coins(count: int, seed: int, *, server_round: int, client: int) -> NDArray[np.uint32]:
    """Return the random numbers with which a client samples its upload, one per gate: ``[count]``, uniform in 0..2^32 - 1.

    The server can regenerate them from the key, which the codec :mod:`fedgates.wire.side_info` makes use of. Number i is the
    lower half of word ``i // 2`` for even i, and the upper half for odd i.
    """
    return _halves(count, seed, "upload", server_round=server_round, client=client)


@lru_cache(maxsize=1)
def cached_coins(count: int, seed: int, *, server_round: int, client: int) -> NDArray[np.uint32]:
    """Return :func:`coins`, read-only, and cache the last result: sampling a mask and coding it need the same numbers."""
    found = coins(count, seed, server_round=server_round, client=client)
    found.flags.writeable = False
    return found


def flip_lots(count: int, seed: int, *, server_round: int, client: int) -> NDArray[np.uint32]:
    """Return the random numbers with which a simulated client flips bits, in the form of :func:`coins`."""
    return _halves(count, seed, "flips", server_round=server_round, client=client)


def _halves(count: int, seed: int, purpose: str, *, server_round: int, client: int) -> NDArray[np.uint32]:
    raw = words(-(-count // 2), seed, purpose, server_round=server_round, client=client).astype("<u8")
    return raw.view("<u4")[:count].astype(np.uint32, copy=False)


def generator(
    seed: int, purpose: str, *, server_round: int = 0, client: int = 0, device: "torch.device | str" = "cpu"
) -> "torch.Generator":
    """Return a torch generator seeded from a key; its numbers are reproducible for one type of device and version of torch."""
    import torch  # noqa: PLC0415  # takes a second, and commands that only read files do not need it

    entropy = int.from_bytes(_digest(seed, purpose, server_round, client)[:8], "little") >> 1
    return torch.Generator(device=device).manual_seed(entropy)
