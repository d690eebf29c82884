"""results/bench/README.md: a row for each goal, what was measured, and `not measured` where nothing was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

NOT = "not measured"


class Row(NamedTuple):
    """A goal; `told` says from the file's content what was measured, and whether that meets it."""

    what: str
    goal: str
    file: str
    told: Callable[[Any], tuple[str, bool]]


def _verdict(found: Any) -> tuple[str, bool]:
    share, agree = found["bracket_over_grid"], found["optima_agree"]
    parts = [f"{found[name]['seconds']:.0f} s ({found[name]['trials']} trials)" for name in ("bracket", "grid")]
    apart = ", ".join(arm for arm, same in agree.items() if not same)
    said = f"intervals of {apart} apart at some width" if apart else "every optimum within the two intervals"
    return f"{share:.2f}: {parts[0]} against {parts[1]}; {said}", share <= 0.40 and not apart


def _tune(found: Any) -> tuple[str, bool]:
    ours, theirs = found["bracket"], found["tune"]
    faster = found["tune_over_bracket"]
    said = f"{faster:.1f}x: {ours['seconds']:.0f} s against {theirs['seconds']:.0f} s ({theirs['trials']} trials)"
    errors = f"error of log2 lr* {ours['error']:.2f} against {theirs['error']:.2f} octaves"
    return f"{said}; {errors}", faster >= 5 and ours["error"] < theirs["error"]


def _step(found: Any) -> tuple[str, bool]:
    ratios = {width: row["plain_over_ours"]["median"] for width, row in found.items()}
    listed = ", ".join(f"{width}: {each:.2f}x" for width, each in ratios.items())
    return f"widths {listed}", min(ratios.values()) >= 1.0


def _product(found: Any) -> tuple[str, bool]:
    share = found["256"]["share_of_product"]
    return f"{share:.2f}", share >= 0.65


def _dispatch(found: Any) -> tuple[str, bool]:
    said = [
        f"{name.replace('_', ' ')} {row['ms_per_trial']:.2f} ms each, {row['driver_grew_mb']:.0f} MB, "
        f"{row['restart_s']:.1f} s"
        for name, row in found.items()
    ]
    rows = found.values()
    good = all(r["ms_per_trial"] <= 5 and r["driver_grew_mb"] < 50 and r["restart_s"] < 5 for r in rows)
    return "; ".join(said), good


def _cohort(found: Any) -> tuple[str, bool]:
    rows = found["cohort"]
    listed = "; ".join(
        f"{name}: K {row['cohort_size']} {row['mode']}, {row['over_eager']:.1f}x and {row['over_compiled']:.1f}x"
        for name, row in rows.items()
    )
    good = all(row["over_eager"] >= 20 and row["over_compiled"] >= 4 for row in rows.values())
    return f"{found['device']}, {listed}", good


def _large(found: Any) -> tuple[str, bool]:
    rows = found["large"]
    listed = ", ".join(f"width {width}: {row['share']:.2f} {row['mode']}" for width, row in rows.items())
    return f"{found['device']}, {listed}", all(row["share"] >= 0.5 for row in rows.values())


def _rates(found: Any) -> tuple[str, bool]:
    times = found["rates"]["most_over_least"]
    return f"{found['device']}, {times:.1f}x", times < 2


ROWS = (
    Row(
        "time to verdict of the default study, bracket over 10 rates x 2 seeds",
        "<= 0.40",
        "verdict",
        _verdict,
    ),
    Row("the same question by Ray Tune + OptunaSearch over ours", ">= 5x, smaller error", "verdict", _tune),
    Row("a plain hand-written loop's step over ours", ">= 1.0x", "step", _step),
    Row("FLOP/s of a step at width 256 over one thread's fp32 matrix product", ">= 0.65", "step", _product),
    Row(
        "driver, 10,000 trials of a no-op: time, memory it grows by, restart to first dispatch",
        "<= 5 ms, < 50 MB, < 5 s",
        "dispatcher",
        _dispatch,
    ),
    Row(
        "CUDA: trials per hour of a cohort over single ones, eager and compiled",
        ">= 20x, >= 4x",
        "cuda",
        _cohort,
    ),
    Row("CUDA: bf16 FLOP/s of one large trial over the matrix product", ">= 0.5", "cuda", _large),
    Row("CUDA: a study of 64 rates at width 128 over one of 8", "< 2x", "cuda", _rates),
)


def write_table(folder: Path) -> str:
    """Write the table from the files that are there; returns it."""
    lines = [
        "# How fast it is",
        "",
        "`make bench` measures, `make bench DEVICE=cuda` what needs a GPU; each is a ratio of two things measured in",
        "turn in one run. The machines are named in the JSON files beside this page.",
        "",
        "| what | goal | measured | reached |",
        "|---|---|---|---|",
    ]
    for row in ROWS:
        path = folder / f"{row.file}.json"
        told, good = row.told(json.loads(path.read_text())["measured"]) if path.exists() else (NOT, None)
        lines.append(f"| {row.what} | {row.goal} | {told} | {'' if good is None else 'yes' if good else 'no'} |")
    text = "\n".join(lines) + "\n"
    (folder / "README.md").write_text(text)
    return text
