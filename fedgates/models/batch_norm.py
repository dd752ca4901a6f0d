"""Batch normalisation with batch statistics only, so that clients need not average running statistics."""

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase


class _BatchStatistics(_BatchNorm):
    """Batch normalisation that also accepts a batch with one value per channel.

    Such a batch is normalised over its channels; its own statistics would make every output zero and all predictions equal.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel of ``x`` to mean 0 and variance 1, then scale and shift if the layer is affine."""
        if self.running_mean is None and x.dim() > 1 and x[:, 0].numel() == 1:
            normal = F.layer_norm(x, x.shape[1:], eps=self.eps)
            if self.weight is None:
                return normal
            shape = (1, -1, *[1] * (x.dim() - 2))
            return normal * self.weight.view(shape) + self.bias.view(shape)
        return super().forward(x)


class BatchNorm1d(_BatchStatistics, nn.BatchNorm1d):
    """:class:`torch.nn.BatchNorm1d` without running statistics."""


class BatchNorm2d(_BatchStatistics, nn.BatchNorm2d):
    """:class:`torch.nn.BatchNorm2d` without running statistics."""


class BatchNorm3d(_BatchStatistics, nn.BatchNorm3d):
    """:class:`torch.nn.BatchNorm3d` without running statistics."""


class BatchNorm(BatchNorm2d):
    """Batch normalisation of images ``[n, C, H, W]`` with batch statistics, in training and in evaluation.

    Without scale, shift and running statistics, the weights of a network are its whole state, and every parameter can have a
    gate. The output for an image depends on the other images in the batch; :func:`fedgates.methods.evaluation.predict`
    evaluates in large batches of equal size.

    Parameters
    ----------
    channels : int
        Number of channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=False, track_running_stats=False)


_PLAIN = {nn.BatchNorm1d: BatchNorm1d, nn.BatchNorm2d: BatchNorm2d, nn.BatchNorm3d: BatchNorm3d}


def drop_running_statistics(module: nn.Module) -> list[str]:
    """Make norms with running statistics use batch statistics, in place, and return the names of these norms.

    Running statistics of one client are wrong for another, and with sampled masks they mix many networks. Statistics of a
    finished model are measured once (:mod:`fedgates.model_file.batch_norms`). A norm that the network's function has put into
    evaluation mode keeps its running statistics, which are constant buffers.
    """
    dropped = []
    for name, layer in module.named_modules():
        if not isinstance(layer, _NormBase) or layer.running_mean is None:
            continue
        if module.training and not layer.training:
            continue
        layer.track_running_stats = False
        layer.running_mean = layer.running_var = layer.num_batches_tracked = None
        dropped.append(name)
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and layer.running_mean is None and type(layer) in _PLAIN:
            layer.__class__ = _PLAIN[type(layer)]
    return dropped
