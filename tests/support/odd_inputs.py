"""Small networks for inputs and outputs of every kind, and data that they can learn."""

from math import prod

import numpy as np
import torch
from torch import nn


def windows(shape, outputs):
    """A 1D CNN over float windows (length, channels)."""
    return nn.Sequential(
        Turned(), nn.Conv1d(shape[1], 8, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, outputs)
    )


class Turned(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


class Tokens(nn.Module):
    """Mean of embeddings of tokens below 50."""

    def __init__(self, _, outputs):
        super().__init__()
        self.embedding, self.last = nn.Embedding(50, 8), nn.Linear(8, outputs)

    def forward(self, x):
        return self.last(self.embedding(x).mean(1))


class Two(nn.Module):
    """Numbers and a small image together."""

    def __init__(self, shapes, outputs):
        super().__init__()
        self.first = nn.Linear(prod(shapes["image"]), 8)
        self.last = nn.Linear(8 + prod(shapes["numbers"]), outputs)

    def forward(self, *, numbers, image):
        return self.last(torch.cat([self.first(image.flatten(1)).relu(), numbers], 1))


def pixels(shape, outputs):
    """A class for each pixel."""
    return nn.Sequential(nn.Conv2d(shape[0], 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, outputs, 1))


def arrays(kind, n=160, seed=1):
    """The data for each network, or for mlp: arrays x (or x by name) and y, ``[n, ...]``."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(n, 6)).astype(np.float32)
    match kind:
        case "windows":
            y = np.arange(n) % 3
            return {"x": rng.normal(size=(n, 20, 2)) * 0.3 + y[:, None, None], "y": y}
        case "tokens":
            y = np.arange(n) % 2
            return {"x": rng.integers(0, 25, (n, 9)) + 25 * y[:, None], "y": y}
        case "two":
            image = rng.integers(0, 256, (n, 4, 4, 1), dtype=np.uint8)
            return {"x_numbers": table[:, :2], "x_image": image, "y": (table[:, 0] > 0).astype(int)}
        case "pixels":
            image = rng.integers(0, 256, (n, 6, 5, 1), dtype=np.uint8)
            y = (image[..., 0] > 127).astype(np.int64)
            y[:, 0] = -100
            return {"x": image, "y": y}
        case "labels":
            return {"x": table, "y": table[:, :3] > 0}
        case "numbers":
            return {"x": table, "y": table[:, :2] * [1.0, -2.0]}
    raise ValueError(kind)


def write(path, kind, n=160):
    """Write the data as npz, three quarters of them for training; return the name of the data set."""
    found = arrays(kind, n)
    split = n * 3 // 4
    parts = {"train": slice(0, split), "test": slice(split, n)}
    np.savez(path, **{f"{key[0]}_{part}{key[1:]}": value[at] for key, value in found.items() for part, at in parts.items()})
    return f"npz:{path}"
