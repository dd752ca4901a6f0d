"""The local loop that methods share: batches of a client's images, one backward pass each, and evaluation."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fedgates.config import RunConfig
from fedgates.data import normalise
from fedgates.keys import generator
from fedgates.network import Network

_EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Task:
    """What a client is asked: its own images, the round, and its name.

    ``x`` is uint8 ``[n, C, H, W]`` and ``y`` int64 ``[n]``, both on the network's device.
    """

    x: Tensor
    y: Tensor
    server_round: int
    client: int

    def generator(self, seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
        """The generator of this client, in this round, for one purpose."""
        return generator(seed, purpose, server_round=self.server_round, client=self.client, device=device)


def batches(task: Task, config: RunConfig) -> Iterator[Tensor]:
    """Indices of each mini-batch of the local epochs, reshuffled every epoch; the last one may be smaller."""
    order = task.generator(config.seed, "batches")
    for _ in range(config.local_epochs):
        shuffled = torch.randperm(len(task.y), generator=order).to(task.x.device)
        yield from torch.split(shuffled, config.batch_size)


def backward(network: Network, task: Task, batch: Tensor, precision: str) -> Tensor:
    """Cross-entropy of one batch with the network's present weights; leaves its gradient in ``network.gradient``.

    Returns
    -------
    Tensor
        The batch's mean loss, detached.
    """
    network.gradient.zero_()
    network.module.train()
    with autocast(network.device, precision):
        logits = network(_images(task.x[batch], precision))
    loss = F.cross_entropy(logits.float(), task.y[batch])
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


@torch.inference_mode()
def predict(network: Network, x: Tensor, precision: str = "float32") -> Tensor:
    """Class probabilities ``[n, classes]``, float32, of uint8 images ``[n, C, H, W]`` with the network's present weights."""
    network.module.eval()
    parts = []
    for part in torch.split(x, _EVALUATION_BATCH):
        with autocast(network.device, precision):
            logits = network(_images(part, precision))
        parts.append(F.softmax(logits.float(), dim=1))
    return torch.cat(parts)


def score(probabilities: Tensor, y: Tensor) -> tuple[float, float]:
    """Accuracy (share in 0 to 1) and mean cross-entropy in nats of predictions ``[n, classes]`` for labels ``[n]``.

    A row that is not finite, as weights that overflow give it, is a wrong prediction of probability 0.
    """
    finite = probabilities.isfinite().all(1)
    right = ((probabilities.argmax(1) == y) & finite).double().mean()
    chance = probabilities.gather(1, y[:, None])[:, 0].where(finite, 0)
    return float(right), float(-chance.clamp_min(1e-12).log().double().mean())


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Bfloat16 autocast on `device`, or nothing for float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _images(x: Tensor, precision: str) -> Tensor:
    images: Tensor = normalise(x)
    return images if precision == "float32" else images.contiguous(memory_format=torch.channels_last)


@contextmanager
def isolated(seed_from: torch.Generator, threads: int) -> Iterator[None]:
    """Run with `threads` CPU threads (0: as they are) and torch's global generators seeded from a key, then put both back.

    A user's network may draw from the global generator (dropout does), and sums depend on how many threads share them.
    """
    before = torch.get_num_threads()
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed_from.initial_seed())
        if threads:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
