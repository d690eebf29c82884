"""The commands that a page and a terminal give."""

import shlex

import pytest

from mutransfer.arguments import read_sweep
from mutransfer.report.commands import Step, settling_step

CONFIG = {"widths": [32], "variants": [{"name": "own", "parametrization": "mup", "changes": [["lrs", [0.5, 1.0]]]}]}
FLAGS = ("--seeds", "4", "--lrs", "2^-9..2^-3")


def command(stored: str, *flags: str, arm: str = "mup") -> str:
    return settling_step(arm, "do it", flags, stored, CONFIG).command


@pytest.mark.parametrize(
    "earlier",
    [
        "",
        "--seeds 2",
        "--lrs 2^-5 2^-4 --seeds 3",
        "--lrs=2^-5 2^-4 --seeds=3",
        "--lrs 2^-5..2^-4 --lrs 2^-7..2^-4 --seeds 1 --seeds 2",
    ],
)
def test_a_flag_takes_the_place_of_its_earlier_ones(earlier: str) -> None:
    told = command(f"bin/mutransfer sweep exp.py --n_trials 3 {earlier} --out 'a & b'", *FLAGS)
    assert shlex.split(told) == shlex.split("bin/mutransfer sweep exp.py --n_trials 3 --out 'a & b' " + " ".join(FLAGS))
    assert command(told, *FLAGS) == told
    assert "n_trials" not in command(told, "--n-trials", "9")


@pytest.mark.parametrize(
    ("earlier", "flags"),
    [
        ("--seeds 2 --lrs 2^-9..2^-3", ("--target-se", "0.1", "--budget", "12", "--search", "bracket")),
        ("--search tpe --n-trials 8 --seeds 2", ("--widths", "32", "64", "--search", "bracket")),
        ("--target-se 0.1 --budget 4", ("--seeds", "4", "--search", "grid")),
        ("--target-se 0.1", ("--search", "tpe", "--n-trials", "9")),
    ],
)
def test_another_search_is_not_given_what_it_does_not_take(earlier: str, flags: tuple[str, ...]) -> None:
    told = shlex.split(command(f"mutransfer sweep {earlier} --steps 9", *flags))
    config = read_sweep("sweep", told[2:])
    assert (config.steps, config.search) == (9, flags[flags.index("--search") + 1])


def test_what_an_arm_sets_itself_is_set_in_its_file() -> None:
    stored = "mutransfer sweep exp --lrs 2^-5..2^-4"
    what, told = settling_step("own", "rates from 2^-9 to 2^-3", FLAGS, stored, CONFIG)
    assert what == "rates from 2^-9 to 2^-3; first set lrs of arm own in the experiment's file to 2^-9..2^-3"
    assert shlex.split(told) == shlex.split(f"{stored} --seeds 4")
    assert shlex.split(command(stored, *FLAGS[2:], arm="own")) == shlex.split(stored)
    assert command(stored, *FLAGS, arm="mup").endswith("--seeds 4 --lrs '2^-9..2^-3'")


@pytest.mark.parametrize("stored", ["mutransfer confirm result --width 48", "again", "", "don't sweep"])
def test_only_a_sweep_takes_them(stored: str) -> None:
    assert settling_step("own", "do it", FLAGS, stored, CONFIG) == Step("do it", "")
