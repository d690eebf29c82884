"""What a coordinate check measures (Tensor Programs V, appendix D.1; refined as in Haas et al. 2505.22491), and its
slopes: with which power of width each quantity of each module goes.

A frame has a row for each (module, quantity, step, width, seed) with its value; modules stand in the order in which
they give their outputs, which is that of the data's flow. Sizes are root mean squares over all entries. Step t is after
t updates, on the same batch.

| quantity | what | judged |
|---|---|---|
| size | the output | at initialization |
| change | the output less that at initialization | yes |
| effective | the output less that of the initial parameters on the same input | yes |
| aligned | what attention logits would be if queries and keys of their size all pointed the same way | yes |
| pull | of a parameter: how far its update moved its module's output against the gradient that this received: the
  decrease of the loss to first order over the sum of that gradient's sizes: what is aligned | yes |
| fit | the same of the whole change of what the loss gets, and its gradient at initialization | yes |
| l1 | mean absolute output, as the `mup` package records | |
| input | the first input | |
| gradient | the loss's gradient with respect to the output; root of the sum of squares over the passes before | |
| weight, update, rate | the largest parameter at initialization, its change, its rate (at step 0 as it was given) | |
| outer, inner | the plain numbers that multiply the output, outside the module and inside | |
| in_size, out_size | number of entries of input and output: tells what is wide | |
| noise | the change that rounding alone may make | |
| gradient_power | how the update answers to the gradient's size: 1 in proportion (SGD), 0 not at all (Adam) | |
| weight_dims, head_dim, logit_scale | dimensions of the largest parameter; of attention logits | |
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from mutransfer.analysis.curve import Array
from mutransfer.analysis.interval import CONFIDENCE, Interval, t_quantile

COLUMNS = ("module", "quantity", "step", "width", "seed", "value")
LOGITS = " (logits)"
"""Ends the name under which the attention logits of a module stand."""

Key = tuple[str, str, int]
"""Module, quantity, step."""


def log_slopes(widths: Sequence[int], values: Array) -> tuple[Array, Array]:
    """Least-squares d log2 value / d log2 width over the last axis, and half its 95% interval over the seeds.

    `values` has shape (..., seeds, widths); a slope is finite where all are above 0. Each seed has a slope of its own,
    and the interval is Student's t over them: it holds whatever the scatter at each width, and whatever the widths of
    one seed have in common.
    """
    octaves = np.log2(widths) - np.log2(widths).mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.log2(values) @ octaves / (octaves @ octaves)
        spread = each.std(axis=-1, ddof=1) / math.sqrt(each.shape[-1])
    return each.mean(axis=-1), t_quantile((1 + CONFIDENCE) / 2, each.shape[-1] - 1) * spread


@dataclass(frozen=True)
class Coordinates:
    """The values of a frame, and their slopes.

    Attributes:
        modules: in the order of data flow.
        values: by key an array (seeds, widths).
        slopes: by key, with 95% intervals over seeds; those that are finite.
    """

    modules: tuple[str, ...]
    values: Mapping[Key, Array]
    slopes: Mapping[Key, Interval]
    known_roles: Mapping[str, str] = field(default_factory=dict)
    """The roles that a parametrization has found, by module and further parameter."""
    final: str | None = None
    """The module whose output the loss gets."""

    def slope(self, module: str, quantity: str, step: int) -> float:
        """An estimate; NaN where there is none."""
        found = self.slopes.get((module, quantity, step))
        return math.nan if found is None else found.estimate

    def is_wide(self, module: str, side: str) -> bool:
        """Whether a module's `in_size` or `out_size` grows with width."""
        return self.slope(module, side, 0) > 0.5

    @cached_property
    def roles(self) -> dict[str, str]:
        """Each module's role: input, hidden, bottleneck (gives a fixed space inside the model), output (gives one after
        all that is wide), vector; where it has no parameters of its own, logits, after the readout, or none."""
        wide = [at for at, module in enumerate(self.modules) if self.is_wide(module, "out_size")]
        last_wide = max(wide, default=-1)
        roles = {}
        for at, module in enumerate(self.modules):
            dims = self.values.get((module, "weight_dims", 0))
            if module.endswith(LOGITS):
                role = "logits"
            elif module in self.known_roles and dims is not None:
                role = self.known_roles[module]
            elif dims is None:
                role = "after the readout" if at > last_wide else "none"
            elif dims.flat[0] < 2:
                role = "vector"
            elif self.is_wide(module, "out_size"):
                role = "hidden" if self.is_wide(module, "in_size") else "input"
            else:
                role = "output" if at > last_wide else "bottleneck"
            roles[module] = role
        return roles

    @cached_property
    def gradient_powers(self) -> dict[str, float]:
        """Each module's gradient_power, and the largest of all for what has no parameters of its own."""
        measured = {key[0]: float(np.nanmax(value)) for key, value in self.values.items() if key[1] == "gradient_power"}
        return dict.fromkeys(self.modules, max(measured.values(), default=0.0)) | measured


def read_coordinates(
    frame: pd.DataFrame, roles: Mapping[str, str] | None = None, final: str | None = None
) -> Coordinates:
    """The slopes of what was measured: rows as above, of two widths and two seeds or more."""
    table = frame.pivot(index=["module", "quantity", "step"], columns=["seed", "width"], values="value")
    table = table.sort_index(axis="columns")
    widths = sorted(set(frame["width"]))
    values = table.to_numpy(dtype=float).reshape(len(table), -1, len(widths))
    keys = [(str(module), str(quantity), int(step)) for module, quantity, step in table.index]
    slopes = {
        key: Interval(float(estimate), float(estimate - half), float(estimate + half))
        for key, estimate, half in zip(keys, *log_slopes(widths, values), strict=True)
        if math.isfinite(estimate)
    }
    modules, known = tuple(dict.fromkeys(frame["module"])), {} if roles is None else roles
    return Coordinates(modules, dict(zip(keys, values, strict=True)), slopes, known, final)
