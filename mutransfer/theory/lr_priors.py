"""What the literature lets one expect of the best learning rate before the first run, wide enough to be wrong.

With sizes n_k, tokens d and batch b in octaves (log2), the law of `analysis/two_regimes.py` is

    log2 lr* = c + sum_k size_k n_k + tokens d - batch * softplus(knee + knee_tokens d + sum_k knee_size_k n_k - b)

Above the knee the batch no longer matters; below it the learning rate goes as batch^`batch`. Published exponents that
seem to disagree are this one surface along different paths: at a fixed batch below the knee lr* ~
tokens^(tokens - batch * knee_tokens), about -0.24 with the means here, where Bjorck et al. (arXiv 2409.19913) measured
-0.32, Zhou et al. (2601.05049) -0.35 and HyperP (2603.28743) -0.32; at the best batch it is `tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Prior(NamedTuple):
    """A mean and a standard deviation, octaves of the learning rate (or of the batch) per octave."""

    mean: float
    sd: float
    source: str


TOKENS = Prior(
    0.2,
    0.2,
    "above the knee: +0.31 (Step Law, arXiv 2503.04715, eq. 1); +0.17 to +0.33 at the best of 1,800 runs' batches "
    "(Lingle 2025, Scaling laws for optimal LR and batch size, part 3); with what is measured below the knee, -0.2 to "
    "-0.35 (2409.19913, 2601.05049, 2603.28743), 0.1 to 0.2",
)
BATCH = Prior(
    0.8,
    0.25,
    "below the knee: 0.5 (Malladi et al., 2205.10287), 1 for SGD (McCandlish et al., 1812.06162), 0.6 to 0.8 in the "
    "runs of Step Law",
)
KNEE_TOKENS = Prior(
    0.55,
    0.2,
    "best or critical batch: tokens^0.57 (Step Law, eq. 1), ^0.47 (Zhang et al., 2410.21676), ^0.38 (Bergsma et al., "
    "2505.13738), ^0.65 (DeepSeek, 2401.02954: FLOPs^0.327 at tokens ~ FLOPs^0.5)",
)
KNEE_SIZE = Prior(0.0, 0.3, "no dependence on size is claimed (Step Law, section 3.2; 2410.21676); -0.4 in its runs")
KNEE = Prior(0.0, 3.0, "somewhere about the batches that were run")

MUP, DEPTH_AWARE, SP = "mup", "depth-aware", "sp"
"""What a parametrization does about size: about width, about width and depth, nothing."""
WIDTH_AWARE = ("mup", "mup_table3", "mup_table9", "mup_simple", "sp_full_align", "ntk", "mean_field", "umup", "u-mup")
"""Parametrizations that are to keep the best learning rate over widths (TPV; Everett et al., 2407.05872, table 1)."""
WIDTH_AND_DEPTH_AWARE = ("depth_mup", "completep", "completed_p")


def treatment(parametrization: str | None) -> str:
    """What a parametrization of that name does about size. Where nobody said which one it was, and of a table with a
    part taken out, it is as SP: what nearly everybody trains with."""
    name = (parametrization or SP).lower()
    return MUP if name in WIDTH_AWARE else DEPTH_AWARE if name in WIDTH_AND_DEPTH_AWARE else SP


SIZE: Mapping[str, Mapping[str, Prior]] = {
    "width": {
        SP: Prior(-0.8, 0.5, "-0.4 to -1.0 (TPV 2203.03466, Everett et al. 2407.05872, Haas et al. 2505.22491), -1.6 "
                  "with a fixed initial std"),
        MUP: Prior(0.0, 0.3, "0 by theory (Yang et al., 2203.03466)"),
        DEPTH_AWARE: Prior(0.0, 0.3, "0 by theory (Yang et al., 2203.03466)"),
    },
    "depth": {
        SP: Prior(-0.2, 0.4, "falls with depth without a rule for it (Dey et al., 2505.01618, figure 2)"),
        MUP: Prior(-0.2, 0.4, "falls with depth without a rule for it (Dey et al., 2505.01618, figure 2)"),
        DEPTH_AWARE: Prior(0.0, 0.2, "0 by theory (Dey et al., 2505.01618; Yang et al., 2310.02244)"),
    },
    "params": {
        SP: Prior(
            -0.55,
            0.25,
            "at the best batch: -0.71 (Step Law), about -0.6 (Porian et al., 2406.19146: -0.36 along tokens = 20 "
            "params), -0.5 (DeepSeek, as above), -0.5 to -0.6 (Lingle 2025), -0.4 (Kaplan et al., 2001.08361)",
        ),
        MUP: Prior(0.0, 0.2, "0 by theory (Yang et al., 2203.03466), two parameters' doublings to one of width"),
        DEPTH_AWARE: Prior(0.0, 0.2, "0 by theory (Dey et al., 2505.01618)"),
    },
}  # fmt: skip
"""The exponent above the knee, by dimension and by what the parametrization does."""


class Scatter(NamedTuple):
    """How far optima are from any such law, octaves: whole sizes, (size, tokens), single cells. SCATTER_SD is the
    standard deviation of the natural logarithm of each."""

    size: float
    length: float
    cell: float
    source: str


SCATTER_SD = 0.5
FAMILY = Scatter(0.04, 0.04, 0.04, "models alike but for their size: 0.07 in all about a line, over our own sweeps")
COLLECTION = Scatter(
    0.16, 0.08, 0.07, "models whose shapes differ (heads, feed-forward, width over depth): the runs of Step Law"
)
