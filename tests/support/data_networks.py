"""Small networks for data of every kind: `model` = "data_networks:tokens" and so on."""

import torch
from torch import nn


def tokens(shape, outputs):
    """Return a classifier of tokens ``[n, L]`` below 16."""
    return nn.Sequential(nn.Embedding(16, 8), nn.Flatten(), nn.Linear(8 * shape[0], outputs))


def series(shape, outputs):
    """Return a network for windows of several channels, ``[n, C, L]``."""
    return nn.Sequential(nn.Conv1d(shape[0], 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * (shape[1] - 2), outputs))


def pixels(shape, outputs):
    """Return a network with an output for each pixel of an image."""
    return nn.Sequential(nn.Conv2d(shape[0], 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, outputs, 1))


class Both(nn.Module):
    """A network with two inputs, a table and tokens."""

    def __init__(self, shapes, outputs):
        super().__init__()
        self.embedding = nn.Embedding(16, 8)
        self.last = nn.Linear(shapes["table"][0] + 8, outputs)

    def forward(self, table, tokens):
        """Return logits."""
        return self.last(torch.cat([table, self.embedding(tokens).mean(1)], 1))


def both(shapes, outputs):
    """Return a network of two inputs."""
    return Both(shapes, outputs)
