"""Optimizers, schedules and clipping. Names load when first used: schedules are without torch, what reads them too."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mutransfer.optim.averaging import averaged_weights
    from mutransfer.optim.clipping import clip_grad_norm_
    from mutransfer.optim.curvature import backward_twice, needs_curvature, twice_differentiable
    from mutransfer.optim.group_rates import (
        check_group_rates,
        lower_momentum,
        reduce_on_plateau,
        scheduler,
        set_group_rates,
    )
    from mutransfer.optim.layerwise import layer_decay, role_mults, scale_rates
    from mutransfer.optim.makers import build_optimizer
    from mutransfer.optim.schedules import (
        growth_at,
        momentum_fall,
        rewarmup_factor,
        rewarmup_steps,
        schedule_factor,
        shared_steps,
    )

_HOMES = {
    "averaging": ("averaged_weights",),
    "clipping": ("clip_grad_norm_",),
    "curvature": ("backward_twice", "needs_curvature", "twice_differentiable"),
    "group_rates": ("check_group_rates", "lower_momentum", "reduce_on_plateau", "scheduler", "set_group_rates"),
    "layerwise": ("layer_decay", "role_mults", "scale_rates"),
    "makers": ("build_optimizer",),
    "schedules": (
        "growth_at",
        "momentum_fall",
        "rewarmup_factor",
        "rewarmup_steps",
        "schedule_factor",
        "shared_steps",
    ),
}

_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "averaged_weights",
    "backward_twice",
    "build_optimizer",
    "check_group_rates",
    "clip_grad_norm_",
    "growth_at",
    "layer_decay",
    "lower_momentum",
    "momentum_fall",
    "needs_curvature",
    "reduce_on_plateau",
    "rewarmup_factor",
    "rewarmup_steps",
    "role_mults",
    "scale_rates",
    "schedule_factor",
    "scheduler",
    "set_group_rates",
    "shared_steps",
    "twice_differentiable",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mutransfer.optim' has no attribute {name!r}")
    return getattr(import_module(f"mutransfer.optim.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
