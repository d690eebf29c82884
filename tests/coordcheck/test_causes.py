"""Which modules are at fault, from planted powers of width."""

import pandas as pd
import pytest

from mutransfer.coordcheck.causes import find_causes
from mutransfer.coordcheck.coordinates import COLUMNS, read_coordinates
from mutransfer.coordcheck.verdict import judge

WIDTHS, SEEDS, TOLERANCE = (32, 64, 128), 2, 0.3


def faults(powers: dict[tuple[str, str, int], float]) -> list[tuple[str, int]]:
    """The modules at fault under SGD, each with the step that shows it."""
    modules = list(dict.fromkeys(module for module, *_ in powers))
    powers |= {(module, "gradient_power", 0): 0.0 for module in modules}
    powers |= {(module, "weight_dims", 0): 1.0 for module in modules}  # two dimensions, or more
    rows = [
        (module, quantity, step, width, seed, float(width) ** power)
        for (module, quantity, step), power in powers.items()
        for width in WIDTHS
        for seed in range(SEEDS)
    ]
    judged = judge(read_coordinates(pd.DataFrame(rows, columns=list(COLUMNS))), TOLERANCE)
    return [(finding.module, finding.slope.step) for finding in find_causes(judged, [], TOLERANCE)]


@pytest.mark.parametrize(
    ("pushed", "expected"),
    [
        (2.0, [("readout", 1)]),  # by as much as its update grows
        (0.0, [("hidden", 2), ("readout", 1)]),
    ],
)
def test_what_is_off_because_of_another_is_not_blamed_for_what_comes_of_it_later(
    pushed: float, expected: list[tuple[str, int]]
) -> None:
    """A readout without its multiplier pushes the layer before it, whose updates then add up as they should not."""
    hidden = {("size", 0): 0.0, ("in_size", 0): 1.0, ("out_size", 0): 1.0, ("weight", 0): -0.5}
    hidden |= {("rate", step): 0.0 for step in range(4)} | {("input", step): 0.0 for step in range(4)}
    # of a wide space, where muP has -1
    hidden |= {("gradient", 2): pushed - 1, ("effective", 2): 2.0, ("gradient", 3): 0.5, ("effective", 3): 2.0}
    readout = {("in_size", 0): 1.0, ("out_size", 0): 0.0, ("weight", 0): -0.5, ("input", 1): 0.0, ("gradient", 1): 0.0}
    readout |= {("rate", step): 0.0 for step in range(4)} | {("effective", 1): 1.0}
    powers = {("hidden", *key): power for key, power in hidden.items()}
    assert faults(powers | {("readout", *key): power for key, power in readout.items()}) == expected
