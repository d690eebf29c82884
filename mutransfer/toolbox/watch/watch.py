"""Watching a run: what its updates, gradients, activations and attention logits are, at every so many steps.

Hooks are there during a watched step alone, change nothing that is trained on and draw no random numbers, so a watched
run has the bits of one that is not. What they find stays on the device and is fetched once, at the step's end; at the
other steps nothing is computed and nothing is waited for.

    B batch, T time, H heads, G key/value heads, D head_dim
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mutransfer.checks import positive
from mutransfer.toolbox.watch.observed import Observation, Values
from mutransfer.toolbox.watch.sinks import Sink
from mutransfer.toolbox.watch.spikes import SpikeScore

EVERY = 20

Names = Mapping[nn.Parameter, str]


@runtime_checkable
class ExposesLogits(Protocol):
    """Attention whose logits can be seen: it takes its queries (B, H, T, D) and keys (B, G, T, D) from a method of its
    own, multiplies their products by `attention_scale`, and is causal."""

    attention_scale: float

    def queries_and_keys(self, *inputs: Any) -> tuple[Tensor, Tensor]: ...


class Scaler(Protocol):
    """What scales a loss in float16."""

    def get_scale(self) -> float: ...


class Told:
    """What a loop tells of a step: `loss`, a scalar tensor (which is not waited for) or a number."""

    loss: Tensor | float | None = None


class Found:
    """Scalars on the device, by quantity and name, one for each time that they were met with."""

    def __init__(self, model: nn.Module) -> None:
        modules = [_called(path, module) for path, module in model.named_modules()]
        self._order = [*(name for name, _ in model.named_parameters()), *modules]
        self._scalars: list[tuple[str, str, Tensor]] = []

    def add(self, quantity: str, name: str, scalar: Tensor) -> None:
        self._scalars.append((quantity, name, scalar))

    def fetch(self, losses: Mapping[int, Tensor | float]) -> tuple[dict[int, float], dict[str, Values]]:
        """The losses by step, and each quantity by name, in the model's order, as numbers: all in one transfer."""
        waiting = [each for each in losses.values() if isinstance(each, Tensor)]
        waiting += [scalar for _, _, scalar in self._scalars]
        together = [each.reshape(()).to(waiting[0].device) for each in waiting]
        numbers = iter(torch.stack(together).tolist() if together else ())
        told = {step: next(numbers) if isinstance(loss, Tensor) else loss for step, loss in losses.items()}
        met: dict[str, dict[str, list[float]]] = {quantity: {} for quantity in REDUCE}
        for (quantity, name, _), number in zip(self._scalars, numbers, strict=True):
            met[quantity].setdefault(name, []).append(number)
        return told, {
            quantity: {name: _finite(REDUCE[quantity](found[name])) for name in self._order if name in found}
            for quantity, found in met.items()
        }


class Watch:
    """Watches every so many steps of a loop, whatever the loop:

        watch = Watch(model, optimizer, sinks=[json_lines("watch.jsonl")])
        for step in range(steps):
            with watch.step(step) as told:
                told.loss = ...  # forward, backward, clipping, optimizer.step()
        watch.close()

    `spikes` holds the spikes of the losses told up to the last watched step, `skipped` counts the watched steps that
    had gradients and no update, as a loss scaler leaves them.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
        every: int = EVERY,
        sinks: Sequence[Sink] = (),
        scaler: Scaler | None = None,
    ) -> None:
        """
        Args:
            model: whose parameters and modules are watched. Of one that torch.compile has made, activations and
                attention logits may be missing: compiled code may leave out hooks.
            optimizer: that updates them, or several. At a watched step it finds its parameters copied.
            every: the steps between watched ones, the first of which is step 0.
            sinks: functions, each of which gets every `Observation` in the step that it is of.
            scaler: what scales the loss in float16 (torch.amp.GradScaler, or another with `get_scale`): gradients are
                seen without its scale, and watched steps that it skips are counted in `skipped`.

        Raises:
            ValueError: where `every` is not above 0.
        """
        positive("every", every)
        self.spikes = SpikeScore()
        self.skipped = 0
        self._scaler = scaler
        self._model = model
        self._optimizers = [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else list(optimizer)
        self._every = every
        self._sinks = list(sinks)
        self._losses: dict[int, Tensor | float] = {}

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[Told]:
        """Around a whole step, from the forward pass to the update: what lies outside is not seen."""
        told = Told()
        if step % self._every:
            yield told
            self._keep(step, told)
            return
        found = Found(self._model)
        scale = 1.0 if self._scaler is None else float(self._scaler.get_scale())
        with _hooks(self._model, self._optimizers, found, scale):
            yield told
        self._keep(step, told)
        self._observe(step, found)

    def close(self) -> None:
        """At the end of the run: hand on the losses told since the last watched step, with nothing else."""
        if self._losses:
            self._observe(max(self._losses), Found(self._model))

    def _keep(self, step: int, told: Told) -> None:
        if told.loss is not None:
            # a copy, since the loss of a captured graph is overwritten by the next step
            self._losses[step] = told.loss.detach().clone() if isinstance(told.loss, Tensor) else told.loss

    def _observe(self, step: int, found: Found) -> None:
        losses, quantities = found.fetch(self._losses)
        self._losses = {}
        skipped = bool(quantities["grad_norm"]) and not quantities["update_norm"]
        self.skipped += skipped
        for at, loss in losses.items():
            self.spikes.see(at, loss)
        observation = Observation(
            step=step,
            losses=[[at, _finite(loss)] for at, loss in losses.items()],
            spike_score=self.spikes.percent,
            unrecovered=self.spikes.unrecovered,
            skipped=skipped,
            **quantities,
        )
        for sink in self._sinks:
            sink(observation)


@contextlib.contextmanager
def _hooks(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], found: Found, scale: float) -> Iterator[None]:
    """Hooks that fill `found`, for as long as this is open; backward leaves gradients times `scale`."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    with contextlib.ExitStack() as stack:
        for path, module in model.named_modules():
            called = _called(path, module)
            if path.rpartition(".")[2].isdigit() or next(module.parameters(recurse=False), None) is not None:
                stack.callback(module.register_forward_hook(partial(_see_output, found, called)).remove)
            if isinstance(module, ExposesLogits):
                stack.enter_context(_listening(module, partial(_see_logits, found, called, module)))
        for parameter, name in names.items():
            if parameter.requires_grad:
                seen = partial(_see_gradient, found, "grad_norm", name, scale)
                stack.callback(parameter.register_post_accumulate_grad_hook(seen).remove)  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            before: dict[nn.Parameter, Tensor] = {}
            stack.callback(optimizer.register_step_pre_hook(partial(_see_weights, found, names, before)).remove)
            stack.callback(optimizer.register_step_post_hook(partial(_see_update, found, names, before)).remove)
        yield


@contextlib.contextmanager
def _listening(module: ExposesLogits, hear: Callable[[Tensor, Tensor], None]) -> Iterator[None]:
    """Hear the queries and keys that a module makes. Making them again would cost more, and could draw random numbers
    or leave weights without gradients in the cache of autocast."""
    make, own = module.queries_and_keys, "queries_and_keys" in vars(module)

    def made(*inputs: Any, **named: Any) -> tuple[Tensor, Tensor]:
        q_BHTD, k_BGTD = make(*inputs, **named)
        hear(q_BHTD, k_BGTD)
        return q_BHTD, k_BGTD

    module.queries_and_keys = made  # type: ignore[method-assign]
    try:
        yield
    finally:
        del module.queries_and_keys
        if own:
            module.queries_and_keys = make  # type: ignore[method-assign]


def _called(path: str, module: nn.Module) -> str:
    return path or type(module).__name__


def _see_output(found: Found, path: str, _: nn.Module, __: Any, output: Any) -> None:
    x = output[0] if isinstance(output, tuple) and output else output
    if isinstance(x, Tensor) and x.is_floating_point() and x.numel():
        found.add("activation", path, _norm(x.detach()) / math.sqrt(x.numel()))


def _see_logits(found: Found, path: str, module: ExposesLogits, q_BHTD: Tensor, k_BGTD: Tensor) -> None:
    heads, per_key = q_BHTD.shape[1], q_BHTD.shape[1] // k_BGTD.shape[1]
    with torch.no_grad(), torch.autocast(q_BHTD.device.type, enabled=False):
        for head in range(heads):  # one by one: the logits of all heads at once may not fit
            q_BTD, k_BTD = _wide(q_BHTD[:, head]), _wide(k_BGTD[:, head // per_key])
            found.add("attention_logit", path, (module.attention_scale * (q_BTD @ k_BTD.mT)).tril().abs().amax())


def _see_gradient(found: Found, quantity: str, name: str, scale: Tensor | float, parameter: Tensor) -> None:
    if parameter.grad is not None:
        gradient = parameter.grad.detach()
        found.add(quantity, name, _norm(gradient.coalesce().values() if gradient.is_sparse else gradient) / scale)


def _see_weights(found: Found, names: Names, before: dict[nn.Parameter, Tensor], optimizer: Any, *_: Any) -> None:
    # fused optimizers get their gradients scaled, and the scale beside them
    scale = 1.0 if getattr(optimizer, "grad_scale", None) is None else optimizer.grad_scale
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter in names:  # some optimizers scale gradients in place, so these are seen here
                before[parameter] = parameter.detach().clone()
                found.add("weight_norm", names[parameter], _norm(parameter.detach()))
                _see_gradient(found, "clipped_grad_norm", names[parameter], scale, parameter)


def _see_update(found: Found, names: Names, before: dict[nn.Parameter, Tensor], optimizer: Any, *_: Any) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter not in names or parameter.grad is None:
                continue
            name = names[parameter]
            found.add("update_norm", name, _norm(_wide(parameter.detach()) - before.pop(parameter)))
            if parameter in optimizer.state:  # asking for what is not there would make it
                _see_epsilon(found, name, optimizer.state[parameter], group)


def _see_epsilon(found: Found, name: str, state: Mapping[str, Any], group: Mapping[str, Any]) -> None:
    if {"exp_avg_sq", "step"} <= state.keys() and {"eps", "betas"} <= group.keys():
        second = state["max_exp_avg_sq" if "max_exp_avg_sq" in state else "exp_avg_sq"]
        debias = (1 - group["betas"][1] ** state["step"]) ** 0.5
        found.add("eps_share", name, (second.sqrt() <= group["eps"] * debias).count_nonzero() / second.numel())


def _wide(x: Tensor) -> Tensor:
    """In float32 or wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _norm(x: Tensor) -> Tensor:
    """The Euclidean norm, summed in float32 or wider."""
    norm: Tensor = torch.linalg.vector_norm(x, dtype=torch.promote_types(x.dtype, torch.float32))
    return norm


def _last(numbers: Sequence[float]) -> float:
    return numbers[-1]


REDUCE: Mapping[str, Callable[[Sequence[float]], float]] = {
    "weight_norm": _last,
    "update_norm": _last,
    "grad_norm": _last,
    "clipped_grad_norm": _last,
    "eps_share": _last,
    "activation": lambda numbers: math.hypot(*numbers) / math.sqrt(len(numbers)),
    "attention_logit": lambda numbers: math.nan if any(map(math.isnan, numbers)) else max(numbers),
}
"""What is made of a quantity that was met with several times in a step: micro-batches, heads, modules used twice. A
gradient is then the one that had accumulated."""


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
