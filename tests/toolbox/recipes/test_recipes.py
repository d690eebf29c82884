"""Each number has a source, each schedule is what its source says, and the picture is the trainer's schedule."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mutransfer.cli import main
from mutransfer.optim import schedule_factor
from mutransfer.toolbox.recipes import FAMILIES, MARKS, RANGES, RECIPES, trend
from mutransfer.toolbox.recipes.command import rates
from mutransfer.toolbox.recipes.figure import draw_recipe


def rate(name: str, place: float) -> float:
    """The recipe's rate after so many of its units, by the trainer's schedule."""
    recipe = RECIPES[name]
    step = min(round(place), recipe.decay_end)
    return recipe.peak_lr * schedule_factor(recipe.schedule, step, recipe.decay_end)


@pytest.mark.parametrize("name", RECIPES)
def test_every_number_has_a_source_and_says_how_far_it_was_checked(name: str) -> None:
    for what, fact in RECIPES[name].facts.items():
        assert fact.mark in MARKS, what
        if fact.value is None:
            assert "not found in the source" in fact.source
        else:
            assert any(character.isdigit() for character in fact.source), what
    assert RECIPES[name].name == name


@pytest.mark.parametrize("name", RECIPES)
def test_a_schedule_is_one_that_the_trainer_takes_and_says_what_the_facts_say(name: str) -> None:
    recipe = RECIPES[name]
    recipe.schedule.validate()
    warmup = recipe.schedule.warmup_steps(recipe.decay_end)
    assert rate(name, max(0, warmup - 1)) == pytest.approx(recipe.peak_lr)
    assert rate(name, recipe.length) == pytest.approx(float(recipe.floor.value) * recipe.peak_lr, rel=0.03)
    if isinstance(recipe.warmup.value, str) and recipe.unit == "steps":
        assert recipe.warmup.value.startswith(str(warmup))


def test_llama_falls_by_a_cosine_to_a_tenth() -> None:
    """At step t of T after a warmup of w: peak (0.1 + 0.9 (1 + cos(pi (t - w)/(T - w)))/2)."""
    for step in (2000, 60_000, 126_000, 249_999):
        part = (step - 2000) / (250_000 - 2000)
        wanted = 3e-4 * (0.1 + 0.9 * (1 + math.cos(math.pi * part)) / 2)
        assert rate("llama-7b", step) == pytest.approx(wanted, rel=1e-12)
    assert rate("llama-7b", 999) == pytest.approx(1.5e-4)
    assert rate("llama-65b", 349_999) == pytest.approx(1.5e-5, rel=1e-3)


def test_gpt3_reaches_its_floor_at_260_billion_tokens_and_stays_there() -> None:
    assert rate("gpt3-175b", 374) == pytest.approx(0.6e-4)
    assert rate("gpt3-175b", (260_000 + 375) / 2) == pytest.approx(0.55 * 0.6e-4, rel=1e-3)
    for tokens in (260_000, 280_000, 300_000):
        assert rate("gpt3-175b", tokens) == pytest.approx(0.6e-5)


def test_deepseek_drops_at_80_and_at_90_percent_of_all_tokens() -> None:
    for name, peak in (("deepseek-7b", 4.2e-4), ("deepseek-67b", 3.2e-4)):
        steps = RECIPES[name].length
        assert RECIPES[name].length == pytest.approx(2e12 / (4096 * {"7": 2304, "6": 4608}[name[9]]), abs=1)
        assert rate(name, 0.8 * steps - 1) == pytest.approx(peak)
        assert rate(name, 0.8 * steps + 1) == pytest.approx(0.316 * peak, rel=1e-3)
        assert rate(name, 0.9 * steps - 1) == pytest.approx(0.316 * peak, rel=1e-3)
        assert rate(name, 0.9 * steps + 1) == pytest.approx(0.1 * peak)


def test_minicpm_is_constant_and_then_halves_every_5000_steps() -> None:
    start = 280_000 - 25_500
    assert rate("minicpm-2.4b", start - 1) == 0.01
    for halvings in range(1, 6):
        assert rate("minicpm-2.4b", start + 5000 * halvings) == pytest.approx(0.01 * 0.5**halvings, rel=1e-6)


def test_llama_3_ends_at_8e_7_and_chinchilla_at_a_tenth() -> None:
    assert rate("llama-3-405b", 1_200_000) == pytest.approx(8e-7)
    assert rate("llama-3-405b", 7999) == pytest.approx(8e-5)
    assert rate("chinchilla-70b", 1_400_000) == pytest.approx(1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_the_picture_is_the_trainers_schedule(name: str) -> None:
    recipe = RECIPES[name]
    places, drawn = rates(recipe)
    assert (places[0], places[-1]) == (0, recipe.length)
    at = np.linspace(0, len(places) - 1, 50).astype(int)
    np.testing.assert_allclose(drawn[at], [rate(name, place) for place in places[at]], rtol=1e-12)
    assert drawn.max() == pytest.approx(recipe.peak_lr, rel=1e-4)
    (line, *_) = draw_recipe("title", "shape", recipe.unit, places, drawn).axes[0].get_lines()
    shown = np.asarray(line.get_ydata(), np.float64)
    np.testing.assert_allclose(shown / shown.max(), drawn / drawn.max())


def test_what_published_families_say_of_width() -> None:
    found = {name: trend(members) for name, members in FAMILIES.items()}
    gpt3 = found["GPT-3"]
    assert gpt3 is not None
    assert gpt3.between_ends == pytest.approx(math.log(0.1) / math.log(16))  # 6e-4 at 768, 0.6e-4 at 12288: -0.83
    assert gpt3.slope == pytest.approx(-0.77, abs=0.01)
    middle = [math.prod(getattr(r, name) for r in FAMILIES["GPT-3"]) ** (1 / 8) for name in ("width", "peak_lr")]
    assert gpt3.at(middle[0]) == pytest.approx(middle[1]), "the line goes through the geometric means"
    assert found["Gopher"] is None
    assert found["MiniCPM"] is not None
    assert found["MiniCPM"].slope == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", RECIPES)
def test_mup_halves_the_hidden_rate_as_the_width_doubles(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.hidden_lr(recipe.base_width or recipe.width) == recipe.peak_lr
    assert recipe.hidden_lr(2 * recipe.width) == pytest.approx(recipe.hidden_lr(recipe.width) / 2)


def test_what_mup_makes_of_a_recipe_is_what_our_own_table_makes_of_it() -> None:
    from mutransfer.config import ModelConfig
    from mutransfer.parametrization import build_model

    recipe = RECIPES["gpt3-125m"]
    model = ModelConfig(width=2 * recipe.width, head_dim=64)
    built = build_model(model, "mup", base_width=recipe.width, device="meta")
    lrs = {group["lr"] for group in built.param_groups(recipe.peak_lr)}
    assert lrs == {recipe.hidden_lr(2 * recipe.width), recipe.peak_lr}


@pytest.mark.parametrize("name", RANGES)
def test_a_range_spans_its_examples_and_says_why(name: str) -> None:
    found = RANGES[name]
    assert found.name == name
    assert len(found.rates) >= 2
    assert len(found.why) > 60
    for example in found.examples:
        assert example.mark in MARKS
        assert len(example.source) > 5
        assert example.rate is None or found.rates[0] <= example.rate <= found.rates[-1]


def test_rates_fall_from_pretraining_to_preference_optimization() -> None:
    """LoRA takes about ten times what full fine-tuning takes; reinforcement a tenth of it."""
    middle = {name: math.sqrt(found.rates[0] * found.rates[-1]) for name, found in RANGES.items()}
    assert 10 < middle["finetune-lora"] / middle["finetune-full"] < 40
    assert middle["dpo"] < middle["ppo"] < middle["reward-model"] <= middle["finetune-full"]


def test_the_command_prints_a_recipe_with_its_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "llama-7b", "--width", "8192"]) == 0
    said = capsys.readouterr().out
    for part in ("3e-4", "0.1 of the peak, 3e-5", "2000 steps", "cosine", "4M tokens", "0.9, 0.95", "2302.13971"):
        assert part in said
    assert "hidden matrices 1.5e-4 (3e-4 x 4096/8192)" in said
    assert "LLaMA 65B 1.5e-4" in said
    assert "?" in said, "its epsilon is not stated"


def test_json_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "GPT3-175B", "--json", "--width", "768", "--out", str(tmp_path / "a.svg")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["facts"]["peak rate"] == {
        "value": 6e-5,
        "source": told["facts"]["peak rate"]["source"],
        "mark": "quoted",
    }
    assert told["at_width"]["mup"]["hidden"] == pytest.approx(6e-5 * 16)
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    assert main(["recipe", "finetune-lora", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["low"] == 1e-4


def test_the_list_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "--list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in [*RECIPES, *RANGES])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "found no name"),
        (["llama-7"], "did you mean"),
        (["ppo", "--width", "64"], "which is a range"),
        (["llama-7b", "--width", "0"], "expected width above 0, got 0"),
        (["llama-7b", "--out", "a.txt"], "ends in .png or .svg"),
    ],
)
def test_bad_input_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
