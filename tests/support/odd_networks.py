"""Networks that a user might bring: those that cannot be trained in a federation, and some that can."""

from math import prod

import numpy as np
import torch
from torch import nn


def _mlp(shape, out, *extra):
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), 16), *extra, nn.ReLU(), nn.Linear(16, out))


class Wrapped(nn.Module):
    """A perceptron with something odd around it."""

    def __init__(self, shape, out):
        super().__init__()
        self.net = _mlp(shape, out)

    def forward(self, x):
        return self.net(x)


# --- networks that work


def tied(shape, out):
    layers = [nn.Linear(prod(shape), 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12), nn.Linear(12, out)]
    layers[4].weight = layers[2].weight
    return nn.Sequential(nn.Flatten(), *layers)


class Unused(Wrapped):
    """It has a layer that the output does not depend on."""

    def __init__(self, shape, out):
        super().__init__(shape, out)
        self.spare = nn.Linear(3, 2)


class Scaled(Wrapped):
    """It has a saved buffer that is the same everywhere."""

    def __init__(self, shape, out, scale=2.0):
        super().__init__(shape, out)
        self.register_buffer("scale", torch.tensor([scale]))

    def forward(self, x):
        return self.net(x) * self.scale


class Projected(Wrapped):
    """A buffer drawn by torch, which is the same for each seed of a run."""

    def __init__(self, shape, out):
        super().__init__(shape, out)
        self.register_buffer("projection", torch.randn(out, out))

    def forward(self, x):
        return self.net(x) @ self.projection


def weights_by_numpy(shape, out):
    net = _mlp(shape, out)
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor(np.random.default_rng().normal(size=net[1].weight.shape)))
    return net


def norm_by_batch(shape, out):
    return _mlp(shape, out, nn.BatchNorm1d(16, affine=False, track_running_stats=False))


def frozen_part(shape, out):
    net = _mlp(shape, out)
    net[1].requires_grad_(False)
    return net


# --- networks that do not


class Squeezed(Wrapped):
    def forward(self, x):
        return self.net(x).squeeze()


class Auxiliary(Wrapped):
    def forward(self, x):
        y = self.net(x)
        return (y, y) if self.training else y


class Named(Wrapped):
    def forward(self, x):
        return {"logits": self.net(x)}


class Detached(Wrapped):
    def forward(self, x):
        return self.net(x).detach()


class Constant(Wrapped):
    def forward(self, x):
        return torch.zeros(len(x), 10, requires_grad=True) + self.net(x).detach()


class Undefined(Wrapped):
    def forward(self, x):
        return (self.net(x) - 1e6).log()


class Broken(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("no backward\nfor this")


class WithoutBackward(Wrapped):
    def forward(self, x):
        return Broken.apply(self.net(x))


class Average(Wrapped):
    """A buffer that moves in training under another name than running_mean."""

    def __init__(self, shape, out):
        super().__init__(shape, out)
        self.register_buffer("ema", torch.zeros(out))

    def forward(self, x):
        y = self.net(x)
        if self.training:
            self.ema.mul_(0.9).add_(y.detach().mean(0), alpha=0.1)
        return y - self.ema


class Replaced(Average):
    """The same, by a new tensor."""

    def forward(self, x):
        y = self.net(x)
        if self.training:
            self.ema = self.ema + y.detach().mean(0)
        return y


class Drawn(Wrapped):
    """A buffer drawn by NumPy: another network in every process."""

    def __init__(self, shape, out):
        super().__init__(shape, out)
        self.register_buffer("shift", torch.tensor(np.random.default_rng().normal(size=out), dtype=torch.float32))

    def forward(self, x):
        return self.net(x) + self.shift


class Plain(Wrapped):
    """The same, by a tensor that is no buffer."""

    def __init__(self, shape, out):
        super().__init__(shape, out)
        self.shift = torch.tensor(np.random.default_rng().normal(size=out), dtype=torch.float32)

    def forward(self, x):
        return self.net(x) + self.shift


def any_width(shape, out):
    width = int(np.random.default_rng().integers(3, 10**6))
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), width % 5000 + 3), nn.Linear(width % 5000 + 3, out))


def softmax(shape, out):
    return nn.Sequential(*_mlp(shape, out), nn.Softmax(1))
