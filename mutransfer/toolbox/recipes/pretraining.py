"""Language models that were trained from scratch.

Each number was looked up: where it stands, and how far it was checked, is beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mutransfer.config import ScheduleConfig
from mutransfer.toolbox.recipes.recipe import Fact, Recipe

UNSTATED = "not found in the source"

GPT3 = "Brown et al. 2005.14165"
GOPHER = "Rae et al. 2112.11446"
CHINCHILLA = "Hoffmann et al. 2203.15556"
LLAMA_1 = "Touvron et al. 2302.13971"
LLAMA_2 = "Touvron et al. 2307.09288"
LLAMA_3 = "Grattafiori et al. 2407.21783"
MINICPM = "Hu et al. 2404.06395"
DEEPSEEK = "DeepSeek-AI 2401.02954"


def _gpt3(size: str, depth: int, width: int, peak: float, batch: str) -> Recipe:
    table, section = f"{GPT3}, Table 2.1", f"{GPT3}, appendix B"
    return Recipe(
        name=f"gpt3-{size.lower()}",
        title=f"GPT-3 {size}",
        width=width,
        depth=depth,
        unit="million tokens",
        length=300_000,
        decay_end=260_000,
        schedule=ScheduleConfig("cosine", warmup=375, floor=0.1),
        shape=Fact("linear warmup, cosine to the floor over 260B tokens, then constant to 300B", section),
        peak=Fact(peak, table, "quoted"),
        floor=Fact(0.1, section),
        warmup=Fact("375M tokens", section),
        batch=Fact(f"{batch} tokens, grown from 32k over the first 4 to 12B tokens", f"{table}; {section}", "quoted"),
        tokens=Fact("300B", table, "quoted"),
        weight_decay=Fact(0.1, section),
        clip_norm=Fact(1.0, section),
        betas=Fact("0.9, 0.95", section, "quoted"),
        eps=Fact(1e-8, section, "quoted"),
    )


def _llama1(size: str, depth: int, width: int, peak: float, tokens: str, steps: int) -> Recipe:
    table, section = f"{LLAMA_1}, Table 2", f"{LLAMA_1}, section 2.3"
    return Recipe(
        name=f"llama-{size.lower()}",
        title=f"LLaMA {size}",
        width=width,
        depth=depth,
        unit="steps",
        length=steps,
        decay_end=steps,
        schedule=ScheduleConfig("cosine", warmup=2000, floor=0.1),
        shape=Fact(f"linear warmup, cosine to the floor over {steps:,} steps (tokens over batch)", section, "derived"),
        peak=Fact(peak, table, "quoted"),
        floor=Fact(0.1, section),
        warmup=Fact("2000 steps", section),
        batch=Fact("4M tokens", table),
        tokens=Fact(tokens, table),
        weight_decay=Fact(0.1, section),
        clip_norm=Fact(1.0, section),
        betas=Fact("0.9, 0.95", section),
        eps=Fact(None, UNSTATED),
    )


def _llama2(size: str, depth: int, width: int, peak: float) -> Recipe:
    table, section = f"{LLAMA_2}, Table 1", f"{LLAMA_2}, section 2.2"
    first = _llama1(size, depth, width, peak, "2.0T", 500_000)
    return replace(
        first,
        name=f"llama-2-{size.lower()}",
        title=f"Llama 2 {size}",
        shape=replace(first.shape, source=section),
        peak=Fact(peak, table),
        floor=Fact(0.1, section),
        warmup=Fact("2000 steps", section),
        batch=Fact("4M tokens", table),
        tokens=Fact("2.0T", table),
        weight_decay=Fact(0.1, section),
        clip_norm=Fact(1.0, section),
        betas=Fact("0.9, 0.95", section),
        eps=Fact(1e-5, section),
        remark="width and depth are those of the published weights; the paper does not print them",
    )


def _llama3(size: str, depth: int, width: int, peak: float) -> Recipe:
    table, section = f"{LLAMA_3}, Table 3", f"{LLAMA_3}, section 3.4.1"
    mark = "read" if size == "405B" else "assumed"
    return Recipe(
        name=f"llama-3-{size.lower()}",
        title=f"Llama 3 {size}",
        width=width,
        depth=depth,
        unit="steps",
        length=1_200_000,
        decay_end=1_200_000,
        schedule=ScheduleConfig("cosine", warmup=8000, floor=0.01),
        shape=Fact("linear warmup, cosine over 1,200,000 steps", section, mark),
        peak=Fact(peak, table, "read" if size == "405B" else "quoted"),
        floor=Fact(0.01, f"{section} (8e-7 for 8e-5)", "derived" if size == "405B" else "assumed"),
        warmup=Fact("8000 steps", section, mark),
        batch=Fact("4M tokens, 8M after 252M tokens, 16M after 2.87T", section, mark),
        tokens=Fact("15.6T", section, "quoted" if size == "405B" else "assumed"),
        weight_decay=Fact(None, UNSTATED),
        clip_norm=Fact(None, UNSTATED),
        betas=Fact(None, UNSTATED),
        eps=Fact(None, UNSTATED),
        remark="the rate then goes to 0 over the last 40M tokens"
        if size == "405B"
        else "the paper gives the schedule of 405B and says that 8B and 70B were trained alike",
    )


def _minicpm(size: str, depth: int, width: int, batch: str) -> Recipe:
    table, section = f"{MINICPM}, Table 2", f"{MINICPM}, section 6.2"
    return Recipe(
        name=f"minicpm-{size.lower()}",
        title=f"MiniCPM {size}",
        width=width,
        depth=depth,
        unit="steps",
        length=280_000,
        decay_end=280_000,
        # 1.1T tokens of 3.93M each; the last 0.1T halve the rate every 5000 steps: 25,500 steps, 5.1 times
        schedule=ScheduleConfig(
            "wsd", warmup=0.0, floor=0.5 ** (25_500 / 5000), decay_fraction=25_500 / 280_000, cooldown="exponential"
        ),
        shape=Fact("constant for 1T tokens, then halved every 5000 steps (20B tokens)", section),
        peak=Fact(0.01, f"{section}; the base rate of muP", "read"),
        floor=Fact("0.03", f"{section}: 0.1T tokens of halving", "derived"),
        warmup=Fact(None, f"{UNSTATED} (none is drawn)"),
        batch=Fact(batch, f"{table}; {section}"),
        tokens=Fact("1.1T", table),
        weight_decay=Fact(None, UNSTATED),
        clip_norm=Fact(None, UNSTATED),
        betas=Fact(None, UNSTATED),
        eps=Fact(None, UNSTATED),
        parametrization="mup",
        base_width=256,
        remark="trained in muP: hidden matrices at the peak times 256/width (base width by its public configurations), "
        "embeddings times 12, residual branches times 1.4/sqrt(depth), initial std 0.1 (appendix A.1, quoted)",
    )


def _deepseek(size: str, depth: int, width: int, peak: float, sequences: int, tokens_per_step: str) -> Recipe:
    section, readme = f"{DEEPSEEK}, section 2.3", f"{DEEPSEEK} and its repository's README"
    steps = round(2e12 / (sequences * 4096))
    return Recipe(
        name=f"deepseek-{size.lower()}",
        title=f"DeepSeek LLM {size}",
        width=width,
        depth=depth,
        unit="steps",
        length=steps,
        decay_end=steps,
        # its fractions are of all tokens, the schedule's of what follows the warmup
        schedule=ScheduleConfig(
            "step", warmup=2000, decay_fraction=0.2 * steps / (steps - 2000), drops=2, gamma=0.1**0.5
        ),
        shape=Fact("linear warmup, constant, 31.6% from 80% of the tokens on, 10% from 90% on", section),
        peak=Fact(peak, readme),
        floor=Fact(0.1, section),
        warmup=Fact("2000 steps", section),
        batch=Fact(f"{tokens_per_step} tokens ({sequences} sequences of 4096)", readme),
        tokens=Fact("2.0T", readme),
        weight_decay=Fact(0.1, section),
        clip_norm=Fact(1.0, section),
        betas=Fact("0.9, 0.95", section),
        eps=Fact(None, UNSTATED),
    )


_GOPHER = Recipe(
    name="gopher-280b",
    title="Gopher 280B",
    width=16384,
    depth=80,
    unit="million tokens",
    length=300_000,
    decay_end=300_000,
    schedule=ScheduleConfig("cosine", warmup=4500, floor=0.1),
    shape=Fact("linear warmup, cosine to a tenth; drawn over all of the tokens", f"{GOPHER}, section 3.1", "quoted"),
    peak=Fact(4e-5, f"{CHINCHILLA}, Table 4"),
    floor=Fact(0.1, f"{GOPHER}, section 3.1", "quoted"),
    warmup=Fact("1500 steps from 1e-7 (4.5B tokens at 3M)", f"{GOPHER}, section 3.1", "quoted"),
    batch=Fact("3M tokens, 6M from midway", f"{CHINCHILLA}, Table 4"),
    tokens=Fact("300B", f"{GOPHER}, section 3.1", "quoted"),
    weight_decay=Fact(None, f"{UNSTATED} (Adam, not AdamW)"),
    clip_norm=Fact(0.25, f"{GOPHER}, section 3.1 (1 below 7.1B)", "quoted"),
    betas=Fact(None, UNSTATED),
    eps=Fact(None, UNSTATED),
)

_CHINCHILLA = replace(
    _GOPHER,
    name="chinchilla-70b",
    title="Chinchilla 70B",
    width=8192,
    length=1_400_000,
    decay_end=1_400_000,
    schedule=ScheduleConfig("cosine", warmup=2250, floor=0.1),
    shape=Fact("as Gopher, with the cosine as long as the run", f"{CHINCHILLA}, section 4.1 and appendix B"),
    peak=Fact(1e-4, f"{CHINCHILLA}, Table 4"),
    floor=Fact(0.1, f"{CHINCHILLA}, appendix B", "quoted"),
    warmup=Fact("1500 steps (2.25B tokens at 1.5M)", f"{GOPHER}, section 3.1: the setup is Gopher's", "assumed"),
    batch=Fact("1.5M tokens, 3M from midway", f"{CHINCHILLA}, Table 4"),
    tokens=Fact("1.4T", f"{CHINCHILLA}, Table 1", "quoted"),
    weight_decay=Fact(None, f"{UNSTATED} (AdamW)"),
    clip_norm=Fact(None, UNSTATED),
    remark="a cosine more than 25% longer than the run costs loss; a tenth as the floor is slightly better than 0 "
    "(appendix B, quoted)",
)

FAMILIES: Mapping[str, tuple[Recipe, ...]] = {
    "GPT-3": (
        _gpt3("125M", 12, 768, 6e-4, "0.5M"),
        _gpt3("350M", 24, 1024, 3e-4, "0.5M"),
        _gpt3("760M", 24, 1536, 2.5e-4, "0.5M"),
        _gpt3("1.3B", 24, 2048, 2e-4, "1M"),
        _gpt3("2.7B", 32, 2560, 1.6e-4, "1M"),
        _gpt3("6.7B", 32, 4096, 1.2e-4, "2M"),
        _gpt3("13B", 40, 5140, 1e-4, "2M"),
        _gpt3("175B", 96, 12288, 0.6e-4, "3.2M"),
    ),
    "Gopher": (_GOPHER,),
    "Chinchilla": (_CHINCHILLA,),
    "LLaMA": (
        _llama1("7B", 32, 4096, 3e-4, "1.0T", 250_000),
        _llama1("13B", 40, 5120, 3e-4, "1.0T", 250_000),
        _llama1("33B", 60, 6656, 1.5e-4, "1.4T", 350_000),
        _llama1("65B", 80, 8192, 1.5e-4, "1.4T", 350_000),
    ),
    "Llama 2": (
        _llama2("7B", 32, 4096, 3e-4),
        _llama2("13B", 40, 5120, 3e-4),
        _llama2("34B", 48, 8192, 1.5e-4),
        _llama2("70B", 80, 8192, 1.5e-4),
    ),
    "Llama 3": (
        _llama3("8B", 32, 4096, 3e-4),
        _llama3("70B", 80, 8192, 1.5e-4),
        _llama3("405B", 126, 16384, 8e-5),
    ),
    "MiniCPM": (_minicpm("1.2B", 52, 1536, "2M tokens, later 4M"), _minicpm("2.4B", 40, 2304, "3.93M tokens")),
    "DeepSeek LLM": (
        _deepseek("7B", 30, 4096, 4.2e-4, 2304, "9.4M"),
        _deepseek("67B", 95, 8192, 3.2e-4, 4608, "18.9M"),
    ),
}

RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for family in FAMILIES.values() for recipe in family}
"""By name."""
