"""Which estimator? Each of several gives the optimum of every width and the slope, with 95% intervals, of the same
planted sweeps with the noise of real runs.

    python experiments/calibration/methods.py [--studies 360] [--workers 2]

writes results/calibration/methods.json and methods.md. The package takes a width's optimum from `quartic` and the slope
from `pooled`.

    quartic     a ridge quartic for every width; t intervals from noise, seeds' shifts and shape
    pooled      one shape for all widths, curvature and a little skew apart
    parabola    the usual practice: least squares through the five rates about the best one, percentile seed bootstrap
    seeds       a parabola through the three lowest rates of every seed, Student's t over the seeds
    cubic       least squares through rates within 0.2 nats of the best, wild bootstrap of the residuals
    process     a Gaussian process about a parabola (squared exponential, 2 octaves, 0.01 nats), posterior draws
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy: matrices here are small

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from analysis.calibration import FACTORS, NARROWEST, SLOPES, STRATA, WOBBLE, Cell  # noqa: E402
from analysis.planted import SHARES, world  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from mutransfer.analysis.curve import Curve  # noqa: E402
from mutransfer.analysis.interval import Interval, t_quantile  # noqa: E402
from mutransfer.analysis.line import apart, located  # noqa: E402
from mutransfer.analysis.noise import UNKNOWN, repeated_noise  # noqa: E402
from mutransfer.analysis.optimum import optima  # noqa: E402
from mutransfer.analysis.quartic import DISCREPANCY, window  # noqa: E402

Array = NDArray[np.float64]
Found = tuple[list[Interval], Interval] | None
"""The optimum of every width, and the slope; None where a width has no estimate."""

RESULTS = ROOT / "results" / "calibration"
CELLS = tuple(Cell(seeds, 4, step) for step, seeds in product((1.0, 0.5), (1, 2, 3, 5)))
DRAWS = 200
REACH, HEIGHT = 2.0, 0.01


def package(curves: Sequence[Curve], rng: np.random.Generator, together: bool) -> Found:
    found = optima(curves)
    if not all(optimum.interior for optimum in found):
        return None
    joint = (located if together else apart)(found)
    each = [found[at].estimate.interval for at in range(len(found))]
    if together:
        each = [joint.combination(row).interval for row in np.eye(len(found))]
    return each, joint.combination(weights_of(curves)).interval


def parabola(curves: Sequence[Curve], rng: np.random.Generator) -> Found:
    drawn = []
    for curve in curves:
        seeds = len(curve.losses)
        resampled = curve.losses[rng.integers(seeds, size=(DRAWS, seeds))].mean(axis=1)
        near = np.argsort(abs(np.arange(len(curve.log2_lr)) - np.argmin(curve.means)), kind="stable")[:5]
        drawn.append(vertices(curve.log2_lr[near], np.concatenate([curve.means[None, near], resampled[:, near]])))
    return percentiles(curves, drawn) if len(curves[0].losses) > 1 else None


def seeds(curves: Sequence[Curve], rng: np.random.Generator) -> Found:
    minima = []
    for curve in curves:
        own = []
        for losses in curve.losses:
            best = int(np.clip(np.argmin(losses), 1, len(losses) - 2))
            own.append(vertices(curve.log2_lr[best - 1 : best + 2], losses[None, best - 1 : best + 2])[0])
        minima.append(own)
    by_seed = np.array(minima)
    if by_seed.shape[1] < 2 or not np.isfinite(by_seed).all():
        return None
    return [of_seeds(row) for row in by_seed], of_seeds(weights_of(curves) @ by_seed)


def of_seeds(values: Array) -> Interval:
    half = t_quantile(0.975, len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Interval(float(values.mean()), float(values.mean()) - half, float(values.mean()) + half)


def cubic(curves: Sequence[Curve], rng: np.random.Generator) -> Found:
    drawn = []
    for curve in curves:
        near = curve.means - curve.means.min() <= 0.2
        x, y = curve.log2_lr[near] - curve.log2_lr[np.argmin(curve.means)], curve.means[near]
        if len(x) < 5:
            return None
        design = np.vander(x, 4, increasing=True)
        fitted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
        signs = rng.choice([-1.0, 1.0], size=(DRAWS, len(x)))
        wild = fitted + signs * (y - fitted) * math.sqrt(len(x) / (len(x) - 4))
        lattice = np.linspace(x[0], x[-1], 301)
        values = np.concatenate([y[None], wild]) @ np.linalg.pinv(design).T @ np.vander(lattice, 4, increasing=True).T
        drawn.append(lattice[values.argmin(axis=1)] + curve.log2_lr[np.argmin(curve.means)])
    return percentiles(curves, drawn)


def process(curves: Sequence[Curve], rng: np.random.Generator) -> Found:
    windows = [window(curve) for curve in curves]
    kept = [points for points in windows if points is not None]
    if len(kept) < len(curves):
        return None
    drawn = []
    for points, noise in zip(kept, repeated_noise(kept) or (UNKNOWN,) * len(kept), strict=True):
        lattice = np.linspace(points.z[0], points.z[-1], 201)
        both = np.concatenate([points.z, lattice])
        # The parabola under the process has coefficients of which nothing is known.
        prior = HEIGHT**2 * np.exp(-((both[:, None] - both) ** 2) / REACH**2 / 2) + sum(
            np.outer(both**power, both**power) for power in range(3)
        )
        n = len(points.z)
        own = np.diag(noise.variance / len(points.losses) + (DISCREPANCY * points.excess) ** 2)
        gain = np.linalg.solve(prior[:n, :n] + own, prior[:n]).T
        mean = gain[n:] @ (points.losses.mean(axis=0) - points.level)
        spread = prior[n:, n:] - gain[n:] @ prior[:n, n:]
        values, vectors = np.linalg.eigh(spread)
        draws = rng.standard_normal((DRAWS, len(values))) @ (vectors * np.sqrt(np.maximum(values, 0))).T
        drawn.append(points.center + lattice[(mean + np.concatenate([np.zeros((1, 201)), draws])).argmin(axis=1)])
    return percentiles(curves, drawn)


METHODS: dict[str, Callable[[Sequence[Curve], np.random.Generator], Found]] = {
    "quartic": partial(package, together=False),
    "pooled": partial(package, together=True),
    "parabola": parabola,
    "seeds": seeds,
    "cubic": cubic,
    "process": process,
}


def weights_of(curves: Sequence[Curve]) -> Array:
    centred = np.log2([curve.scale.width for curve in curves])
    centred -= centred.mean()
    return np.asarray(centred / (centred @ centred))


def vertices(x: Array, losses: Array) -> Array:
    """Of least squares parabolas through rows of losses; NaN where one has none."""
    at = x - x.mean()
    c = losses @ np.linalg.pinv(np.vander(at, 3, increasing=True)).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(c[:, 2] > 0, x.mean() - c[:, 1] / c[:, 2] / 2, np.nan))


def percentiles(curves: Sequence[Curve], drawn: list[Array]) -> Found:
    """From the estimate, first of each row, and its draws."""
    rows = np.array([*drawn, weights_of(curves) @ np.array(drawn)])
    if not np.isfinite(rows).all():
        return None
    low, high = np.quantile(rows[:, 1:], (0.025, 0.975), axis=1)
    each = [Interval(*map(float, numbers)) for numbers in zip(rows[:, 0], low, high, strict=True)]
    return each[:-1], each[-1]


def compare(cell: Cell, repeats: int) -> pd.DataFrame:
    """A row for every interval of every method."""
    rng = np.random.default_rng([7, cell.seeds, int(2 * cell.step)])
    sizes = tuple(NARROWEST * 2**octave for octave in range(cell.widths))
    rows = []
    for repeat, (kind, intended, factor) in product(range(repeats), STRATA):
        wobble = WOBBLE * (repeat % 2)
        planted = world(
            rng, slope=intended, seeds=cell.seeds, widths=sizes, step=cell.step, kind=kind, factor=factor, wobble=wobble
        )
        for name, method in METHODS.items():
            found = method(planted.curves, rng)
            pairs = [] if found is None else [("lr*", *pair) for pair in zip(found[0], planted.optima, strict=True)]
            pairs += [] if found is None else [("slope", found[1], planted.slope)]
            for of, interval, truth in pairs:
                held = interval.ci_low <= truth <= interval.ci_high
                error, half = interval.estimate - truth, (interval.ci_high - interval.ci_low) / 2
                rows.append((*asdict(cell).values(), kind, factor, SHARES[kind], name, of, error, held, half))
    names = ["seeds", "widths", "step", "shape", "factor", "weight", "method", "of", "error", "held", "half"]
    return pd.DataFrame(rows, columns=names)


def table(frame: pd.DataFrame, by: list[str]) -> list[dict[str, object]]:
    rows = []
    for key, part in frame.groupby([*by, "method"], sort=False):
        row: dict[str, object] = dict(zip([*by, "method"], key, strict=True))
        for of in ("lr*", "slope"):
            own = part[part["of"] == of]
            row[f"{of} rmse"] = float(np.sqrt(np.average(own["error"] ** 2, weights=own["weight"])))
            row[f"{of} held"] = float(np.average(own["held"], weights=own["weight"]))
            row[f"{of} held, cliff"] = float(own.loc[own["shape"] == "cliff", "held"].mean())
            row[f"{of} half"] = float(own["half"].median())
        rows.append(row)
    return rows


def markdown(rows: list[dict[str, object]]) -> str:
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        cells = [
            (f"{value:.1%}" if " held" in name else f"{value:.3f}" if " " in name else f"{value:g}")
            if isinstance(value, float)
            else str(value)
            for name, value in row.items()
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Estimators of optimum and slope, compared on planted sweeps.")
    parser.add_argument("--studies", type=int, default=360, help="sweeps per cell, at least")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    repeats = math.ceil(asked.studies / len(STRATA))
    with ProcessPoolExecutor(asked.workers) as pool:
        frame = pd.concat(pool.map(partial(compare, repeats=repeats), CELLS), ignore_index=True)
    command = f"python experiments/calibration/methods.py --studies {asked.studies}"
    real, every = frame[frame["factor"] == 1.0], frame[frame["step"] == 1.0]
    tables = {
        "Noise of real runs, by seeds and octaves between rates": table(real, ["step", "seeds"]),
        "Rates an octave apart, by noise factor": table(every, ["factor"]),
        "All": table(frame, []),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    data = {"command": command, "studies_per_cell": repeats * len(STRATA), "tables": tables}
    (RESULTS / "methods.json").write_text(json.dumps(data, indent=1) + "\n")
    text = [
        "# Estimators compared",
        f"`{command}`: {repeats * len(STRATA)} planted sweeps of four widths in each cell, true slopes "
        f"{', '.join(f'{slope:g}' for slope in SLOPES)}, noise {', '.join(f'{factor:g}' for factor in FACTORS)} times "
        "that of real runs, shapes weighed as in the mixture. Octaves (per doubling of width). *held*: the share of "
        "95% intervals that hold the truth; *half*: their median half-width. A sweep counts for a method that has an "
        "estimate at every width. `parabola` and `seeds` need two seeds.",
        (__doc__ or "").split("\n\n")[-1],
    ]
    for title, rows in tables.items():
        text += [f"## {title}", markdown(rows)]
    (RESULTS / "methods.md").write_text("\n\n".join(text) + "\n")
    print(markdown(tables["All"]))


if __name__ == "__main__":
    main()
