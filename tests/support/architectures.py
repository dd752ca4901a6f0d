"""Small versions of networks that people bring, by the kind of input that they take."""

import timm
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torchvision import models as tv
from torchvision.ops.misc import FrozenBatchNorm2d

VOCABULARY = 16


# --- images


def resnet18(shape, outputs):
    """torchvision's resnet18 with an eighth of its channels."""
    block = tv.resnet.BasicBlock
    network = tv.ResNet(block, [1, 1, 1, 1])
    network.inplanes = 8
    network.conv1, network.bn1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
    for i, width in enumerate((8, 16, 32, 64)):
        setattr(network, f"layer{i + 1}", network._make_layer(block, width, 2, stride=2 if i else 1))
    network.fc = nn.Linear(64, outputs)
    return network


def mobilenet_v2(shape, outputs):
    return tv.MobileNetV2(outputs, width_mult=0.1, inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 1, 2]])


def mobilenet_v3(shape, outputs):
    blocks = [tv.mobilenetv3.InvertedResidualConfig(8, 3, 16, 8, True, "RE", 2, 1, 1)]
    return tv.MobileNetV3(blocks, 32, num_classes=outputs)


def efficientnet(shape, outputs):
    blocks = [tv.efficientnet.MBConvConfig(4, 3, 2, 8, 16, 1, width_mult=1.0, depth_mult=1.0)]
    return tv.EfficientNet(blocks, dropout=0.2, num_classes=outputs, last_channel=32)


def shufflenet(shape, outputs):
    return tv.ShuffleNetV2([1, 1, 1], [8, 16, 32, 64, 64], num_classes=outputs)


def densenet(shape, outputs):
    return tv.DenseNet(4, (1, 1), 8, num_classes=outputs)


def squeezenet(shape, outputs):
    fire = tv.squeezenet.Fire
    features = [nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2), fire(16, 4, 8, 8), nn.Conv2d(16, outputs, 1)]
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def convnext(shape, outputs):
    blocks = [tv.convnext.CNBlockConfig(8, 16, 1), tv.convnext.CNBlockConfig(16, None, 1)]
    return tv.ConvNeXt(blocks, num_classes=outputs)


def vision_transformer(shape, outputs):
    return tv.VisionTransformer(shape[1], 8, 2, 2, 16, 32, num_classes=outputs)


def swin(shape, outputs):
    return tv.SwinTransformer([4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=outputs)


def timm_vit(shape, outputs):
    sizes = {"img_size": shape[1], "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
    return timm.create_model("vit_tiny_patch16_224", num_classes=outputs, **sizes)


def timm_resnet(shape, outputs):
    return timm.create_model("resnet10t", num_classes=outputs, channels=(8, 8, 16, 16), stem_width=8)


class UNet(nn.Module):
    """Two levels down and up again; classifies by the mean over its map."""

    def __init__(self, shape, outputs):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(shape[0], 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.deep = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.out = nn.Conv2d(16, outputs, 1)

    def forward(self, x):
        fine = self.down(x)
        return self.out(torch.cat([fine, self.up(self.deep(fine))], 1))


class Pooled(UNet):
    def forward(self, x):
        return super().forward(x).mean((2, 3))


def _cnn(norm, shape, outputs):
    return nn.Sequential(
        nn.Conv2d(shape[0], 8, 3, 2), norm(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, outputs)
    )


def frozen_batch_norm(shape, outputs):
    return _cnn(FrozenBatchNorm2d, shape, outputs)


def group_norm(shape, outputs):
    return _cnn(lambda channels: nn.GroupNorm(2, channels), shape, outputs)


def instance_norm(shape, outputs):
    return _cnn(lambda channels: nn.InstanceNorm2d(channels, affine=True, track_running_stats=True), shape, outputs)


def batch_norm_1d(shape, outputs):
    sizes = shape[0] * shape[1] * shape[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(sizes, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, outputs))


def weight_norm(shape, outputs):
    network = _cnn(nn.Identity, shape, outputs)
    parametrizations.weight_norm(network[0])
    parametrizations.weight_norm(network[-1])
    return network


def spectral_norm(shape, outputs):
    network = _cnn(nn.Identity, shape, outputs)
    parametrizations.spectral_norm(network[-1])
    return network


def spectral_norm_in_evaluation_mode(shape, outputs):
    network = spectral_norm(shape, outputs)
    network[-1].parametrizations.weight[0].eval()
    return network


class LoRA(nn.Module):
    """A linear layer that stays as it is, and a trained one of low rank beside it."""

    def __init__(self, inputs, outputs, rank=4):
        super().__init__()
        self.base = nn.Linear(inputs, outputs).requires_grad_(False)
        self.down, self.up = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


def lora(shape, outputs):
    sizes = shape[0] * shape[1] * shape[2]
    return nn.Sequential(nn.Flatten(), LoRA(sizes, 32), nn.ReLU(), LoRA(32, outputs))


def tied(shape, outputs):
    sizes = shape[0] * shape[1] * shape[2]
    layers = [nn.Linear(sizes, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.Linear(16, outputs)]
    layers[4].weight = layers[2].weight
    return nn.Sequential(nn.Flatten(), *layers)


# --- tokens


class LastState(nn.Module):
    def __init__(self, kind, outputs, size=12):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.body, self.head = kind(8, size, batch_first=True), nn.Linear(size, outputs)

    def forward(self, x):
        return self.head(self.body(self.embedding(x))[0][:, -1])


def lstm(shape, outputs):
    return LastState(nn.LSTM, outputs)


def gru(shape, outputs):
    return LastState(nn.GRU, outputs)


class TextTransformer(nn.Module):
    """An encoder with learned positions and a mean over tokens."""

    def __init__(self, shape, outputs):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(VOCABULARY, 16), nn.Parameter(torch.randn(shape[0], 16) / 4)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, outputs)

    def forward(self, x):
        return self.head(self.encoder(self.embedding(x) + self.positions).mean(1))


class TiedLanguageModel(nn.Module):
    """Its output is the inner product with its own embedding; classifies by the first classes' scores."""

    def __init__(self, shape, outputs):
        super().__init__()
        self.embedding, self.body = nn.Embedding(VOCABULARY, 12), nn.GRU(12, 12, batch_first=True)
        self.decoder = nn.Linear(12, VOCABULARY, bias=False)
        self.decoder.weight = self.embedding.weight
        self.outputs = outputs

    def forward(self, x):
        return self.decoder(self.body(self.embedding(x))[0][:, -1])[:, : self.outputs]


# --- series, and two inputs


def cnn_1d(shape, outputs):
    return nn.Sequential(
        nn.Conv1d(shape[0], 8, 5, 2),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(2),
        nn.Flatten(),
        nn.Linear(16, outputs),
    )


class TwoInputs(nn.Module):
    def __init__(self, shapes, outputs):
        super().__init__()
        channels, height, width = shapes["image"]
        self.image = nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 8))
        self.table, self.head = nn.Linear(*shapes["table"], 8), nn.Linear(16, outputs)

    def forward(self, image, table):
        return self.head(F.relu(torch.cat([self.image(image), self.table(table)], 1)))


IMAGES = {
    "resnet18 (torchvision)": resnet18,
    "mobilenet v2 (torchvision)": mobilenet_v2,
    "mobilenet v3 (torchvision)": mobilenet_v3,
    "efficientnet (torchvision)": efficientnet,
    "shufflenet v2 (torchvision)": shufflenet,
    "densenet (torchvision)": densenet,
    "squeezenet (torchvision)": squeezenet,
    "ConvNeXt (torchvision)": convnext,
    "ViT (torchvision)": vision_transformer,
    "Swin (torchvision)": swin,
    "ViT (timm)": timm_vit,
    "resnet10t (timm)": timm_resnet,
    "U-Net, pooled": Pooled,
    "FrozenBatchNorm2d": frozen_batch_norm,
    "GroupNorm": group_norm,
    "InstanceNorm2d with statistics": instance_norm,
    "BatchNorm1d": batch_norm_1d,
    "weight norm": weight_norm,
    "spectral norm": spectral_norm,
    "spectral norm, in evaluation mode": spectral_norm_in_evaluation_mode,
    "LoRA": lora,
    "tied linear layers": tied,
}
TOKENS = {"LSTM": lstm, "GRU": gru, "text transformer": TextTransformer, "tied embedding": TiedLanguageModel}
SERIES = {"1-D CNN": cnn_1d}
TWO = {"two inputs": TwoInputs}
MAPS = {"U-Net, a label for each pixel": UNet}
