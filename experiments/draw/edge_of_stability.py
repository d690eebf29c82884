"""`python experiments/draw/edge_of_stability.py`: sharpness rises to the edge of stability and hovers there.

After Cohen et al. (2103.00065, 2207.14484): a small MLP of torch's own layers, trained under squared error on 500
handwritten digits as one batch (they come with scikit-learn). Draws docs/figures/edge_of_stability.png and writes what
it drew into a .csv beside it. About half a minute on one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import nn

from mutransfer.files import write_whole
from mutransfer.report.files import png
from mutransfer.toolbox.sharpness.figure import sharpness
from mutransfer.toolbox.sharpness.measure import Look, follow_sharpness

FIGURES = Path(__file__).parent.parent.parent / "docs" / "figures"
DIGITS = 500
STEPS, LOOKS = 2000, 80
PANELS = {
    "gradient descent": (lambda parameters, lr: torch.optim.SGD(parameters, lr), (0.5, 0.35)),
    "momentum 0.9": (lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=0.9), (0.6, 0.5)),
    "Adam": (lambda parameters, lr: torch.optim.Adam(parameters, lr), (0.01, 0.005)),
}
"""Each optimizer with a higher and a lower rate."""
RUNS = ("the higher rate", "the lower rate")


def train(make: object, lr: float) -> Iterator[Look]:
    """The looks at one run."""
    digits = load_digits()
    pixels = torch.tensor(digits.data[:DIGITS] / 16)
    pixels = pixels - pixels.mean(dim=0)
    targets = nn.functional.one_hot(torch.tensor(digits.target[:DIGITS]), 10).double()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 10)).double()
    optimizer = make(model.parameters(), lr)  # type: ignore[operator]

    def loss() -> torch.Tensor:
        return (model(pixels) - targets).square().sum(dim=1).mean() / 2

    def update(step: int) -> float:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value.item()

    return follow_sharpness(update, loss, optimizer, STEPS, STEPS // LOOKS)


def main() -> None:
    torch.set_num_threads(1)
    rows = [
        {
            "panel": f"{name}\nlr {lrs[0]:g} and {lrs[1]:g}",
            "run": run,
            "step": look.step,
            "loss": look.loss,
            "preconditioned": look.sharpness.preconditioned,
            "edge": look.sharpness.edge,
        }
        for name, (make, lrs) in PANELS.items()
        for run, lr in zip(RUNS, lrs, strict=True)
        for look in train(make, lr)
    ]
    frame = pd.DataFrame(rows)
    FIGURES.mkdir(parents=True, exist_ok=True)
    write_whole(FIGURES / "edge_of_stability.csv", frame.to_csv(index=False, float_format="%.6g").encode())
    print(write_whole(FIGURES / "edge_of_stability.png", png(sharpness(frame, loss_unit="squared error"))))


if __name__ == "__main__":
    main()
