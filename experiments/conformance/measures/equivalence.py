"""Tables 3, 8 and 9 of Tensor Programs V are one parametrization (Lemma J.1), and at base_width muP is SP (Eq. 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from gates import Measurement, Quantity
from numpy.typing import NDArray
from place import Place

from measures.training import start
from mutransfer import ModelConfig, SweepConfig
from mutransfer.config import Arm, Scale
from mutransfer.data import sample_batch

TABLES = ("mup", "mup_table3", "mup_table9")


@dataclass(frozen=True)
class Equivalence:
    """Loss curves in float64, epsilon scaled as each table says, nothing clipped or tied; with readout and query zero
    and random."""

    base_width: int = 32
    steps: int = 20
    batch_size: int = 4
    lr: float = 2.0**-7

    def measure(self, place: Place) -> Measurement:
        tables = {m: max(self.apart(TABLES, m, zero, place) for zero in (True, False)) for m in (4, 3)}
        base = max(self.apart(("sp", *TABLES), 1, zero, place) for zero in (True, False))
        return Measurement(
            {
                "Tables 3, 8, 9 at m = 4: largest relative difference of losses": Quantity(tables[4]),
                "Tables 3, 8, 9 at m = 3: largest relative difference of losses": Quantity(tables[3]),
                "SP and muP at base width: largest relative difference of losses": Quantity(base),
            },
            f"float64, {self.steps} steps of AdamW at 2^{math.log2(self.lr):g}, base width {self.base_width}, readout "
            "and query zero and random",
        )

    def apart(self, names: tuple[str, ...], m: int, zero: bool, place: Place) -> float:
        """Largest difference between the loss curves, over the loss."""
        curves = np.array([self._losses(name, m * self.base_width, zero, place) for name in names])
        return float((np.ptp(curves, axis=0) / curves.min(axis=0)).max())

    def _losses(self, name: str, width: int, zero: bool, place: Place) -> NDArray[np.float64]:
        sweep = SweepConfig(
            widths=(width,),
            base_width=self.base_width,
            steps=self.steps,
            batch_size=self.batch_size,
            dtype="float64",
            model=ModelConfig(zero_readout=zero, zero_query=zero),
        )
        batch = sample_batch(place.corpus.train, 0, 0, self.batch_size, ModelConfig.context)
        training = start(sweep.trial(Arm(name, name), Scale(width), self.lr, 0), torch.from_numpy(batch))
        return np.array([loss for _, loss in training.steps(self.steps)])
