"""The verdict on an arm, its reason and its sentence.

    transfers            the 95% interval of the slope lies within +-tolerance
    does_not_transfer    it lies outside altogether
    inconclusive         else, and wherever the measurement does not reach that far

It is an equivalence test by confidence interval (Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15, 657):
that a slope is not significantly different from 0 says nothing.

Where several dimensions vary, an arm transfers if its partial slope along each of them lies within the tolerance, and
does not if that along any lies outside altogether.

Not every width need have an optimum. `transfers` is a statement
about the way from the proxy to the target: both must be interior, and no width between them censored.
`does_not_transfer` stands on the interior widths alone, unless a censored one may contradict it: put at the end of the
rates tried, which its optimum lies beyond, it must leave the line outside, and it must lie beyond in the line's own
direction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mutransfer.analysis.interval import CONFIDENCE, Interval
from mutransfer.analysis.leverage import leverage
from mutransfer.analysis.line import combination, slope_weights, slopes
from mutransfer.analysis.optimum import CENSORED_HIGH, CENSORED_LOW, FLAT, Optimum
from mutransfer.analysis.quartic import FEWEST_RATES
from mutransfer.analysis.regret import Regret
from mutransfer.config.scale import DIMENSIONS

TRANSFERS, DOES_NOT_TRANSFER, INCONCLUSIVE = "transfers", "does_not_transfer", "inconclusive"

MOST_NAMED = 4
"""Sizes that a reason names; of more it tells the number."""


def judge(optima: Sequence[Optimum], tolerance: float, dimensions: Sequence[str] = ("width",)) -> str:
    """The verdict on an arm, from its optima by ascending scale, on the dimensions that vary."""
    lines = slopes(optima, dimensions)
    if not lines:
        return INCONCLUSIVE
    if all(_inside(line.interval, tolerance) for line in lines.values()):
        return TRANSFERS if _connected(optima) else INCONCLUSIVE
    if any(
        _outside(line.interval, tolerance) and _uncontradicted(optima, tolerance, name, dimensions)
        for name, line in lines.items()
    ):
        return DOES_NOT_TRANSFER
    return INCONCLUSIVE


def _inside(interval: Interval, tolerance: float) -> bool:
    return -tolerance <= interval.ci_low and interval.ci_high <= tolerance


def _outside(interval: Interval, tolerance: float) -> bool:
    return interval.ci_low > tolerance or interval.ci_high < -tolerance


def _connected(optima: Sequence[Optimum]) -> bool:
    """Whether proxy and target are interior and no width between them is censored."""
    censored = any(optimum.status in (CENSORED_LOW, CENSORED_HIGH) for optimum in optima)
    return optima[0].interior and optima[-1].interior and not censored


def _uncontradicted(optima: Sequence[Optimum], tolerance: float, dimension: str, dimensions: Sequence[str]) -> bool:
    """Whether the censored scales, wherever beyond their ends they are, leave the slope outside the tolerance."""
    sides = {CENSORED_LOW: -1.0, CENSORED_HIGH: 1.0}
    located = [optimum for optimum in optima if optimum.interior or optimum.status in sides]
    weights = slope_weights(located, dimension, dimensions)
    bound = combination(weights, located)
    outwards = (
        sides.get(optimum.status, 0.0) * weight * bound.value >= 0
        for weight, optimum in zip(weights, located, strict=True)
    )
    return _outside(bound.interval, tolerance) and all(outwards)


def reason(optima: Sequence[Optimum], tolerance: float, dimensions: Sequence[str] = ("width",)) -> str:
    """Why the verdict is what it is, which size it rests on, and what to do about scales without an optimum."""
    without = [optimum for optimum in optima if not optimum.interior]
    remedies = [_remedy(optimum, dimensions) for optimum in without[:MOST_NAMED]]
    if len(without) > MOST_NAMED:
        remedies.append(f"{len(without) - MOST_NAMED} further {_words(dimensions)[1]} have no optimum either")
    return "; ".join([_grounds(optima, tolerance, dimensions), *_rests(optima, tolerance, dimensions), *remedies])


def _rests(optima: Sequence[Optimum], tolerance: float, dimensions: Sequence[str]) -> list[str]:
    """That one size decides the slope, where it does; only of one dimension."""
    lone = leverage(optima, tolerance, dimensions[0]) if len(dimensions) == 1 else None
    if lone is None:
        return []
    # Adding 0 turns -0.0 into 0.0.
    without, with_it = (round(each, 2) + 0.0 for each in (lone.slope_without, lone.slope_without + lone.dfbeta))
    size = lone.scale.describe(dimensions)
    # What is a small part of the slope is no reason to doubt that there is one.
    weight = f"the slope rests on {size} alone" if abs(lone.dfbeta) > abs(with_it) / 2 else f"{size} pulls the slope"
    return [f"{weight}: without it {without:+.2f}, with it {with_it:+.2f}"]


def _grounds(optima: Sequence[Optimum], tolerance: float, dimensions: Sequence[str]) -> str:
    one, sizes = _words(dimensions)
    lines, verdict = slopes(optima, dimensions), judge(optima, tolerance, dimensions)
    interior = [optimum.scale for optimum in optima if optimum.interior]
    if len(optima) == 1:
        found = "has an optimum but no slope" if interior else "was trained, without an optimum inside the rates tried"
        return f"one {one} {found}: add {sizes}"
    if not lines and len(dimensions) > 1 and len(interior) > len(dimensions):
        return (
            f"{' and '.join(DIMENSIONS[name].words for name in dimensions)} vary together, so that their slopes cannot "
            f"be told apart: add {sizes} that vary one of them alone"
        )
    if not lines:
        needs = {1: "a slope needs two", 2: "two slopes need three"}.get(len(dimensions), "their slopes need more")
        return f"{len(interior)} of {len(optima)} {sizes} have an optimum inside the rates tried; {needs}"
    where = ", ".join(
        f"{scale[dimensions[0]]:.15g}" if len(dimensions) == 1 else f"({scale.describe(dimensions)})"
        for scale in interior
    )
    where = f"{len(interior)} of {len(optima)} {sizes}" if len(interior) > MOST_NAMED else f"{sizes} {where}"
    of = "" if len(interior) == len(optima) else f" through {where}"
    # A verdict of no transfer stands on the slopes that lie outside, any other on all.
    outside = [name for name in lines if _outside(lines[name].interval, tolerance)]
    told = [
        f"the slope{'' if len(dimensions) == 1 else ' along ' + DIMENSIONS[name].word}'s {CONFIDENCE:.0%} CI{of}, "
        f"{_range(lines[name].interval)},"
        for name in (outside or lines)
    ]
    found = " and ".join(told)
    lies = "lies" if len(told) == 1 else "lie"
    if verdict == TRANSFERS:
        return f"{found} {lies} within +-{tolerance:g}"
    if verdict == DOES_NOT_TRANSFER:
        return f"{found} {lies} outside +-{tolerance:g}"
    if all(_inside(line.interval, tolerance) for line in lines.values()):
        last = optima[-1].scale
        every = f"not every {one} up to {last[dimensions[0]] if len(dimensions) == 1 else last.describe(dimensions)}"
        return f"{found} {lies} within +-{tolerance:g}, but {every} has an optimum"
    if outside:
        return f"{found} {lies} outside +-{tolerance:g}, but a censored {one} may bring it back"
    crossed = [name for name in lines if not _inside(lines[name].interval, tolerance)]
    if len(dimensions) > 1:
        found = " and ".join(
            f"the slope along {DIMENSIONS[name].word}'s {CONFIDENCE:.0%} CI{of}, {_range(lines[name].interval)},"
            for name in crossed
        )
    bounds = " and ".join(dict.fromkeys(_crossed(lines[name].interval, tolerance) for name in crossed))
    return f"{found} reaches across {bounds}: more seeds or {sizes} narrow it"


def _words(dimensions: Sequence[str]) -> tuple[str, str]:
    """The words for one size and for several."""
    if len(dimensions) > 1:
        return "scale", "scales"
    return DIMENSIONS[dimensions[0]].word, DIMENSIONS[dimensions[0]].words


def _crossed(interval: Interval, tolerance: float) -> str:
    crossed = [bound for bound in (-tolerance, tolerance) if interval.ci_low <= bound <= interval.ci_high]
    return " and ".join(f"{bound:+g}" for bound in crossed)


def _remedy(optimum: Optimum, dimensions: Sequence[str]) -> str:
    """What was found at a size without an estimate, and what to do."""
    rate, where = f"2^{optimum.log2_lr:.4g}", optimum.scale.describe(dimensions)
    if optimum.loss is None:
        return f"{where}: every trial diverged: widen --lrs below {rate}"
    if optimum.status == CENSORED_LOW:
        return f"{where} is censored_low, losses fall towards the lowest rate: widen --lrs below {rate}"
    if optimum.status == CENSORED_HIGH:
        return f"{where} is censored_high, losses fall towards the highest rate: widen --lrs above {rate}"
    if optimum.status == FLAT:
        return f"{where} is flat, its rates differ no more than seeds do: widen --lrs on both sides or add seeds"
    return f"{where} has too_few rates that did not diverge, wanted {FEWEST_RATES} side by side: add rates to --lrs"


def sentence(
    name: str,
    verdict: str,
    optima: Sequence[Optimum],
    lines: Mapping[str, Interval],
    cost: Regret | None,
    why: str,
    dimensions: Sequence[str] = ("width",),
    unit: str = "nats",
) -> str:
    """The result of an arm in one sentence; without a slope it gives the reason and the optima there are."""
    start = f"{name}: {verdict.replace('_', ' ')}"
    if not lines:
        rates = [
            f"the best rate at {optimum.scale.describe(dimensions)} is 2^{optimum.log2_lr:.2f} "
            f"({CONFIDENCE:.0%} CI 2^{optimum.ci_low:.2f}..2^{optimum.ci_high:.2f})"
            for optimum in optima
            if optimum.interior
        ]
        return f"{start}: {'; '.join([*rates, why])}"
    moves = " and ".join(
        f"{line.estimate:+.2f} per doubling of {DIMENSIONS[along].word} ({CONFIDENCE:.0%} CI {_range(line)})"
        for along, line in lines.items()
    )
    return f"{start}: log2 lr* moves by {moves}; {_price(optima, cost, dimensions, unit)}"


def _price(optima: Sequence[Optimum], cost: Regret | None, dimensions: Sequence[str], unit: str) -> str:
    proxy, target = (each.scale.describe(dimensions) for each in (optima[0], optima[-1]))
    if cost is None:
        ends = " and ".join(
            f"{each.scale[dimensions[0]]:.15g}" if len(dimensions) == 1 else each.scale.describe(dimensions)
            for each in (optima[0], optima[-1])
            if not each.interior
        )
        return f"what {proxy}'s rate costs at {target} is unknown: no optimum at {ends}"
    of = f"training {target} at the rate tuned at {proxy} costs"
    if cost.nats is None:
        return f"{of} at least {cost.ci_low:.3f} {unit}: it lies beyond the rates that trained there"
    sure = f"{cost.ci_low:.3f} or more" if cost.ci_high is None else f"{cost.ci_low:.3f}..{cost.ci_high:.3f}"
    return f"{of} {cost.nats:.3f} {unit} ({sure})"


def _range(interval: Interval) -> str:
    return f"{interval.ci_low:+.2f}..{interval.ci_high:+.2f}"
