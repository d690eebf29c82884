"""The coordinate check: how the change of each module's output since initialization scales with width.

After t updates by Adam on one repeated batch, RMS(x_t - x_0) of attention, MLP and logits is independent of width under
muP and grows with it under SP (Tensor Programs V, appendix D.1 and figure 5). The readout starts at zero, so the first
update moves the logits alone, and the hidden modules move from the second on.

B batch, T time, C width or vocabulary
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import torch
from gates import Measurement, Quantity
from place import Place
from torch import Tensor, nn

from measures.intervals import log_slope
from measures.training import start
from mutransfer import InitConfig, ModelConfig, ScheduleConfig, SweepConfig
from mutransfer.config import Arm, Scale
from mutransfer.data import sample_batch

Series = dict[tuple[str, int], list[list[float]]]
"""By (module, updates): a row for each seed, a size for each width."""


@dataclass(frozen=True)
class CoordinateCheck:
    """`lr` is constant from the first update on; sizes are looked at after 2 to `updates` updates, the logits' from the
    first on."""

    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    lr: float = 2.0**-8
    updates: int = 4
    seeds: int = 5
    batch_size: int = 4

    def measure(self, place: Place) -> Measurement:
        found: dict[str, Quantity] = {}
        words = []
        for name in ("mup", "sp"):
            slopes = self._slopes(self._changes(name, place))
            worst = max(slopes, key=lambda at: abs(slopes[at].estimate or 0.0))
            least = min(slopes, key=lambda at: slopes[at].estimate or 0.0)
            found[f"{name}: largest slope in absolute value"] = slopes[worst]
            found[f"{name}: least slope"] = slopes[least]
            words.append(
                f"{name}: largest in {worst[0]} after {worst[1]} updates, least in {least[0]} after {least[1]}"
            )
        for name, base in (("mup", "fan_in"), ("sp", "fan_in"), ("sp_fixed_std", "fixed_std")):
            found[f"{name}: slope of the logits at initialization"] = self._logits_at_start(name, base, place)
        return Measurement(
            found,
            f"{'; '.join(words)}; Adam at a constant 2^{torch.tensor(self.lr).log2().item():g} on one batch of "
            f"{self.batch_size} x {ModelConfig.context} tokens, widths {', '.join(map(str, self.widths))}, "
            f"{self.seeds} seeds",
        )

    def _sweep(self) -> SweepConfig:
        return SweepConfig(
            widths=self.widths,
            steps=self.updates,
            batch_size=self.batch_size,
            schedule=ScheduleConfig("constant", warmup=0.0),
        )

    def _tokens(self, seed: int, place: Place) -> Tensor:
        return torch.from_numpy(sample_batch(place.corpus.train, seed, 0, self.batch_size, ModelConfig.context))

    def _changes(self, name: str, place: Place) -> Series:
        """RMS of the change of every module's output, by updates."""
        series: Series = defaultdict(lambda: [[] for _ in range(self.seeds)])
        for seed in range(self.seeds):
            tokens_BT1 = self._tokens(seed, place)
            for width in self.widths:
                training = start(self._sweep().trial(Arm(name, name), Scale(width), self.lr, seed), tokens_BT1)
                before = outputs(training.built.model, tokens_BT1)
                for updates, _ in training.steps(self.updates):
                    for module, x_BTC in outputs(training.built.model, tokens_BT1).items():
                        if updates > 1 or module == "readout":
                            series[module, updates][seed].append(rms(x_BTC - before[module]))
        return series

    def _slopes(self, series: Series) -> dict[tuple[str, int], Quantity]:
        return {at: log_slope(self.widths, sizes) for at, sizes in series.items()}

    def _logits_at_start(self, name: str, base: str, place: Place) -> Quantity:
        """With a random readout, whose logits muP expects to vanish as width^-1/2."""
        sweep = replace(
            self._sweep(), model=ModelConfig(zero_readout=False, output_mult=1.0), init=InitConfig(base=base)
        )
        sizes: list[list[float]] = []
        for seed in range(self.seeds):
            tokens_BT1 = self._tokens(seed, place)
            models = [
                start(sweep.trial(Arm(name, name), Scale(width), self.lr, seed), tokens_BT1).built.model
                for width in self.widths
            ]
            sizes.append([rms(outputs(model, tokens_BT1)["readout"]) for model in models])
        return log_slope(self.widths, sizes)


def outputs(model: nn.Module, tokens_BT1: Tensor) -> dict[str, Tensor]:
    """The output of every attention, every MLP and the readout on a batch, by module name."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], x_BTC: Tensor) -> None:
            found[name] = x_BTC.detach()

        return model.get_submodule(name).register_forward_hook(hook)

    watched = [name for name, _ in model.named_modules() if name.endswith((".attention", ".mlp")) or name == "readout"]
    handles = [keep(name) for name in watched]
    with torch.no_grad():
        model(tokens_BT1[:, :-1])
    for handle in handles:
        handle.remove()
    return found


def rms(x: Tensor) -> float:
    return x.double().square().mean().sqrt().item()
