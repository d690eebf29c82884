"""The figure of a coordinate check: its data are what was measured, and each panel has the colour of its verdict."""

import io

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest

from mutransfer.coordcheck.coordinates import COLUMNS, read_coordinates
from mutransfer.coordcheck.figure import COLOURS, LEAST, coordinates, coordinates_data
from mutransfer.coordcheck.result import FAIL, PASS, CoordCheck, Finding, fold
from mutransfer.coordcheck.verdict import judge
from mutransfer.report.files import png

WIDTHS, SEEDS, STEPS = (32, 64, 128), 2, 2


def check(powers) -> CoordCheck:
    """Of planted powers of width, {(module, quantity, step): power}, with seeds a factor of 2 apart."""
    rows = [
        (module, quantity, step, width, seed, 2.0**seed * width**power)
        for (module, quantity, step), power in powers.items()
        for width in WIDTHS
        for seed in range(SEEDS)
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    judged = judge(read_coordinates(frame), 0.3)
    off = [each.worst for each in judged.modules if each.worst is not None]
    findings = tuple(Finding(slope, "a $cause$", "evidence") for slope in off)
    verdict = FAIL if findings else PASS
    return CoordCheck(verdict, findings, (), judged, frame, WIDTHS, SEEDS, STEPS, "adamw", 0.1, "lr 0.1", 0.3)


POWERS = {
    ("embedding", "size", 0): 0.0,
    ("embedding", "out_size", 0): 1.0,
    ("blocks.0.map", "size", 0): 0.0,
    ("blocks.0.map", "out_size", 0): 1.0,
    ("blocks.0.map", "change", 2): 0.0,
    ("blocks.1.map", "size", 0): 0.0,
    ("blocks.1.map", "out_size", 0): 1.0,
    ("blocks.1.map", "change", 2): 1.0,
    ("blocks.1.map", "effective", 2): -1.0,
}


def test_blocks_share_a_panel_and_lines_start_at_their_own_value_at_the_narrowest() -> None:
    data = coordinates_data(check(POWERS))
    assert list(dict.fromkeys(data["panel"])) == ["embedding", "blocks.*.map"]
    assert set(data[data["panel"] == "blocks.*.map"]["module"]) == {"blocks.0.map", "blocks.1.map"}
    assert data[data["width"] == 32]["times"].to_numpy() == pytest.approx(0)
    grown = data[(data["module"] == "blocks.1.map") & (data["quantity"] == "change")]
    assert grown["times"].to_list() == pytest.approx([0, 1, 2])
    assert (grown["high"] - grown["low"]).to_list() == pytest.approx([1, 1, 1])
    assert set(grown["status"]) == {"grows"}
    assert set(data[data["quantity"] == "size"]["status"]) == {"ok"}
    assert set(data[data["module"] == "blocks.1.map"]["verdict"]) == {"vanishes"}  # of the effective update, first


def test_a_multiplier_that_the_verdict_counts_is_drawn() -> None:
    powers = POWERS | {("blocks.1.map", "outer", 2): -1.0}
    data = coordinates_data(check(powers))
    drawn = data[(data["module"] == "blocks.1.map") & (data["quantity"] == "change")]
    assert drawn["times"].to_list() == pytest.approx([0, 0, 0])


def test_panels_are_titled_and_coloured_by_verdict_and_nothing_is_left_open() -> None:
    figure = coordinates(check(POWERS))
    assert png(figure).startswith(b"\x89PNG")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == ["embedding", "map"]
    assert [axes._left_title.get_color() for axes in shown] == [COLOURS["ok"], COLOURS["vanishes"]]
    lines = {line.get_color() for line in shown[1].lines} & set(COLOURS.values())
    assert lines == set(COLOURS.values())
    assert plt.get_fignums() == []
    assert 3.3 <= figure.get_figwidth() <= 7


def test_what_is_level_does_not_look_steep_and_what_is_steep_is_inside() -> None:
    still = coordinates(check({key: 0.0 if key[1] != "out_size" else 1.0 for key in POWERS}))
    assert still.axes[0].get_ylim()[0] <= -LEAST
    assert still.axes[0].get_ylim()[1] >= LEAST
    steep = check(POWERS | {("blocks.1.map", "change", 2): 4.0})
    assert coordinates(steep).axes[0].get_ylim()[1] > coordinates_data(steep)["high"].max()


def test_the_verdict_stands_above_as_it_is() -> None:
    found = check(POWERS)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        coordinates(found).savefig(file, format="svg")
    assert f">{found.verdict_line}</text>" in file.getvalue()
    assert "a $cause$" in found.verdict_line


def test_layers_of_one_sequence_are_told_apart_by_what_they_are() -> None:
    shapes = {"0": (0, 1), "1": (1, 1), "2": (1, 1), "3": (1, 0)}
    powers = {
        (name, side, 0): float(way)
        for name, ways in shapes.items()
        for side, way in zip(("in_size", "out_size"), ways, strict=True)
    }
    powers |= {(name, "weight_dims", 0): 1.0 for name in ("0", "1", "3")}  # 32 dimensions, at least
    labels = check(powers).labels
    assert labels == {"0": "0", "1": "1", "2": "2", "3": "3"}
    powers |= {("2", "weight_dims", 0): 1.0}
    assert check(powers).labels == {"0": "0", "1": "* (hidden)", "2": "* (hidden)", "3": "3"}


@pytest.mark.parametrize(
    ("module", "folded"),
    [
        ("blocks.0.mlp.up", "blocks.*.mlp.up"),
        ("blocks.11", "blocks.*"),
        ("0", "*"),
        ("h.3.attn (logits)", "h.*.attn (logits)"),
        ("layer1.conv2d", "layer1.conv2d"),
        ("", "(model)"),
    ],
)
def test_numbers_of_blocks_are_folded(module, folded) -> None:
    assert fold(module) == folded
