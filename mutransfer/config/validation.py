"""What cannot be run, told in a line: each choice of a sweep by itself, then those that do not go together."""

from __future__ import annotations

import dataclasses
import math

from mutransfer.checks import all_used, of_its_types, one_of, positive, several
from mutransfer.config.arm import Arm, plain_name
from mutransfer.config.execution import validate_execution
from mutransfer.config.model import ModelConfig
from mutransfer.config.scale import DIMENSIONS, SWEPT
from mutransfer.config.searches import PRUNES, ROUND, SAMPLED, SEARCHES
from mutransfer.config.sweep import SweepConfig
from mutransfer.config.trial import DTYPES, LOSSES, InitConfig, TrialConfig
from mutransfer.theory.parametrizations import TABLES, Depth

EXECUTORS = ("ray", "inprocess")
DEVICES = ("auto", "cpu", "cuda")

POSITIVE = (
    *("base_width", "base_depth", "seeds", "steps", "batch_size", "eval_batches", "n_trials"),
    *("tolerance", "target_se", "budget"),
)
"""Fields that are numbers above 0."""


def validate(config: SweepConfig) -> None:
    """Raises ValueError, in one line, on a sweep that cannot be run."""
    of_its_types("", config)
    if config.out == "":
        raise ValueError("found an empty out; wanted a folder")
    if not plain_name(config.experiment):
        raise ValueError(f"found experiment {config.experiment!r}; wanted a plain name, without a slash: rename it")
    for arm in config.arms:
        arm.validate()
    _validate_choices(config)
    _validate_scales(config)
    trained: dict[TrialConfig, str] = {}
    for arm in config.arms:
        trial = config.trial(arm, config.scales[0], config.lrs[0], 0)
        if trial in trained:
            raise ValueError(f"expected arms that differ, got {trained[trial]!r} and {arm.name!r} alike; remove one")
        trained[trial] = arm.name
        if arm.changes:
            changed = config.for_arm(arm)
            try:
                validate(changed)
            except ValueError as error:
                raise ValueError(f"in arm {arm.name}: {error}") from None
    if config.space:
        _validate_space(config)
    if config.prune != "none":
        _validate_pruning(config)
    config.init.validate()
    config.optimizer.validate()
    config.schedule.validate()
    for scale in config.scales:
        _validate_combinations(config.at(scale))


def _validate_choices(config: SweepConfig) -> None:
    """Raises ValueError on a name that is not known, and on a number that cannot be."""
    several("arms", tuple(arm.name for arm in config.arms))
    several("lrs", config.lrs)
    one_of("search", config.search, SEARCHES)
    one_of("executor", config.executor, EXECUTORS)
    one_of("device", config.device, DEVICES)
    one_of("dtype", config.dtype, DTYPES)
    one_of("loss", config.loss, LOSSES)
    one_of("prune", config.prune, PRUNES)
    for lr in config.lrs:
        if not (math.isfinite(lr) and lr > 0):
            raise ValueError(f"found lr {lr:g}; wanted a finite number above 0, such as 2^-7 or 0.003")
    if SEARCHES[config.search].drawn and len(config.lrs) < 2:
        raise ValueError(
            f"found one rate, {config.lrs[0]:g}, for search {config.search}; wanted a range: give more --lrs, or "
            "--search grid for that rate alone"
        )
    for name in POSITIVE:
        positive(name, getattr(config, name))
    if config.cohort_size is not None:
        positive("cohort_size", config.cohort_size)
    validate_execution(config.execution, config.device, config.cohort_size)
    gpus = config.gpus_per_trial
    if gpus is not None:
        positive("gpus_per_trial", gpus)
        if gpus > 1 and gpus % 1:
            raise ValueError(f"found gpus_per_trial {gpus}; wanted a fraction below 1 or a whole number")
    if not 0 < config.final_window <= 1:
        raise ValueError(f"found final_window {config.final_window}; wanted above 0 and at most 1")
    if not (math.isfinite(config.z_loss) and config.z_loss >= 0):
        raise ValueError(f"found z_loss {config.z_loss}; wanted 0 or more")


def _validate_scales(config: SweepConfig) -> None:
    """Raises ValueError on sizes that cannot be, on scales that are given twice, and on a size that is given in two
    places."""
    lists = {name: getattr(config, DIMENSIONS[name].sizes) for name in SWEPT}
    several("widths", config.widths)
    for name, sizes in lists.items():
        for size in sizes:
            positive(name, size)
        if sizes:
            several(DIMENSIONS[name].sizes, sizes)
    if config.ladder:
        _validate_ladder(config)
    if config.build and "depth" in config.listed:
        raise ValueError("expected widths for a model of your own, which is built at one, got depths; leave them out")
    for name in config.listed:
        if name == "width":
            continue
        part = config.model if name == "depth" else config
        by_all = not config.ladder or all(getattr(scale, name) is not None for scale in config.ladder)
        if by_all and getattr(part, name) != getattr(type(part), name):
            where = "the ladder" if config.ladder else DIMENSIONS[name].sizes
            raise ValueError(
                f"expected the {DIMENSIONS[name].word} in {where} alone, got {DIMENSIONS[name].field} "
                f"{getattr(part, name)} as well; leave it out"
            )


def _validate_ladder(config: SweepConfig) -> None:
    """Raises ValueError on a list of scales that cannot be trained one by one."""
    for scale in config.ladder:
        unknown = [name for name in scale.known if name not in SWEPT]
        if unknown or not scale.known:
            got = f"{unknown[0]} {scale[unknown[0]]:g}" if unknown else "none of these"
            raise ValueError(f"expected a ladder of {', '.join(SWEPT)}, got {got}; give what a run is to have")
        for name in scale.known:
            size = scale[name]
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise ValueError(f"expected {name} in the ladder to be a whole number above 0, got {size!r}; mend it")
    twice = sorted({scale for scale in config.scales if config.scales.count(scale) > 1})
    if twice:
        raise ValueError(f"expected each scale once in the ladder, got {twice[0].describe()} twice; remove one")
    defaults = {name: getattr(SweepConfig, DIMENSIONS[name].sizes) for name in SWEPT}
    for name in SWEPT:
        sizes = getattr(config, DIMENSIONS[name].sizes)
        if sizes != defaults[name] and (name != "width" or "width" in config.listed):
            raise ValueError(f"expected a ladder or {DIMENSIONS[name].sizes}, got both; leave one out")
    if "width" not in config.listed and len(config.widths) > 1:
        raise ValueError(
            f"expected one width for a ladder whose scales have none, got {len(config.widths)}; give a width to each "
            "scale, or one in widths to all"
        )


def _validate_space(config: SweepConfig) -> None:
    """Raises ValueError on a sweep whose space cannot be searched: its ends are tried one by one in every arm."""
    for each in config.space:
        each.validate()
    several("space", tuple(each.name for each in config.space))
    if config.search not in SAMPLED:
        raise ValueError(
            f"found a space with search {config.search}, which tries rates alone; wanted one of {', '.join(SAMPLED)}: "
            "give --search"
        )
    if len(config.scales) > 1:
        first = DIMENSIONS[config.dimensions[0]]
        found = f"{len(config.scales)} {first.words if len(config.dimensions) == 1 else 'scales'}"
        raise ValueError(f"found a space with {found}; wanted one, the proxy's: give --{first.sizes.replace('_', '-')}")
    for arm in config.arms:
        twice = {name for name, _ in arm.changes} & {each.name for each in config.space}
        if twice:
            raise ValueError(f"found {min(twice)} in arm {arm.name} and in the space; wanted it once: leave one out")
        for name, value in ((each.name, end) for each in config.space for end in (each.low, each.high)):
            at_end = dataclasses.replace(arm, changes=(*arm.changes, (name, value)))
            try:
                validate(dataclasses.replace(config.for_arm(at_end), space=(), prune="none"))
            except ValueError as error:
                raise ValueError(f"at the end {value:g} of {name}: {error}") from None


def _validate_pruning(config: SweepConfig) -> None:
    """Raises ValueError on a sweep whose trials cannot be pruned, or must not be."""
    if not config.space:
        raise ValueError(
            f"found prune {config.prune} with search {config.search} over the rate alone, whose optimum it would bias: "
            "early losses favour larger rates; wanted a search over several hyperparameters: give --space, or leave "
            "--prune out"
        )
    if config.n_trials % ROUND:
        raise ValueError(
            f"found n_trials {config.n_trials} with prune {config.prune}, which compares {ROUND} settings at a time; "
            f"wanted a multiple of {ROUND}: give --n-trials {-(-config.n_trials // ROUND) * ROUND}"
        )
    for arm in config.arms:
        steps = config.for_arm(arm).at(config.scales[0]).steps
        if steps < ROUND:
            raise ValueError(f"found {steps} steps with prune {config.prune}; wanted {ROUND} or more: raise steps")


def _validate_combinations(config: SweepConfig) -> None:
    """Raises ValueError on choices that do not go together, of a sweep at one scale."""
    config.optimizer.validate_schedule(config.schedule)
    if config.schedule.warmup_steps(config.steps) >= config.steps:
        raise ValueError(
            f"found a warmup of {config.schedule.warmup_steps(config.steps)} steps in a run of {config.steps}; wanted "
            "it shorter than the run: lower schedule.warmup or raise steps"
        )
    model = config.model
    if model.width != ModelConfig.width:
        raise ValueError(f"found model.width {model.width}, which a sweep sets itself; give --widths {model.width}")
    if config.z_loss and config.loss != "cross_entropy":
        raise ValueError(f"found z_loss {config.z_loss} with loss {config.loss}, which has no softmax; leave it out")
    if config.execution in ("graph", "compiled") and config.optimizer.spec.curved:
        raise ValueError(
            f"found execution {config.execution} with {config.optimizer.name}, which looks at the curvature; wanted "
            "eager, or auto"
        )
    if config.execution == "graph" and config.build:
        raise ValueError(f"found execution graph with {config.build}; wanted eager, compiled or auto")
    if config.build:
        _validate_own(config)
        return
    used = {"readout_scale": not model.zero_readout, "embedding_std": not model.tied_embeddings}
    all_used("init.", config.init, used, "a zero readout" if model.zero_readout else "a tied embedding")
    mlp = model.architecture == "mlp"
    unused = {"position_std": model.positions == "learned" and not mlp, "residual_scaling": not mlp}
    all_used("init.", config.init, unused, "the mlp" if mlp else "rope")
    for width in (*config.widths, config.base_width):
        dataclasses.replace(config.model, width=width).validate()
    for arm in config.arms:
        _validate_table(config, arm)


def _validate_own(config: SweepConfig) -> None:
    """Raises ValueError on what a model of one's own sets itself, and on tables that only our own models have."""
    module, _, function = config.build.partition(":")
    if not (module and function):
        raise ValueError(f"found build {config.build!r}; wanted a function by name, such as my_package.my_module:build")
    mine = "a model of your own"
    used = ("width", "context", "vocab")
    all_used("model.", config.model, {each.name: each.name in used for each in dataclasses.fields(ModelConfig)}, mine)
    all_used("init.", config.init, {each.name: False for each in dataclasses.fields(InitConfig)}, mine)
    all_used("", config, {"base_depth": False}, mine)
    for name in used:
        positive(f"model.{name}", getattr(config.model, name))
    for arm in config.arms:
        if TABLES[arm.parametrization].depth != Depth():
            raise ValueError(f"found {arm.parametrization} with {mine}; wanted a table for any model: use mup")


def _validate_table(config: SweepConfig, arm: Arm) -> None:
    """Raises ValueError on a model that an arm's table has no rules for."""
    name, table = arm.parametrization, TABLES[arm.parametrization]
    if config.model.tied_embeddings and not table.ties:
        raise ValueError(
            f"found tied_embeddings with {name}, which has no one rate for them; wanted a table that has, or "
            "untied embeddings: use mup, or set model.tied_embeddings to False"
        )
    if config.model.architecture == "mlp" and table.for_depth:
        raise ValueError(f"found {name} with the mlp, which has no residual blocks; wanted a transformer, or mup")
    if table.absolute and config.init != InitConfig():
        raise ValueError(f"found init settings with {name}, which starts every weight at std 1; leave them out")
