"""Networks for benchmarks/pretrained.py: `model` = "pretrained_networks:resnet8_fixed_norms"."""

import torch
from torch import nn

from fedgates import models
from fedgates.models.batch_norm import BatchNorm
from fedgates.types import Problem


def resnet8_fixed_norms(shape: tuple[int, int, int], outputs: int) -> nn.Module:
    """resnet8 whose batch norms keep the running statistics of its pretrained weights."""
    network = models.build("resnet8", Problem.of_images(shape, outputs))
    for layer in network.modules():
        if isinstance(layer, BatchNorm):
            layer.running_mean, layer.running_var = torch.zeros(layer.num_features), torch.ones(layer.num_features)
            layer.track_running_stats = True
            layer.eval()
    return network
