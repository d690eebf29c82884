"""Words of the command line as values."""

import pytest

from mutransfer.arguments import _one_line, parse, parse_lrs, read_sweep
from mutransfer.config import LLAMA, SweepConfig


def test_rates_may_be_a_range_of_powers_of_two_a_list_or_both() -> None:
    assert parse_lrs(["2^-10..2^-8"]) == (2**-10, 2**-9, 2**-8)
    assert parse_lrs(["2^-7.5,0.003", "1e-2"]) == (2**-7.5, 0.003, 0.01)
    assert parse_lrs(["0.25..1"]) == (0.25, 0.5, 1.0)


@pytest.mark.parametrize(
    "word",
    [
        "0",
        "-1",
        "-2^-8",
        "-2^2",
        "(-2)^2",
        "nan",
        "inf",
        "1e400",
        "2^-8..2^-10",
        "0.3..0.9",
        "2^",
        "^2",
        "..",
        "(-2)^.5",
    ],
)
def test_what_is_no_rate_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="expected a "):
        parse_lrs([word])


def test_overrides_presets_and_lists() -> None:
    config = read_sweep(
        "sweep", ["--preset=llama", "--widths", "64,128", "256", "--lrs=2^-8,2^-7", "--model.depth", "3"]
    )
    assert config.widths == (64, 128, 256)
    assert config.lrs == (2**-8, 2**-7)
    assert (config.model.depth, config.model.norm, config.model.n_kv_heads) == (3, LLAMA.norm, LLAMA.n_kv_heads)
    assert read_sweep("sweep", []) == SweepConfig()


@pytest.mark.parametrize(
    "box",
    [
        "╭─ Error ─╮\n│ Error parsing   │\n│ --seeds: two    │\n│ ─────────────── │\n│ Argument help │\n╰───╯",
        "+- Error -+\n| Error parsing   |\n| --seeds: two    |\n| --------------- |\n| Argument help |\n+---+",
        "- Value error -----\n-------------------\nError parsing\n--seeds: two\n-------------\nArgument help\n",
    ],
    ids=["unicode", "ascii", "plain"],
)
def test_a_boxed_mistake_is_one_line(box: str) -> None:
    assert _one_line(box) == "--seeds: two"


def test_seeds_without_a_search_ask_for_a_grid() -> None:
    assert read_sweep("sweep", ["--seeds", "3"]) == SweepConfig(search="grid", seeds=3)
    assert read_sweep("sweep", ["--seeds=3", "--search=tpe"]).search == "tpe"
    with pytest.raises(ValueError, match=r"found --seeds with --search bracket, .*give --target-se"):
        read_sweep("sweep", ["--seeds", "3", "--search", "bracket"])
    for option in ("--target-se", "--budget"):
        with pytest.raises(ValueError, match=rf"^found {option} with --search grid, as --seeds alone asks for; wanted"):
            read_sweep("sweep", ["--seeds", "3", option, "1"])
        with pytest.raises(ValueError, match=rf"^found {option} with --search tpe; wanted --search bracket"):
            read_sweep("sweep", ["--search", "tpe", option, "1"])
        assert read_sweep("sweep", [option, "1"]).search == "bracket"


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_a_list_takes_the_place_of_one_of_any_length(count: int) -> None:
    default = SweepConfig(lrs=tuple(2.0**-place for place in range(count)))
    assert parse("sweep", SweepConfig, ["--lrs", "2^-10", "2^-2"], default).lrs == (2.0**-10, 2.0**-2)
