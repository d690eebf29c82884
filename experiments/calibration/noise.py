"""How noisy are real runs? What a seed does to a curve of loss over rates, from a sweep with many seeds.

    mutransfer sweep --widths 32 64 128 --seeds 8 --experiment noise
    python experiments/calibration/noise.py [--result results/noise] [--fine results/noise_fine]

writes results/calibration/noise.json and prints it. With z octaves from the width's optimum, the loss of seed s is

    mean(z) + u_s + t_s z + q_s z^2 + e_s(z)

u, t and q by least squares of every seed's difference from the mean curve, over rates with at most 0.25 nats more than
the best; their variances less what e puts into them. `fine` is a sweep over rates less than an octave apart, which
tells how smooth e is:

    mutransfer sweep --widths 32 64 --seeds 8 --parametrizations mup \\
        --lrs 2^-9 2^-8.5 2^-8.25 2^-8 2^-7.75 2^-7.5 2^-7 --experiment noise_fine
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mutransfer.analysis.curve import Curve, curves, two_way
from mutransfer.analysis.noise import NEAR, SINGLE_TILT
from mutransfer.analysis.optimum import optima
from mutransfer.trials import records

Array = NDArray[np.float64]

ROOT = Path(__file__).resolve().parents[2]
WINDOW = 0.25
TERMS = ("offset", "tilt", "bend")
LENGTHS = np.arange(0.05, 0.8, 0.01)


@dataclass(frozen=True)
class Seeds:
    """What the seeds do to one curve."""

    arm: str
    width: int
    z: Array
    coefficients: Array
    """seed x (u, t, q)."""
    residuals: Array
    """seed x rate: e."""
    own: float
    """Standard deviation of e."""
    variances: Array
    """Of u, t and q, less what e puts into them."""
    leverage: Array


def main() -> None:
    parser = argparse.ArgumentParser(description="The noise of real runs.")
    parser.add_argument("--result", type=Path, default=ROOT / "results" / "noise")
    parser.add_argument("--fine", type=Path, default=ROOT / "results" / "noise_fine")
    asked = parser.parse_args()
    arms = arms_of(asked.result)
    seeds = [by_seed(arm, curve) for arm, swept in arms.items() for curve in swept]
    # At base_width the arms are one and the same runs.
    distinct = [each for at, each in enumerate(seeds) if not any(same(each, other) for other in seeds[:at])]
    found: dict[str, Any] = {
        "command": "python experiments/calibration/noise.py",
        "runs": counted(asked.result),
        "curves": [
            {"arm": each.arm, "width": each.width, "seeds": len(each.residuals), "own": each.own}
            | {name: spread(variance) for name, variance in zip(TERMS, each.variances, strict=True)}
            for each in distinct
        ],
        "all": pooled(distinct),
        "own_by_octave": by_octave(distinct),
        "correlation_over_widths": correlation(
            [(one, other) for one, other in combinations(seeds, 2) if one.arm == other.arm]
        ),
        "correlation_over_arms": correlation(
            [(one, other) for one, other in combinations(distinct, 2) if one.width == other.width]
        ),
        "own_correlation_over_arms": aligned([p for p in combinations(distinct, 2) if p[0].width == p[1].width]),
        "own_correlation_over_widths": aligned([p for p in combinations(seeds, 2) if p[0].arm == p[1].arm]),
        "optima": [row for arm, swept in arms.items() for row in shifts(arm, swept)],
        "length_of_own": length(asked.fine, distinct),
    }
    path = ROOT / "results" / "calibration" / "noise.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    for name in ("curves", "optima"):
        print(pd.DataFrame(found[name]).round(4).to_string(index=False), end="\n\n")
    for name, value in found.items():
        if name not in ("curves", "optima"):
            print(f"{name}: {json.dumps(value)}")


def arms_of(folder: Path) -> dict[str, tuple[Curve, ...]]:
    trials = records.to_trials(records.read(folder / "records.jsonl"))
    return {arm: curves(trials.of_arm(arm)) for arm in trials.arms}


def counted(folder: Path) -> dict[str, int]:
    """How many runs there are: at base_width the arms are the same runs, each in a record of its own."""
    recorded = records.read(folder / "records.jsonl")
    frame = records.to_trials(recorded).frame
    arm = frame["arm"].where(frame["width"] != recorded[0].base_width, "any")
    distinct = frame.assign(arm=arm).drop_duplicates(["arm", "width", "seed", "log2_lr"])
    return {
        "records": len(frame),
        "diverged_records": int(frame["diverged"].sum()),
        "distinct": len(distinct),
        "diverged": int(distinct["diverged"].sum()),
    }


def by_seed(arm: str, curve: Curve) -> Seeds:
    means = curve.means
    (optimum,) = optima([curve])
    near = means - means.min() <= WINDOW
    z, losses = curve.log2_lr[near] - optimum.log2_lr, curve.losses[:, near]
    design = np.stack([np.ones_like(z), z, z**2], axis=1)
    gram = np.linalg.inv(design.T @ design)
    deviations = losses - losses.mean(axis=0)
    coefficients = deviations @ design @ gram
    residuals = deviations - coefficients @ design.T
    spare = len(losses) - 1
    own = float(np.sqrt((residuals**2).sum() / (spare * (len(z) - len(TERMS)))))
    variances = (coefficients**2).sum(axis=0) / spare - own**2 * np.diag(gram)
    return Seeds(
        arm,
        curve.scale.width,
        z,
        coefficients,
        residuals,
        own,
        variances,
        np.einsum("ji,ik,jk->j", design, gram, design),
    )


def same(one: Seeds, other: Seeds) -> bool:
    return one.width == other.width and np.array_equal(one.residuals, other.residuals)


def spread(variance: float) -> float:
    return float(np.sqrt(max(0.0, variance)))


def scatter(distinct: list[Seeds]) -> tuple[Array, Array]:
    """z of every rate of every curve, and the variance of e there over that of its curve."""
    relative = [
        (each.residuals**2).sum(axis=0) / ((len(each.residuals) - 1) * (1 - each.leverage) * each.own**2)
        for each in distinct
    ]
    return np.concatenate([each.z for each in distinct]), np.concatenate(relative)


def by_octave(distinct: list[Seeds]) -> dict[str, float]:
    """Standard deviation of e over that of its curve, by whole octaves above the optimum."""
    z, relative = scatter(distinct)
    octaves = np.round(z).astype(int)
    return {f"{octave:+d}": float(np.sqrt(relative[octaves == octave].mean())) for octave in np.unique(octaves)}


def pooled(distinct: list[Seeds]) -> dict[str, float]:
    """Root mean squares over curves; e at width 128, how it falls with width and grows above the optimum."""
    widths = np.log2([each.width for each in distinct])
    power, level = np.polyfit(widths - 7, np.log([each.own for each in distinct]), 1)
    z, relative = scatter(distinct)
    # e is near chi-squared: the growth that makes it likeliest, with its level free.
    growths = np.arange(-0.3, 1.01, 0.01)
    scales = (1 + growths[:, None] * np.maximum(z, 0)) ** 2
    likely = np.log((relative / scales).mean(axis=1)) * len(z) + np.log(scales).sum(axis=1)
    found = {name: spread(float(np.mean([each.variances[at] for each in distinct]))) for at, name in enumerate(TERMS)}
    return found | {
        "own_at_128": float(np.exp(level)),
        "width_power": float(-power / np.log(2)),
        "growth": round(float(growths[np.argmin(likely)]), 2),
    }


def correlation(pairs: list[tuple[Seeds, Seeds]]) -> dict[str, float]:
    """Of the seeds' u, t and q over two curves: their covariance, into which e puts nothing, over their variances."""
    found = {}
    for at, name in enumerate(TERMS):
        covariance = [float(np.cov(one.coefficients[:, at], other.coefficients[:, at])[0, 1]) for one, other in pairs]
        scale = [spread(float(one.variances[at])) * spread(float(other.variances[at])) for one, other in pairs]
        # A variance less its noise may be next to nothing: the ratio is then anything.
        found[name] = float(np.clip(np.sum(covariance) / np.sum(scale), -1, 1)) if sum(scale) > 0 else 0.0
    return found


def aligned(pairs: list[tuple[Seeds, Seeds]]) -> float:
    """Correlation of e at rates equally far from the optimum."""
    products, squares = 0.0, [0.0, 0.0]
    for one, other in pairs:
        for at, z in enumerate(one.z):
            near = int(np.argmin(abs(other.z - z)))
            if abs(other.z[near] - z) < 0.25:
                a, b = one.residuals[:, at], other.residuals[:, near]
                products += float(a @ b)
                squares = [squares[0] + float(a @ a), squares[1] + float(b @ b)]
    return products / float(np.sqrt(squares[0] * squares[1]))


def shifts(arm: str, swept: tuple[Curve, ...]) -> list[dict[str, object]]:
    """How far each seed by itself moves the optimum, and over what its noise predicts: with all seeds, the kappa^2 of
    `analysis.noise` without its prior; with a seed alone, what SINGLE_TILT stands for."""
    alone = [
        optima([Curve(c.scale, c.log2_lr, c.losses[[seed]]) for c in swept]) for seed in range(len(swept[0].losses))
    ]
    rows = []
    for at, (curve, optimum) in enumerate(zip(swept, optima(swept), strict=True)):
        fit = optimum.quartic
        if fit is None:
            continue
        by_rate, losses = fit.minimum_by_rate(), fit.points.losses
        moves = (losses - losses.mean(axis=0)) @ by_rate
        _, residuals, df = two_way(losses[:, fit.points.excess <= NEAR])
        sigma2 = float((residuals**2).sum()) / df
        minima = [found[at] for found in alone if found[at].interior]
        rows.append(
            {
                "arm": arm,
                "width": curve.scale.width,
                "sigma": float(np.sqrt(sigma2)),
                "shift_sd": float(moves.std(ddof=1)),
                "kappa2": float(moves.var(ddof=1) / (sigma2 * by_rate @ by_rate)),
                "single_seed_minima_sd": float(np.std([each.log2_lr for each in minima], ddof=1)),
                "single_seed_kappa2": float(
                    np.var([each.log2_lr for each in minima], ddof=1)
                    / np.mean([each.noise / SINGLE_TILT for each in minima])
                ),
            }
        )
    return rows


def length(folder: Path, distinct: list[Seeds]) -> float:
    """The length over which e is smooth, octaves: its likeliest, other terms as they are in the coarse sweep."""
    level = pooled(distinct)
    total = np.zeros(len(LENGTHS))
    for arm, swept in arms_of(folder).items():
        for curve in swept:
            each = by_seed(arm, curve)
            apart = (each.z[:, None] - each.z) ** 2
            smooth = sum(level[name] ** 2 * np.outer(each.z**k, each.z**k) for k, name in enumerate(TERMS))
            deviations = each.coefficients @ np.stack([each.z**k for k in range(3)]) + each.residuals
            squares, spare = deviations.T @ deviations, len(deviations) - 1
            for at, reach in enumerate(LENGTHS):
                own = np.exp(-apart / reach**2 / 2) + 1e-3 * np.eye(len(each.z))
                growing = 1 + level["growth"] * np.maximum(each.z, 0)
                trials = [smooth + sd**2 * own * np.outer(growing, growing) for sd in np.geomspace(0.003, 0.02, 40)]
                total[at] += min(
                    spare * np.linalg.slogdet(covariance)[1] + np.trace(np.linalg.solve(covariance, squares))
                    for covariance in trials
                )
    return round(float(LENGTHS[np.argmin(total)]), 2)


if __name__ == "__main__":
    main()
