"""Published laws of the best learning rate over size, tokens and batch, as data: products of powers.

An absolute law gives a learning rate; one whose constant is None gives only the factor from a run whose best learning
rate is known. Dimensions are those of a scale, tokens in tokens. Laws stand beside one that was fitted, never in its
place: on the runs of Step Law the best of them was 0.4 octaves off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LrLaw:
    """lr* = constant * product of dimension^exponent."""

    name: str
    constant: float | None
    exponents: Mapping[str, float]
    measured_on: str
    source: str

    def factor(self, target: Mapping[str, float], known: Mapping[str, float]) -> float | None:
        """The best learning rate at the target over that of a known run; None where one lacks a dimension."""
        if not self.exponents.keys() <= target.keys() & known.keys():
            return None
        return _product({name: target[name] / known[name] for name in self.exponents}, self.exponents)

    def lr(self, target: Mapping[str, float]) -> float | None:
        """The learning rate of an absolute law; None of another, or where the target lacks a dimension."""
        if self.constant is None or not self.exponents.keys() <= target.keys():
            return None
        return self.constant * _product(target, self.exponents)


def _product(sizes: Mapping[str, float], exponents: Mapping[str, float]) -> float:
    return math.exp(sum(power * math.log(sizes[name]) for name, power in exponents.items()))


LAWS = (
    LrLaw(
        "Step Law",
        1.79,
        {"params": -0.713, "tokens": 0.307},
        "60M to 1.1B non-embedding parameters, 2B to 100B tokens, AdamW, at the best batch 0.58 tokens^0.571",
        "Li et al., arXiv 2503.04715, eq. 1",
    ),
    LrLaw(
        "DeepSeek",
        0.3118 * 6**-0.125,
        {"params": -0.125, "tokens": -0.125},
        "up to 2e20 FLOPs, used to 67B parameters, at the best batch 0.2920 FLOPs^0.3271; 0.3118 FLOPs^-0.125 with "
        "FLOPs taken as 6 params tokens",
        "Bi et al., arXiv 2401.02954, eq. 1",
    ),
    LrLaw(
        "Porian et al.",
        3.7,
        {"params": -0.36},
        "5M to 220M parameters at about 20 tokens each, AdamW",
        "Porian et al., arXiv 2406.19146 (by way of a secondary source)",
    ),
    LrLaw(
        "Bjorck et al.",
        None,  # the constant in circulation, 1.32e-5 with billions, gives rates a hundred times too low
        {"params": -0.23, "tokens": -0.32},
        "50M to 2.7B parameters, 25B to 800B tokens, batch of 0.5M tokens",
        "Bjorck et al., arXiv 2409.19913",
    ),
    LrLaw(
        "Zhou et al.",
        None,
        {"params": -0.222, "tokens": -0.351},
        "mixtures of experts to 12B parameters, 500B tokens",
        "Zhou et al., arXiv 2601.05049",
    ),
    LrLaw(
        "Marin",
        None,
        {"tokens": -0.2813, "width": -0.3678, "batch_size": 0.5},
        "to 2B parameters; used at 535B",
        "Marin, production recipe of 2026",
    ),
    LrLaw(
        "HyperP",
        None,
        {"tokens": -0.32, "depth": -0.5},
        "Muon with fixed weight norms, to 22.9B parameters",
        "arXiv 2603.28743",
    ),
    LrLaw("square root of size", None, {"params": -0.5}, "a rule of thumb", "no measurement"),
    LrLaw(
        "square root of batch",
        None,
        {"batch_size": 0.5},
        "Adam while the noise of gradients dominates; with 1 - beta x k and epsilon / sqrt(k) for a batch x k",
        "Malladi et al., arXiv 2205.10287, definition 2.5 and theorem 5.3",
    ),
    LrLaw(
        "Complete(d)P",
        None,
        {"batch_size": 0.5, "tokens": -0.5},
        "on its own parametrization of width and depth, 50M to 7.2B parameters; with weight decay x "
        "sqrt(batch/tokens), 1 - beta x batch/tokens, epsilon x sqrt(tokens/batch)",
        "Mlodozeniec et al., arXiv 2512.22382, table 1",
    ),
)
