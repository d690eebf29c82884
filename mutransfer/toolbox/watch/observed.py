"""What is seen of a run that is watched: the schema, read and judged. Pure: no torch.

The update-to-weight ratio |change of w| / |w| of one step is healthy near 1e-3 (Stanford CS231n, notes "Neural Networks
Part 3", section "Ratio of weights:updates"). That is a rule of thumb: it moves with the rate, through warmup and decay,
and says little of a weight that is still near 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mutransfer.checks import one_of
from mutransfer.toolbox.watch.spikes import SpikeScore, find_spikes
from mutransfer.trials.records import read_lines

HEALTHY = 1e-3
SMALL, LARGE = 1e-5, 1e-2
"""Update-to-weight ratios below and above which a parameter is flagged."""

Values = dict[str, float | None]
"""By parameter or module; None where a number is not finite. What was not there to be measured has no entry."""


@dataclass(frozen=True)
class Observation:
    """One watched step.

    `losses` are [step, loss] of the steps since the last observation whose loss was told, with None where it was not
    finite; after a run's last watched step an observation may hold them alone. `spike_score` is the percentage of all
    losses told so far that stood out (`analysis/spikes`), `unrecovered` the step of a spike that the loss has not come
    back from. By parameter, as Euclidean norms: `weight_norm` before the update, `update_norm` of the update,
    `grad_norm` of the gradient as backward left it and `clipped_grad_norm` as the optimizer found it. `eps_share` is
    the part of a parameter's elements in which Adam's epsilon is at least the root of the debiased second moment, so
    that it makes half of the denominator or more. By module: `activation`, the root mean square of its output, and
    `attention_logit`, the largest in absolute value.
    """

    step: int
    losses: list[list[float | None]]
    spike_score: float
    unrecovered: int | None
    weight_norm: Values
    update_norm: Values
    grad_norm: Values
    clipped_grad_norm: Values
    eps_share: Values
    activation: Values
    attention_logit: Values
    skipped: bool = False
    """The step had gradients and no update."""

    @property
    def update_ratio(self) -> Values:
        """Update over weight, by parameter, without those that are still 0."""
        return _ratios(self.update_norm, self.weight_norm)

    @property
    def layer_update_ratio(self) -> Values:
        """Update over weight of each layer's updated parameters together."""
        updated = {name: self.weight_norm[name] for name in self.update_norm}
        return _ratios(_by_layer(self.update_norm), _by_layer(updated))

    @property
    def flagged(self) -> dict[str, str]:
        """The parameters whose update-to-weight ratio is out of bounds: `small`, `large` or `not finite`."""
        flags = {name: _flag(ratio) for name, ratio in self.update_ratio.items()}
        return {name: flag for name, flag in flags.items() if flag is not None}


QUANTITIES = (
    "update_ratio",
    "layer_update_ratio",
    "weight_norm",
    "update_norm",
    "grad_norm",
    "clipped_grad_norm",
    "eps_share",
    "activation",
    "attention_logit",
)


def read_observations(path: Path) -> list[Observation]:
    """The observations in a file, by step; of a step that was observed again, as after a restart, the later one.

    Raises FileNotFoundError where there is no file, and ValueError on a corrupt line; a torn last one is left out.
    """
    found, _ = read_lines(path, Observation)
    return [each for _, each in sorted({each.step: each for each in found}.items())]


def to_table(observations: Sequence[Observation], quantity: str) -> pd.DataFrame:
    """One of QUANTITIES over a run: a row for each parameter, layer or module, in the order of the model, and a column
    for each step; NaN where it was not measured or not finite. Raises ValueError on an unknown one."""
    one_of("quantity", quantity, QUANTITIES)
    known = {each.step: values for each in observations if (values := getattr(each, quantity))}
    columns = {step: pd.Series(values, dtype="float64") for step, values in known.items()}
    names = dict.fromkeys(name for column in columns.values() for name in column.index)
    return pd.DataFrame(columns, index=list(names), dtype="float64")


def losses_of(observations: Iterable[Observation]) -> pd.Series[float]:
    """The losses told, by step; NaN where one was not finite."""
    return pd.Series({step: loss for each in observations for step, loss in each.losses}, dtype="float64")


def spikes_of(losses: pd.Series[float]) -> SpikeScore:
    """The spikes of losses by step."""
    return find_spikes(zip(losses.index.tolist(), losses.tolist(), strict=True))


def layer_of(parameter: str) -> str:
    """The layer that a parameter is in: its path up to the first index, or else that of its module."""
    indexed = re.match(r"(.*?\.)?\d+(?=\.)", parameter)
    return indexed[0] if indexed else parameter.rpartition(".")[0] or parameter


def total(norms: Values) -> float | None:
    """The norm of everything together; None where one is not finite, and where there is none."""
    known = [norm for norm in norms.values() if norm is not None]
    return math.hypot(*known) if norms and len(known) == len(norms) else None


def _by_layer(norms: Values) -> Values:
    layers: dict[str, Values] = {}
    for name, norm in norms.items():
        layers.setdefault(layer_of(name), {})[name] = norm
    return {layer: total(members) for layer, members in layers.items()}


def _ratios(updates: Values, weights: Values) -> Values:
    ratios: Values = {}
    for name, update in updates.items():
        weight = weights[name]
        if weight != 0:
            ratios[name] = None if update is None or weight is None else update / weight
    return ratios


def _flag(ratio: float | None) -> str | None:
    if ratio is None:
        return "not finite"
    return "small" if ratio < SMALL else "large" if ratio > LARGE else None
