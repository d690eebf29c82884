"""Does the best rate of a ResNet stand still? Plain torch, batch norm, the handwritten digits that scikit-learn brings.

2 arms, 3 widths, 9 rates, 2 seeds, about 2 minutes on two cores. From the repository's root, with the extra `dev`:

    python -m experiments.models.resnet
"""

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from experiments.models.study import Study, Trained, Trial
from mutransfer import parametrize

STUDY = Study(
    name="resnet",
    arms={"sp": "sp", "mup": "mup_table3"},
    widths=(8, 16, 32),
    lrs=tuple(2.0**e for e in range(-11, -2)),
    seeds=2,
    base_width=16,
    batch_size=64,
    steps=60,
    warmup=0,
    unit="nats per image",
)


class Block(nn.Module):
    """Two convolutions beside a shortcut (He et al., 1512.03385, figure 2)."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(out)
        self.second = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(out)
        self.shortcut = nn.Identity() if into == out and stride == 1 else nn.Conv2d(into, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)))))
        return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """From images (B, 1, 8, 8) to logits (B, 10); two stages, the second twice as wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, 1, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.stages = nn.Sequential(Block(width, width, 1), Block(width, 2 * width, 2))
        self.readout = nn.Linear(2 * width, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stages(F.relu(self.stem_norm(self.stem(images))))
        return self.readout(x.mean((2, 3)))  # type: ignore[no-any-return]


def build(width: int) -> nn.Module:
    return ResNet(width)


@cache
def digits() -> tuple[Tensor, Tensor]:
    """1797 images (B, 1, 8, 8), centred and scaled, and their digits."""
    data = load_digits()
    images = torch.from_numpy(data.images).float()[:, None]
    return (images - images.mean()) / images.std(), torch.from_numpy(data.target)


def batch(seed: int, step: int) -> tuple[Tensor, Tensor]:
    """A function of seed and step alone: every width and rate sees the same."""
    images, labels = digits()
    draw = torch.Generator().manual_seed(STUDY.steps * seed + step)
    drawn = torch.randint(len(labels), (STUDY.batch_size,), generator=draw)
    return images[drawn], labels[drawn]


def train(trial: Trial) -> Trained:
    built = parametrize(
        build,
        width=trial.width,
        base_width=STUDY.base_width,
        parametrization=trial.parametrization,
        sample=batch(0, 0)[0],
        seed=trial.seed,
    )
    optimizer = torch.optim.AdamW(built.param_groups(trial.lr, weight_decay=0.01), betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STUDY.steps)
    losses = []
    for step in range(STUDY.steps):
        images, labels = batch(trial.seed, step)
        loss = F.cross_entropy(built.model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return Trained(losses, sum(parameter.numel() for parameter in built.model.parameters()))


def main() -> None:
    STUDY.run(train, Path("results/models/resnet"))


if __name__ == "__main__":
    main()
