"""Batch normalisation without parameters or running statistics, so that nothing of it has to be federated."""

from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation of images ``[n, C, H, W]`` by the statistics of the batch, in training and in evaluation.

    It has no scale, shift or running statistics, so a network's weights are its whole state, and every parameter can have a
    gate. Its output for an image depends on the other images in the batch; :func:`fedgates.methods.training.predict` evaluates
    in large batches of one size. A single image with maps of 1x1 has no batch statistics and is normalised over its channels
    instead: normalised by the statistics of one value it would be zero, and all predictions equal.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=False, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with mean 0 and variance 1 in each channel."""
        if x[:, 0].numel() == 1:
            return F.layer_norm(x, x.shape[1:], eps=self.eps)
        return super().forward(x)
