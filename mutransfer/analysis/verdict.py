"""The verdict on an arm, its reason and its sentence.

    transfers            the 95% interval of the slope lies within +-tolerance
    does_not_transfer    it lies outside altogether
    inconclusive         else, and wherever the measurement does not reach that far

It is an equivalence test by confidence interval (Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15, 657):
that a slope is not significantly different from 0 says nothing.

Words are for the axis that varies, width unless said. Not every width need have an optimum. `transfers` is a statement
about the way from the proxy to the target: both must be interior, and no width between them censored.
`does_not_transfer` stands on the interior widths alone, unless a censored one may contradict it: put at the end of the
rates tried, which its optimum lies beyond, it must leave the line outside, and it must lie beyond in the line's own
direction.
"""

from __future__ import annotations

from collections.abc import Sequence

from mutransfer.analysis.interval import CONFIDENCE, Interval
from mutransfer.analysis.leverage import leverage
from mutransfer.analysis.line import combination, slope, slope_weights
from mutransfer.analysis.optimum import CENSORED_HIGH, CENSORED_LOW, FLAT, Optimum
from mutransfer.analysis.quartic import FEWEST_RATES
from mutransfer.analysis.regret import Regret
from mutransfer.config import AXES

TRANSFERS, DOES_NOT_TRANSFER, INCONCLUSIVE = "transfers", "does_not_transfer", "inconclusive"


def judge(optima: Sequence[Optimum], tolerance: float) -> str:
    """The verdict on an arm, from its optima by ascending size."""
    line = slope(optima)
    if line is None:
        return INCONCLUSIVE
    if _inside(line.interval, tolerance):
        return TRANSFERS if _connected(optima) else INCONCLUSIVE
    if _outside(line.interval, tolerance) and _uncontradicted(optima, tolerance):
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


def _uncontradicted(optima: Sequence[Optimum], tolerance: float) -> bool:
    """Whether the censored widths, wherever beyond their ends they are, leave the line outside the tolerance."""
    sides = {CENSORED_LOW: -1.0, CENSORED_HIGH: 1.0}
    located = [optimum for optimum in optima if optimum.interior or optimum.status in sides]
    weights = slope_weights(located)
    bound = combination(weights, located)
    outwards = (
        sides.get(optimum.status, 0.0) * weight * bound.value >= 0
        for weight, optimum in zip(weights, located, strict=True)
    )
    return _outside(bound.interval, tolerance) and all(outwards)


def reason(optima: Sequence[Optimum], tolerance: float, axis: str = "width") -> str:
    """Why the verdict is what it is, which size it rests on, and what to do about sizes without an optimum."""
    remedies = [_remedy(optimum, axis) for optimum in optima if not optimum.interior]
    return "; ".join([_grounds(optima, tolerance, axis), *_rests(optima, tolerance, axis), *remedies])


def _rests(optima: Sequence[Optimum], tolerance: float, axis: str) -> list[str]:
    """That one size decides the slope, where it does."""
    lone = leverage(optima, tolerance)
    if lone is None:
        return []
    # Adding 0 turns -0.0 into 0.0.
    without, with_it = (round(each, 2) + 0.0 for each in (lone.slope_without, lone.slope_without + lone.dfbeta))
    size = f"{AXES[axis].word} {lone.size}"
    # What is a small part of the slope is no reason to doubt that there is one.
    weight = f"the slope rests on {size} alone" if abs(lone.dfbeta) > abs(with_it) / 2 else f"{size} pulls the slope"
    return [f"{weight}: without it {without:+.2f}, with it {with_it:+.2f}"]


def _grounds(optima: Sequence[Optimum], tolerance: float, axis: str) -> str:
    sizes = AXES[axis].words
    line, verdict = slope(optima), judge(optima, tolerance)
    interior = [str(optimum.size) for optimum in optima if optimum.interior]
    if len(optima) == 1:
        found = "has an optimum but no slope" if interior else "was trained, without an optimum inside the rates tried"
        return f"one {AXES[axis].word} {found}: add {sizes}"
    if line is None:
        return f"{len(interior)} of {len(optima)} {sizes} have an optimum inside the rates tried; a slope needs two"
    of = "" if len(interior) == len(optima) else f" through {sizes} {', '.join(interior)}"
    found = f"the slope's {CONFIDENCE:.0%} CI{of}, {_range(line.interval)},"
    if verdict == TRANSFERS:
        return f"{found} lies within +-{tolerance:g}"
    if verdict == DOES_NOT_TRANSFER:
        return f"{found} lies outside +-{tolerance:g}"
    if _inside(line.interval, tolerance):
        every = f"not every {AXES[axis].word} up to {optima[-1].size}"
        return f"{found} lies within +-{tolerance:g}, but {every} has an optimum"
    if _outside(line.interval, tolerance):
        return f"{found} lies outside +-{tolerance:g}, but a censored {AXES[axis].word} may bring it back"
    return f"{found} reaches across {_crossed(line.interval, tolerance)}: more seeds or {sizes} narrow it"


def _crossed(interval: Interval, tolerance: float) -> str:
    crossed = [bound for bound in (-tolerance, tolerance) if interval.ci_low <= bound <= interval.ci_high]
    return " and ".join(f"{bound:+g}" for bound in crossed)


def _remedy(optimum: Optimum, axis: str) -> str:
    """What was found at a size without an estimate, and what to do."""
    rate, where = f"2^{optimum.log2_lr:.4g}", f"{AXES[axis].word} {optimum.size}"
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
    line: Interval | None,
    cost: Regret | None,
    why: str,
    axis: str = "width",
    unit: str = "nats",
) -> str:
    """The result of an arm in one sentence; without a slope it gives the reason and the optima there are."""
    start = f"{name}: {verdict.replace('_', ' ')}"
    if line is None:
        rates = [
            f"the best rate at {AXES[axis].word} {optimum.size} is 2^{optimum.log2_lr:.2f} "
            f"({CONFIDENCE:.0%} CI 2^{optimum.ci_low:.2f}..2^{optimum.ci_high:.2f})"
            for optimum in optima
            if optimum.interior
        ]
        return f"{start}: {'; '.join([*rates, why])}"
    moves = (
        f"log2 lr* moves by {line.estimate:+.2f} per doubling of {AXES[axis].word} ({CONFIDENCE:.0%} CI {_range(line)})"
    )
    return f"{start}: {moves}; {_price(optima, cost, axis, unit)}"


def _price(optima: Sequence[Optimum], cost: Regret | None, axis: str, unit: str) -> str:
    word = AXES[axis].word
    proxy, target = optima[0].size, optima[-1].size
    if cost is None:
        ends = " and ".join(str(optimum.size) for optimum in (optima[0], optima[-1]) if not optimum.interior)
        return f"what {word} {proxy}'s rate costs at {word} {target} is unknown: no optimum at {ends}"
    of = f"training {word} {target} at the rate tuned at {word} {proxy} costs"
    if cost.nats is None:
        return f"{of} at least {cost.ci_low:.3f} {unit}: it lies beyond the rates that trained there"
    sure = f"{cost.ci_low:.3f} or more" if cost.ci_high is None else f"{cost.ci_low:.3f}..{cost.ci_high:.3f}"
    return f"{of} {cost.nats:.3f} {unit} ({sure})"


def _range(interval: Interval) -> str:
    return f"{interval.ci_low:+.2f}..{interval.ci_high:+.2f}"
