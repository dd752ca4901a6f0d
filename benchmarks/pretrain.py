"""Train a network centrally and write its weights as safetensors, for studies that start from pretrained weights.

    python benchmarks/pretrain.py cifar100 resnet8 /tmp/resnet8-cifar100.safetensors --data-dir DIR --epochs 60

SGD with momentum .9 and weight decay 5e-4, a cosine schedule from .1, batches of 128, random flips and crops by 4 pixels.
"""

import argparse
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from fedgates import data, models
from fedgates.config import RunConfig
from fedgates.data import normalise, to_tensors

BATCH, RATE, PAD = 128, 0.1, 4


def augmented(x: torch.Tensor) -> torch.Tensor:
    """Return images ``[n, C, H, W]``, each randomly flipped and shifted by up to 4 pixels."""
    height, width = x.shape[2:]
    padded = F.pad(x, [PAD] * 4)
    images = []
    for image in padded:
        top, left = torch.randint(0, 2 * PAD + 1, (2,)).tolist()
        crop = image[:, top : top + height, left : left + width]
        images.append(crop.flip(2) if torch.rand(()) < 0.5 else crop)
    return torch.stack(images)


def main() -> None:
    """Train, print the test accuracy after every fifth epoch, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("model")
    parser.add_argument("target", type=Path)
    parser.add_argument("--data-dir", default="~/fedgates/data")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--all", action="store_true", help="train on the test images, too, if the target is another data set")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    dataset = data.load(RunConfig(dataset=given.dataset, data_dir=given.data_dir))
    x, y = to_tensors(dataset.train, "cpu")
    test_x, test_y = to_tensors(dataset.test, "cpu")
    if given.all:
        x, y = torch.cat([x, test_x]), torch.cat([y, test_y])
    network = models.build(given.model, dataset.problem, seed=given.seed)
    steps = given.epochs * math.ceil(len(x) / BATCH)
    sgd = torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, steps)
    for epoch in range(1, given.epochs + 1):
        network.train()
        for batch in torch.randperm(len(x)).split(BATCH):
            sgd.zero_grad()
            F.cross_entropy(network(normalise(augmented(x[batch]))), y[batch]).backward()
            sgd.step()
            schedule.step()
        if epoch % 5 == 0 or epoch == given.epochs:
            network.eval()
            with torch.no_grad():
                right = [
                    network(normalise(part)).argmax(1) == labels
                    for part, labels in zip(test_x.split(500), test_y.split(500), strict=True)
                ]
            seen = "training" if given.all else "held-out"
            print(f"epoch {epoch}: {100 * torch.cat(right).float().mean():.1f} % of {seen} test images", flush=True)
            save_file({name: value.contiguous() for name, value in network.state_dict().items()}, given.target)


if __name__ == "__main__":
    main()
