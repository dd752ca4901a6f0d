"""Models that were never trained, and files of them, sound and damaged on purpose."""

import json
import math
import struct
import zlib

import torch
from torch import nn

from fedgates import models
from fedgates.methods.evaluation import predict
from fedgates.model_file import Facts
from fedgates.nn.batch_norms import channel_sums, statistics_of
from fedgates.nn.gates import Gates
from fedgates.nn.network import Network
from fedgates.types import Problem

SHAPE = (1, 8, 8)
CLASSES = tuple("abcdefghij")
_CRC_OF_PAYLOAD = 32


def facts(model="mlp", shape=SHAPE, classes=CLASSES, seed=3, **training):
    return Facts(model, Problem.of_images(shape, len(classes)), classes, seed, "", "", {"strategy": "fedpm", **training})


def images(count=32, shape=SHAPE):
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def masked(model="mlp", shape=SHAPE, density=0.3, seed=3, classes=10):
    """A network, its gates, and frozen weights under a random mask."""
    network = Network(models.build(model, Problem.of_images(shape, classes), seed=seed))
    gates = Gates(network, seed)
    mask = torch.rand(network.size, generator=torch.Generator().manual_seed(2)) < density
    return network, gates, gates.frozen * mask


def logits(network, weights, x):
    network.weights.copy_(weights)
    with torch.no_grad():
        return network((x / 255 - 0.5) / 0.5)


def statistics(network, weights, x):
    """Statistics of the batch norms over images, which are one batch."""
    network.weights.copy_(weights)
    with channel_sums(network.module) as sums:
        predict(network, x)
        return statistics_of(network.module, sums())


def own(input_shape, num_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), num_outputs))


# --- files as bytes


def resealed(data):
    """The file with the checksum that it ought to have."""
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


def with_facts(data, told):
    (length,) = struct.unpack_from("<I", data, 6)
    packed = zlib.compress(told if isinstance(told, bytes) else json.dumps(told).encode())
    return resealed(data[:6] + struct.pack("<I", len(packed)) + packed + data[10 + length :])


def told_by(data):
    (length,) = struct.unpack_from("<I", data, 6)
    return json.loads(zlib.decompress(data[10 : 10 + length]))


def payload_at(data):
    """Where the payload begins."""
    at = 10 + struct.unpack_from("<I", data, 6)[0]
    return at + 4 + struct.unpack_from("<I", data, at)[0]


def with_payload(data, change):
    """The file with another payload, both checksums being those that they ought to be."""
    at = payload_at(data)
    payload = change(data[at:-4])
    sum_at = _CRC_OF_PAYLOAD
    crc = zlib.crc32(payload[sum_at + 4 :], zlib.crc32(payload[:sum_at]))
    return resealed(data[:at] + payload[:sum_at] + struct.pack("<I", crc) + payload[sum_at + 4 :] + bytes(4))
