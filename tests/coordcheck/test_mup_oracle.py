"""Sizes agree with those that the `mup` package's own coordinate check records of the same model."""

import pandas as pd
import pytest
import torch
from mup import MuAdamW, MuReadout, MuSGD, set_base_shapes
from mup.coord_check import get_coord_data
from torch import nn

from mutransfer import coord_check
from mutransfer.config import OptimizerConfig

WIDTHS, SEEDS, STEPS = (16, 32, 64), 2, 3
OPTIMIZERS = {
    "adamw": (MuAdamW, 2.0**-7, OptimizerConfig(beta2=0.999)),
    "sgd": (MuSGD, 2.0**-4, OptimizerConfig(name="sgd", momentum=0.0)),
}


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(64, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.readout = MuReadout(width, 64)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.readout(self.down(torch.relu(self.up(self.embedding(tokens)))))


def make(width: int) -> nn.Module:
    return set_base_shapes(Net(width), Net(16), delta=Net(32))


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.randint(64, (4, 9), generator=torch.Generator().manual_seed(3))
    return tokens[:, :-1], tokens[:, 1:].flatten()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_mean_absolute_outputs_agree(name: str) -> None:
    optimizer, lr, config = OPTIMIZERS[name]

    def build(width: int):
        model = make(width)
        groups = optimizer(model.parameters(), lr=lr).param_groups
        return model, [{key: group[key] for key in ("params", "lr", "weight_decay")} for group in groups]

    check = coord_check(build, WIDTHS, optimizer=config, lr=1.0, steps=STEPS, seeds=SEEDS, batch=batch)
    theirs = []
    for seed in range(SEEDS):

        def seeded(width: int, seed: int = seed) -> nn.Module:
            torch.manual_seed(seed)
            return make(width)

        found = get_coord_data(
            {width: lambda width=width: seeded(width) for width in WIDTHS},
            [batch(seed)],
            optimizer=name,
            lr=lr,
            nsteps=STEPS + 1,
            cuda=False,
            flatten_output=True,
            show_progress=False,
        )
        theirs.append(found.assign(seed=seed, step=found["t"] - 1))
    ours = check.frame[check.frame["quantity"] == "l1"]
    both = ours.merge(pd.concat(theirs), on=["module", "step", "width", "seed"])
    assert len(both) == len(ours) == 4 * len(WIDTHS) * SEEDS * (STEPS + 1)
    assert both["value"].to_numpy() == pytest.approx(both["l1"].to_numpy(), rel=1e-5)
    assert check.passed, check.report()
