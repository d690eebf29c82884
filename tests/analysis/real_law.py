"""The optima of Step Law's runs, and splits of them: what is fitted, and what that predicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mutransfer.analysis.curve import curves
from mutransfer.analysis.law import measured, predict
from mutransfer.analysis.optimum import Optimum, optima
from mutransfer.trials.table import from_frame

DATA = Path(__file__).resolve().parents[1] / "data" / "law"
DIVERGED_ABOVE = 4.0
"""Nats; nothing in the tables says which runs diverged."""


def runs(name: str) -> pd.DataFrame:
    """The runs of a table, dense or moe."""
    return pd.read_csv(DATA / f"steplaw_{name}.csv.gz")


def cells(frame: pd.DataFrame, loss: str = "smooth_loss") -> list[Optimum]:
    """The optimum of every (N, D, bs) that has one inside its rates."""
    table = pd.DataFrame(
        {
            "params": frame["N"],
            "tokens": frame["D"],
            "batch_size": frame["bs"],
            "lr": frame["lr"],
            "loss": frame[loss].mask(frame["loss"] > DIVERGED_ABOVE, np.inf),
        }
    )
    return [optimum for optimum in optima(curves(from_frame(table))) if optimum.interior]


def column(found: Sequence[Optimum], dimension: str) -> NDArray[np.float64]:
    return np.array([optimum.scale[dimension] for optimum in found])


def splits(found: Sequence[Optimum]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """What is fitted, by name: small models, short runs, and all but one (N, D)."""
    params, tokens = column(found, "params"), column(found, "tokens")
    for largest, longest in ((270e6, 12e9), (220e6, 1e12), (270e6, 1e12), (1e12, 12e9), (1e12, 15e9), (270e6, 15e9)):
        yield f"N <= {largest:g}, D <= {longest:g}", (params <= largest) & (tokens <= longest)
    for one, other in sorted(set(zip(params.tolist(), tokens.tolist(), strict=True))):
        yield f"all but N = {one:g}, D = {other:g}", (params != one) | (tokens != other)


def predicted(found: Sequence[Optimum], fitted: NDArray[np.bool_]) -> pd.DataFrame:
    """Of every cell that was not fitted: the error of the prediction in octaves, its cost in nats, half the interval,
    whether it held."""
    asked = [optimum for optimum, inside in zip(found, fitted, strict=True) if not inside]
    law = measured([optimum for optimum, inside in zip(found, fitted, strict=True) if inside])
    rows = []
    for optimum, prediction in zip(asked, predict(law, [each.scale for each in asked]), strict=True):
        error = prediction.log2_lr - optimum.log2_lr
        bend = np.nan if optimum.quartic is None else optimum.quartic.derivative(optimum.log2_lr, 2) / 2
        held = prediction.ci_low <= optimum.log2_lr <= prediction.ci_high
        rows.append((abs(error), error**2 * bend, (prediction.ci_high - prediction.ci_low) / 2, held))
    return pd.DataFrame(rows, columns=["error", "cost", "half", "held"])
