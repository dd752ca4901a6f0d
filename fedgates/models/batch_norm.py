"""Normalisation by batch statistics, without anything that would have to be federated."""

from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.BatchNorm2d):
    """BatchNorm of an image ``[n, C, H, W]`` by its own batch, in training and in evaluation.

    It has no scale, no shift and no running statistics, so a network's weights are the whole of its state, and a gate on every
    parameter is possible. What it makes of an image depends on the others in the batch:
    :func:`fedgates.methods.training.predict` evaluates in large batches of one size. The one case in which a batch has no
    statistics, a single image whose maps are 1x1, is normalised over its channels: by statistics of one value it would be
    zero, and the prediction the same for any image.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=False, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        """Each channel with mean 0 and variance 1, of the same shape."""
        if x[:, 0].numel() == 1:
            return F.layer_norm(x, x.shape[1:], eps=self.eps)
        return super().forward(x)
