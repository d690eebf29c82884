"""The cells of Step Law's runs as the law takes them, and splits of them: what is fitted, and what that predicts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from mutransfer.analysis.curve import Curve
from mutransfer.analysis.law import Measured, predict
from mutransfer.analysis.optimum import optima
from mutransfer.config.scale import Scale

DATA = Path(__file__).resolve().parents[1] / "data" / "law"
DIVERGED_ABOVE = 4.0
"""Nats; nothing in the tables says which runs diverged."""


def runs(name: str) -> pd.DataFrame:
    """The runs of a table, dense or moe."""
    return pd.read_csv(DATA / f"steplaw_{name}.csv.gz")


def cells(frame: pd.DataFrame, loss: str = "smooth_loss") -> pd.DataFrame:
    """A row per (N, D, bs) with an optimum inside its rates: those, log2_lr, variance, df and curvature."""
    groups = list(frame.groupby(["N", "D", "bs"]))
    curves = []
    for at, (_, group) in enumerate(groups):
        ordered = group.sort_values("lr")
        losses = np.where(ordered["loss"] > DIVERGED_ABOVE, np.inf, ordered[loss])
        curves.append(Curve(at, np.log2(ordered["lr"].to_numpy()), losses[None]))
    rows = []
    for (scale, _), optimum in zip(groups, optima(curves), strict=True):
        if not optimum.interior:
            continue
        bend = np.nan if optimum.quartic is None else optimum.quartic.derivative(optimum.log2_lr, 2) / 2
        rows.append((*scale, optimum.log2_lr, optimum.noise + optimum.shape, optimum.df, bend))
    return pd.DataFrame(rows, columns=["N", "D", "bs", "log2_lr", "variance", "df", "curvature"])


def scale(row: pd.Series) -> Scale:
    return Scale(params=row["N"], tokens=row["D"], batch_size=row["bs"])


def measured(rows: pd.DataFrame) -> Measured:
    return Measured(
        scales=tuple(scale(row) for _, row in rows.iterrows()),
        log2_lr=rows["log2_lr"].to_numpy(),
        covariance=np.diag(rows["variance"]),
        df=float(rows["df"].median()),
        curvature=rows["curvature"].to_numpy(),
    )


def splits(rows: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """What is fitted, by name: small models, short runs, and all but one (N, D)."""
    for params, tokens in ((270e6, 12e9), (220e6, 1e12), (270e6, 1e12), (1e12, 12e9), (1e12, 15e9), (270e6, 15e9)):
        yield f"N <= {params:g} and D <= {tokens:g}", (rows["N"] <= params) & (rows["D"] <= tokens)
    for params, tokens in rows[["N", "D"]].drop_duplicates().to_numpy():
        yield f"all but N = {params:g}, D = {tokens:g}", (rows["N"] != params) | (rows["D"] != tokens)


def predicted(rows: pd.DataFrame, fitted: pd.Series) -> pd.DataFrame:
    """Of every cell that was not fitted: the error of the prediction in octaves, its cost in nats, half the interval,
    whether it held."""
    asked = rows[~fitted]
    predictions = predict(measured(rows[fitted]), [scale(row) for _, row in asked.iterrows()])
    found = []
    for (_, row), prediction in zip(asked.iterrows(), predictions, strict=True):
        error = prediction.log2_lr - row["log2_lr"]
        half = (prediction.ci_high - prediction.ci_low) / 2
        held = prediction.ci_low <= row["log2_lr"] <= prediction.ci_high
        found.append((abs(error), error**2 * row["curvature"], half, held))
    return pd.DataFrame(found, columns=["error", "cost", "half", "held"])
