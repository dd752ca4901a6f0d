"""``model.fedgates``: a finished model as a small file, and back to a ``torch.nn.Module``.

What a mask method ends with is a network whose weights follow from a seed and a mask that says which of them are kept, so the
file is the mask, coded by :mod:`fedgates.wire`, and some facts. A weight method's file has the kept values, too. Where flwr and
ray are not installed it loads all the same, and nothing in it is unpickled or run.

The file, integers little-endian: magic ``FGMD``; version, u16; length of the facts, u32; the facts, JSON compressed by zlib;
length of the statistics, u32; the statistics, float32; the payload, to the last four bytes; and CRC-32 of all before, u32. The
payload is an update of a mask (codec packed or entropy, FORMAT.md) where the weights are frozen ones under one, else a state of
weights. Statistics are mean and variance of each channel of each batch norm, in the order of the layers: in training these come
from the batch; a finished model must not depend on what else is in a batch, so it has the means of those of the images that it
was tried on, and its file is 8 bytes a channel larger.
"""

import json
import math
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedgates import models
from fedgates.config import MODELS, ConfigError
from fedgates.disk import write_atomically
from fedgates.gates import Gates, WeightScale
from fedgates.models.shapes import Shape
from fedgates.network import Network, NetworkError
from fedgates.slim import without_dead
from fedgates.state import Update, Weights, pack
from fedgates.wire import Shared, WireError, pack_state, pack_update, unpack_state, unpack_update
from fedgates.wire.header import PACKED, peek

MAGIC, VERSION = b"FGMD", 1
_OPENING = struct.Struct("<4sHI")
_LENGTH = struct.Struct("<I")
_LONGEST_FACTS = 1 << 20
_MOST_GATES = 50_000_000
_MOST_PIXELS = 1 << 24
"""Numbers of one image: more than any network of ours takes, and few enough to be tried."""
_BATCH = 64


class ModelFileError(ValueError):
    """A file that is no whole, sound model; the message says what is wrong with it."""


@dataclass(frozen=True)
class Facts:
    """What a file says of its model beside its weights.

    Attributes
    ----------
    model : str
        The network's name, or "module:function" of somebody's own.
    input_shape : tuple of int
        (C, H, W) of one image.
    class_names : tuple of str
        In the order of the outputs; empty for a regression, which has one output.
    seed : int
        What frozen weights are made from.
    weight_scale : str
        Of the frozen weights; empty where the weights are not frozen.
    digest : str
        Names the network, in hexadecimal.
    training : mapping
        How it came to be: method, data set, rounds, what it reached, what it cost.
    """

    model: str
    input_shape: Shape
    class_names: tuple[str, ...]
    seed: int
    weight_scale: str
    digest: str
    training: Mapping[str, str | int | float | None]

    @property
    def outputs(self) -> int:
        """How many the network has."""
        return len(self.class_names) or 1


class Model(nn.Module):
    """A finished model, ready to predict.

    Attributes
    ----------
    network : torch.nn.Module
        The bare network, which takes images mapped to -1..1.
    facts : Facts
        What the file says of it.
    """

    def __init__(self, network: nn.Module, facts: Facts) -> None:
        super().__init__()
        self.network, self.facts = network, facts

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[n, classes]`` (of a regression predictions ``[n, 1]``) of images ``[n, C, H, W]``.

        Bytes from 0 to 255, or floats from 0 to 1, as ``torchvision.transforms.ToTensor`` gives.
        """
        if not images.is_floating_point() and images.dtype != torch.uint8:
            raise TypeError(f"images are {images.dtype}, expected torch.uint8 from 0 to 255, or floats from 0 to 1")
        scaled = images / 255 if images.dtype == torch.uint8 else images.to(torch.float32)
        logits: Tensor = self.network((scaled - 0.5) / 0.5)
        return logits


# --- writing


def save(
    path: Path, network: Network, facts: Facts, weights: Tensor, *, gates: Gates | None = None, images: Tensor | None = None
) -> int:
    """Write a model's file; its size in bytes. Weights of units that no path uses are left out (:mod:`fedgates.slim`).

    Parameters
    ----------
    path : Path
        Replaced if it is there, atomically.
    network : Network
        Whose weights are overwritten.
    facts : Facts
        `weight_scale` and `digest` are set here.
    weights : Tensor
        Of the model, float32 ``[d]``; 0 where a weight is dropped.
    gates : Gates, optional
        Frozen weights. Where `weights` are these under a mask the file has the mask alone.
    images : Tensor, optional
        Uint8 ``[n, C, H, W]``; needed where the network has batch norms, which without any go on using the batch.
    """
    network.weights.copy_(weights)
    without_dead(network.module)
    weights = network.weights
    statistics = b"" if images is None else _statistics(network.module, images)
    values = weights.cpu().numpy() + np.float32(0)  # no -0, which is not nothing on the wire
    mask = values != 0
    if gates is not None and torch.equal(gates.frozen * torch.from_numpy(mask).to(gates.frozen.device), weights):
        scale, shared = gates.scale, _shared(network, gates.digest)
        payload = min((pack_update(Update(pack(mask)), shared, uplink) for uplink in ("entropy", "packed")), key=len)
    else:
        scale, shared = "", _shared(network, network.digest())
        payload = pack_state(Weights(values), shared, "votes")
    told = asdict(facts) | {"weight_scale": scale, "digest": shared.digest.hex()}
    packed = zlib.compress(json.dumps(told, separators=(",", ":")).encode(), 9)
    opening = _OPENING.pack(MAGIC, VERSION, len(packed))
    whole = b"".join([opening, packed, _LENGTH.pack(len(statistics)), statistics, payload])
    whole += _LENGTH.pack(zlib.crc32(whole))
    write_atomically(path, whole)
    return len(whole)


def _statistics(module: nn.Module, images: Tensor) -> bytes:
    """Mean and variance of what reaches each batch norm, float32: means over batches of 64, each of which sees its own."""
    norms = _norms(module)
    if not norms:
        return b""
    sums = [torch.zeros(2, norm.num_features, dtype=torch.float64) for _, norm in norms]
    places = {id(norm): total for (_, norm), total in zip(norms, sums, strict=True)}

    def note(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        of_channels = inputs[0].transpose(0, 1).flatten(1).double()
        places[id(norm)] += torch.stack([of_channels.mean(1), of_channels.var(1, unbiased=False)]).cpu()

    handles = [norm.register_forward_pre_hook(note) for _, norm in norms]
    batches = torch.split(images[: max(_BATCH, len(images) // _BATCH * _BATCH)], _BATCH)
    try:
        with torch.no_grad():
            for batch in batches:
                module((batch / 255 - 0.5) / 0.5)
    finally:
        for handle in handles:
            handle.remove()
    return b"".join((total / len(batches)).numpy().astype("<f4").tobytes() for total in sums)


def _norms(module: nn.Module) -> list[tuple[str, nn.BatchNorm2d]]:
    """The batch norms that have nothing but the batch to go by."""
    every = module.named_modules()
    return [(name, m) for name, m in every if isinstance(m, nn.BatchNorm2d) and m.running_mean is None and not m.affine]


# --- reading


def load(path: str | Path, *, network: Callable[[Shape, int], nn.Module] | None = None, max_gates: int = _MOST_GATES) -> Model:
    """Load a model's file.

    Parameters
    ----------
    path : str or Path
        The file.
    network : callable, optional
        For a network of somebody's own: the function of (input_shape, num_outputs) that builds it. A file only names it, and
        what a file names is never imported.
    max_gates : int
        Refuse a network with more parameters.

    Returns
    -------
    Model
        In eval mode, on the CPU.

    Raises
    ------
    ModelFileError
        It is not there, no such file, damaged, of another version, or of a network that cannot be built here.
    """
    facts, statistics, payload = read(path)
    try:
        built = _built(facts, network, max_gates)
        flat = Network(built)
        values = _weights(flat, facts, payload)
    except (ConfigError, NetworkError, WireError) as error:
        raise ModelFileError(f"{path}: {error}") from None
    flat.weights.copy_(torch.from_numpy(values))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.grad = None
            parameter.data = parameter.data.clone()  # no longer a view of one flat vector
    return Model(_settled(built, statistics, path), facts).eval().requires_grad_(requires_grad=False)


def read(path: str | Path) -> tuple[Facts, bytes, bytes]:
    """The facts of a model's file, its statistics, and its payload, whose content is not decoded yet.

    Raises
    ------
    ModelFileError
        Anything else than a whole, undamaged file of this version.
    """
    try:
        data = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror or error}") from None
    if len(data) < _OPENING.size + 2 * _LENGTH.size or data[:4] != MAGIC:
        raise ModelFileError(f"{path}: no model file of fedgates (it begins with {data[:4]!r}, expected {MAGIC!r})")
    _, version, length = _OPENING.unpack_from(data)
    if version != VERSION:
        raise ModelFileError(f"{path}: model file version {version}, expected {VERSION}")
    body, checksum = data[: -_LENGTH.size], _LENGTH.unpack(data[-_LENGTH.size :])[0]
    if zlib.crc32(body) != checksum:
        raise ModelFileError(f"{path}: damaged, or cut short: its checksum does not match")
    at = _OPENING.size + length
    if length > _LONGEST_FACTS or at + _LENGTH.size > len(body):
        raise ModelFileError(f"{path}: facts of {length} bytes, in a file of {len(data)}")
    facts = _facts(path, body[_OPENING.size : at])
    (length,) = _LENGTH.unpack_from(body, at)
    at += _LENGTH.size
    if at + length > len(body):
        raise ModelFileError(f"{path}: statistics of {length} bytes, in a file of {len(data)}")
    return facts, body[at : at + length], body[at + length :]


def _facts(path: str | Path, packed: bytes) -> Facts:
    try:
        opened = zlib.decompressobj()
        told = json.loads(opened.decompress(packed, _LONGEST_FACTS))
        facts = Facts(**{**told, "input_shape": tuple(told["input_shape"]), "class_names": tuple(told["class_names"])})
        sound = (
            is_shape(facts.input_shape)
            and all(isinstance(name, str) for name in (facts.model, facts.weight_scale, facts.digest, *facts.class_names))
            and type(facts.seed) is int
            and 0 <= facts.seed < 2**63
            and facts.weight_scale in ("", *get_args(WeightScale))
            and isinstance(facts.training, dict)
            and all(isinstance(v, str | int | float | None) and v == v for v in facts.training.values())  # noqa: PLR0124  # no NaN
        )
    except (zlib.error, ValueError, TypeError, KeyError, RecursionError):
        sound = False
    if not sound:
        raise ModelFileError(f"{path}: its facts are not those of a model")
    return facts


def is_shape(value: object) -> bool:
    """Whether this is (C, H, W) of an image of a size that can be."""
    sizes = isinstance(value, tuple) and len(value) == 3 and all(type(n) is int and n >= 1 for n in value)
    return sizes and math.prod(cast("Shape", value)) <= _MOST_PIXELS


def _built(facts: Facts, own: Callable[[Shape, int], nn.Module] | None, max_gates: int) -> nn.Module:
    """The network, with whatever weights; its size is found out before it takes memory, where it is one of ours."""
    if own is not None:
        return own(facts.input_shape, facts.outputs)
    if facts.model not in MODELS:
        raise NetworkError(f"network {facts.model!r} is somebody's own: load(..., network=) takes the function that builds it")
    size = models.count(facts.model, facts.input_shape, len(facts.class_names)) or 0
    if size > max_gates:
        raise NetworkError(f"{facts.model} has {size:,} parameters, expected at most max_gates = {max_gates:,}")
    return models.build(facts.model, facts.input_shape, len(facts.class_names), seed=facts.seed)


def _weights(network: Network, facts: Facts, payload: bytes) -> NDArray[np.float32]:
    if not facts.weight_scale:
        state, _ = unpack_state(payload, _shared(network, network.digest()), "votes")
        if not isinstance(state, Weights):
            raise WireError("votes, expected weights")
        return state.values
    gates = Gates(network, facts.seed, facts.weight_scale)
    codec = "packed" if peek(payload).codec == PACKED else "entropy"
    mask = unpack_update(payload, _shared(network, gates.digest), codec).gates(network.size)
    weights: NDArray[np.float32] = gates.frozen.numpy() * mask.astype(np.float32)
    return weights


def _shared(network: Network, digest: bytes) -> Shared:
    """What both ends of a file know; it is of no round and of no client."""
    return Shared(digest, tuple(slot.size for slot in network.slots))


def _settled(module: nn.Module, statistics: bytes, path: str | Path) -> nn.Module:
    """The network with each batch norm's statistics fixed, where the file has some."""
    if not statistics:
        return module
    norms = _norms(module)
    wanted = sum(2 * layer.num_features for _, layer in norms)
    if len(statistics) != 4 * wanted:
        raise ModelFileError(f"{path}: {len(statistics)} bytes of statistics, expected {4 * wanted}")
    values = torch.from_numpy(np.frombuffer(statistics, dtype="<f4").astype(np.float32))
    if not bool(torch.isfinite(values).all()):
        raise ModelFileError(f"{path}: its statistics are not finite")
    at = 0
    for name, layer in norms:
        fixed = nn.BatchNorm2d(layer.num_features, eps=layer.eps, affine=False)
        fixed.running_mean = values[at : at + layer.num_features].clone()
        fixed.running_var = values[at + layer.num_features : at + 2 * layer.num_features].clone()
        at += 2 * layer.num_features
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, fixed)
    return module
