"""The commands: what each does, two examples, and the options that most people use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Command(NamedTuple):
    """A command of the program, in words."""

    arguments: str
    summary: str
    examples: tuple[str, ...]
    """What to type after `mutransfer`."""
    common: tuple[str, ...] = ()
    """The options that `--help` shows, dotted fields of its arguments; none: it shows all."""
    module: str = ""
    """Where it is, where that is not the module of its name in `commands`."""


_TRIAL = ("width", "lr", "steps", "batch_size", "parametrization", "seed", "data", "device", "build", "out")

COMMANDS: Mapping[str, Command] = {
    "plan": Command(
        "[EXPERIMENT] [overrides]",
        "what would run: trials, FLOPs, minutes on this machine",
        (
            "plan --widths 64,128,256",
            "plan --target width=4096,depth=32,batch_size=1024,steps=100000 --budget 2%",
        ),
        ("widths", "lrs", "seeds", "steps", "batch_size", "parametrizations", "search", "budget", "data", "device"),
    ),
    "sweep": Command(
        "[EXPERIMENT] [overrides]",
        "run, resume or extend; ends in the verdict and the report",
        (
            "sweep --widths 64,128,256 --data text:mine.txt --out results/mine",
            "sweep --preset llama --widths 128,256 --lrs 2^-10..2^-4 --seeds 3",
        ),
        (
            "widths",
            "depths",
            "lrs",
            "seeds",
            "steps",
            "batch_size",
            "parametrizations",
            "data",
            "search",
            "budget",
            "executor",
            "device",
            "build",
            "optimizer.name",
            "schedule.name",
            "out",
        ),
    ),
    "status": Command("RESULT", "done, running, diverged, failed, time left", ("status results/width_transfer",)),
    "report": Command(
        "RESULT",
        "tables, figures, report.html, summary.json from the records alone",
        ("report results/width_transfer",),
    ),
    "recommend": Command(
        "RESULT --width W",
        "the lr to use there, with its interval, per parameter group",
        ("recommend results/width_transfer --width 1024", "recommend results/width_transfer --width 1024 --json"),
    ),
    "analyze": Command(
        "RUNS",
        "the verdict on a sweep that another program made",
        (
            "analyze runs.csv --loss val/loss",
            "analyze runs.csv --arm optimizer --params size --where 'state=finished' --out results/mine",
        ),
        ("runs", "out", "lr", "loss", "width", "params", "tokens", "batch_size", "seed", "arm", "where", "ignore"),
    ),
    "confirm": Command(
        "RESULT --width W",
        "train there at the proxy's lr, half, double: regret measured",
        ("confirm results/width_transfer --width 512", "confirm results/width_transfer --width 512 --seeds 3"),
    ),
    "explain": Command(
        "--width W",
        "every parameter: role, init, multipliers, lr, weight decay, source",
        ("explain --width 1024 --lr 2^-8", "explain --width 1024 --diff sp mup"),
        ("width", "parametrization", "base_width", "lr", "diff", "own", "sample", "roles", "format", "optimizer.name"),
    ),
    "coord-check": Command(
        "[--model MODULE:FUNCTION]",
        "passes, or names the module at fault and the likely cause",
        ("coord-check --widths 64,128,256", "coord-check --model my_package.model:build --out results/check"),
        (
            "own",
            "batch",
            "loss",
            "widths",
            "lr",
            "steps",
            "seeds",
            "parametrization",
            "device",
            "out",
        ),
    ),
    "doctor": Command(
        "RUN",
        "what is wrong with a run: a result, a CSV or TensorBoard log, and what to try",
        ("doctor results/width_transfer", "doctor log.csv --out run.png"),
        module="toolbox.doctor.command",
    ),
    "recipe": Command(
        "NAME [--width W]",
        "the rate, schedule and decay that a known model was trained with, sourced",
        ("recipe llama-7b", "recipe --list"),
        module="toolbox.recipes.command",
    ),
    "train": Command(
        "--width W [--checkpoint F]",
        "one training run; run again to resume, or with more --steps",
        ("train --width 256 --lr 2^-8", "train --width 256 --steps 2000 --checkpoint run.pt"),
        (*_TRIAL, "checkpoint", "every", "watch", "optimizer.name", "schedule.name"),
    ),
    "lr-range-test": Command(
        "--width W",
        "a short run along a ramp of rates, and the rates that it suggests",
        ("lr-range-test --width 128", "lr-range-test --width 128 --optimizer.name sgd"),
        ("width", "result", "arm", "parametrization", "batch_size", "data", "seeds", "optimizer.name", "device", "out"),
        module="toolbox.range_test.command",
    ),
    "noise-scale": Command(
        "--width W",
        "how large a batch still buys steps, and the rate to use at another",
        ("noise-scale --width 128", "noise-scale --width 128 --batch-size 64 --to-batch 256"),
        ("micro_batches", "horizon", "to_batch", "optimizer.name", *_TRIAL),
        module="toolbox.noise_scale.command",
    ),
    "sharpness": Command(
        "--width W",
        "the loss's sharpness in training, beside the edge of stability",
        ("sharpness --width 64", "sharpness --width 64 --fresh True --every 10"),
        ("every", "fresh", "optimizer.name", *_TRIAL),
        module="toolbox.sharpness.command",
    ),
}
"""By name; each is a module of `mutransfer.commands` unless it says another, loaded when it is called."""
