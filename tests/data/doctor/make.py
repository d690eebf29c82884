"""The recorded runs of this folder: small real trainings, each healthy or with one thing wrong on purpose.

    python tests/data/doctor/make.py [NAME ...]     trains them again (a minute and a half on one core)

`lm_*` train the project's own transformer on the standard library's source, `digits_*` an MLP on scikit-learn's digits.
Losses are nats but for `*_squared`, whose unit is its own.
"""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from mutransfer.config import ModelConfig, OptimizerConfig, Scale, ScheduleConfig, SweepConfig, TrialConfig
from mutransfer.data import Corpus, load_corpus, sample_batch
from mutransfer.optim import schedule_factor, set_group_rates
from mutransfer.training.evaluation import evaluate
from mutransfer.training.losses import training_loss
from mutransfer.training.trainer import build, make_optimizer

EVERY = 10
"""Steps between measurements that are not made at every step."""

Row = dict[str, float]
Batch = Callable[[Corpus, TrialConfig, int], np.ndarray]


def fresh(corpus: Corpus, trial: TrialConfig, step: int) -> np.ndarray:
    return sample_batch(corpus.train, trial.seed, step, trial.batch_size, trial.model.context)


def two_forever(corpus: Corpus, trial: TrialConfig, step: int) -> np.ndarray:
    return fresh(corpus, trial, step % 2)


def noise_at_120(corpus: Corpus, trial: TrialConfig, step: int) -> np.ndarray:
    tokens = fresh(corpus, trial, step)
    return np.random.default_rng(0).integers(0, 256, tokens.shape) if step == 120 else tokens


def shuffled(corpus: Corpus, trial: TrialConfig, step: int) -> np.ndarray:
    tokens = fresh(corpus, trial, step)
    return np.random.default_rng(step).permuted(tokens, axis=None)


def language_model(
    lr: float,
    *,
    steps: int = 200,
    width: int = 32,
    parametrization: str = "mup",
    model: ModelConfig | None = None,
    optimizer: OptimizerConfig | None = None,
    schedule: ScheduleConfig | None = None,
    batch: Batch = fresh,
    stop_rate_at: int | None = None,
    jump: tuple[int, float] | None = None,
    tamper: Callable[[list[dict[str, Any]], nn.Module], None] | None = None,
    steady_decay: float = 0.0,
    seed: int = 0,
) -> Iterator[Row]:
    """Rows of a training run; `steady_decay` shrinks the matrices by so much at every step, whatever the rate does."""
    corpus, sweep = load_corpus("stdlib"), SweepConfig(base_width=32)
    trial = dataclasses.replace(
        sweep.trial(sweep.arms[1], Scale(width), lr, seed),
        parametrization=parametrization,
        steps=steps,
        model=dataclasses.replace(model or ModelConfig(), width=width),
        optimizer=optimizer or OptimizerConfig(),
        schedule=schedule or ScheduleConfig(),
        eval_batches=4,
    )
    built = build(trial, "cpu")
    made = make_optimizer(built, trial)
    if tamper:
        tamper(made.param_groups, built.model)
    matrices = {name: p for name, p in built.model.named_parameters() if p.ndim == 2}
    for step in range(steps):
        tokens = torch.from_numpy(batch(corpus, trial, step))
        ends = stop_rate_at or steps
        rate = lr * schedule_factor(trial.schedule, min(step, ends), ends)
        rate *= jump[1] if jump and step >= jump[0] else 1.0
        loss, plain = training_loss(built.model, tokens, trial)
        made.zero_grad()
        loss.backward()
        row = {"loss": plain.item(), "lr": rate}
        limit = trial.optimizer.clip_norm
        row["grad_norm"] = built.clip_grad_norm_(1e30 if limit is None else limit).item()
        row["clipped_grad_norm"] = row["grad_norm"] if limit is None else min(limit, row["grad_norm"])
        set_group_rates(made, rate)
        measured = step % EVERY == 0 or step == steps - 1
        before = {name: p.detach().clone() for name, p in matrices.items()} if measured else {}
        with torch.no_grad():
            for weight in matrices.values() if steady_decay else ():
                weight *= 1 - steady_decay
        made.step()
        if measured:
            row |= layer_norms(before, matrices) | epsilon_share(made)
            row |= {"val_loss": evaluate(built.model, trial, corpus, "cpu").loss or float("nan")}
        yield row
        if not np.isfinite(row["loss"]):
            return  # as a trainer would


def digits(
    lr: float,
    *,
    steps: int,
    loss: str = "cross_entropy",
    full_batch: bool = False,
    random_labels: bool = False,
    warmup: int = 0,
    momentum: float = 0.0,
    adam: bool = False,
    linear: bool = False,
    sharpness: bool = False,
) -> Iterator[Row]:
    """Rows of an MLP (64-64-64-10, tanh; or a linear map) trained on digits, the last 300 of them held out."""
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16 - 0.5, dtype=torch.float32), torch.tensor(labels)
    layers = [nn.Linear(64, 10)] if linear else [nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh()]
    model = nn.Sequential(*layers, *([] if linear else [nn.Linear(64, 10)]))
    optimizer = torch.optim.Adam(model.parameters(), lr) if adam else torch.optim.SGD(model.parameters(), lr, momentum)
    matrices = {name: p for name, p in model.named_parameters() if p.ndim == 2}
    draw = np.random.default_rng(0)

    def error(rows: Any, targets: Tensor) -> Tensor:
        if loss == "squared_error":
            return (model(x[rows]) - F.one_hot(targets, 10)).square().sum(1).mean()
        return F.cross_entropy(model(x[rows]), targets)

    for step in range(steps):
        rows = np.arange(500) if full_batch else draw.integers(0, 1497, 64)
        targets = torch.from_numpy(draw.integers(0, 10, len(rows))) if random_labels else y[rows]
        rate = lr * min(1.0, (step + 1) / warmup) if warmup else lr
        for group in optimizer.param_groups:
            group["lr"] = rate
        value = error(rows, targets)
        optimizer.zero_grad()
        value.backward()
        row = {"loss": value.item(), "lr": rate}
        row["grad_norm"] = float(torch.stack([p.grad.norm() for p in model.parameters()]).norm())
        measured = step % EVERY == 0 or step == steps - 1
        before = {name: p.detach().clone() for name, p in matrices.items()} if measured else {}
        if measured and sharpness:
            row["sharpness"] = largest_eigenvalue(error(rows, targets), list(model.parameters()))
        optimizer.step()
        if measured:
            row |= layer_norms(before, matrices)
            row["val_loss"] = error(np.arange(1497, 1797), y[1497:]).item()
        yield row
        if not np.isfinite(row["loss"]):
            return


def layer_norms(before: dict[str, Tensor], after: dict[str, Tensor]) -> Row:
    """The norm of each matrix, and that of its last update over it."""
    after = {name: weight.detach() for name, weight in after.items()}
    norms = {f"weight_norm:{name}": float(weight.norm()) for name, weight in after.items()}
    pairs = {name: (float((after[name] - old).norm()), float(old.norm())) for name, old in before.items()}
    return norms | {f"update_ratio:{name}": moved / norm for name, (moved, norm) in pairs.items() if norm > 0}


def epsilon_share(optimizer: torch.optim.Optimizer) -> Row:
    """The part of all numbers in which epsilon is at least the root of Adam's second moment, its bias corrected."""
    over, count = 0, 0
    for group in optimizer.param_groups:
        for p in group["params"]:
            state = optimizer.state[p]
            if "exp_avg_sq" in state:
                root = (state["exp_avg_sq"] / (1 - group["betas"][1] ** float(state["step"]))).sqrt()
                over, count = over + int((root <= group["eps"]).sum()), count + p.numel()
    return {"eps_share": over / count} if count else {}


def largest_eigenvalue(loss: Tensor, parameters: list[nn.Parameter]) -> float:
    """Of the Hessian, by 20 power iterations from a fixed start."""
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, create_graph=True)])
    vector = torch.randn(len(gradient), generator=torch.Generator().manual_seed(0))
    for _ in range(20):
        vector = vector / vector.norm()
        product = torch.autograd.grad(gradient @ vector, parameters, retain_graph=True)
        vector = torch.cat([g.flatten() for g in product])
    return vector.norm().item()


def one_layer_too_fast(groups: list[dict[str, Any]], model: nn.Module) -> None:
    frozen = dict(model.named_parameters())["blocks.1.mlp.up.weight"]
    split = next(group for group in groups if any(p is frozen for p in group["params"]))
    split["params"] = [p for p in split["params"] if p is not frozen]
    groups.append({**split, "params": [frozen], "lr_mult": split["lr_mult"] / 3000})


RUNS: dict[str, Callable[[], Iterator[Row]]] = {
    "digits_squared_nan_at_once": lambda: digits(1.0, steps=60, loss="squared_error", full_batch=True),
    "digits_squared_nan_in_warmup": lambda: digits(0.5, steps=200, loss="squared_error", full_batch=True, warmup=100),
    "digits_squared_growing": lambda: digits(
        0.22, steps=300, loss="squared_error", linear=True, momentum=0.9, warmup=300
    ),
    "digits_healthy_squared": lambda: digits(0.12, steps=600, loss="squared_error"),
    "digits_squared_edge": lambda: digits(0.1, steps=400, loss="squared_error", full_batch=True, sharpness=True),
    "digits_random_labels": lambda: digits(0.003, steps=300, adam=True, random_labels=True),
    "digits_healthy_gd": lambda: digits(0.02, steps=400, loss="squared_error", full_batch=True, sharpness=True),
    "digits_healthy_adam": lambda: digits(0.003, steps=300, adam=True),
    "digits_healthy_sgd": lambda: digits(0.1, steps=300, momentum=0.9),
    "lm_no_warmup": lambda: language_model(
        2.0**-4, width=64, schedule=ScheduleConfig(warmup=0.0), parametrization="sp"
    ),
    "lm_slow": lambda: language_model(2.0**-15, schedule=ScheduleConfig("constant", warmup=0.0)),
    "lm_bad_batch": lambda: language_model(2.0**-7, batch=noise_at_120),
    "lm_shuffled": lambda: language_model(2.0**-7, steps=400, batch=shuffled),
    "lm_repeated": lambda: language_model(2.0**-7, width=64, steps=300, batch=two_forever),
    "lm_one_layer": lambda: language_model(2.0**-7, tamper=one_layer_too_fast),
    "lm_decay_follows": lambda: language_model(
        2.0**-7, optimizer=OptimizerConfig(weight_decay=1.0, decay_mode="coupled"), steps=300
    ),
    "lm_decay_steady": lambda: language_model(2.0**-7, steady_decay=2.0**-7 / 2, steps=300),
    "lm_schedule_over": lambda: language_model(
        2.0**-7, steps=240, stop_rate_at=100, schedule=ScheduleConfig("cosine", floor=0.0)
    ),
    "lm_clipped": lambda: language_model(2.0**-7, optimizer=OptimizerConfig(clip_norm=0.01)),
    "lm_epsilon": lambda: language_model(2.0**-5, optimizer=OptimizerConfig(eps=0.01)),
    "lm_healthy_mup": lambda: language_model(2.0**-7),
    "lm_healthy_sp": lambda: language_model(2.0**-7, parametrization="sp", width=64, seed=1),
    "lm_healthy_wsd": lambda: language_model(2.0**-7, schedule=ScheduleConfig("wsd")),
    "lm_healthy_constant": lambda: language_model(2.0**-8, schedule=ScheduleConfig("constant"), steps=300),
    "lm_healthy_cosine_clip_decay": lambda: language_model(
        2.0**-7,
        schedule=ScheduleConfig("cosine", floor=0.1),
        optimizer=OptimizerConfig(weight_decay=0.1, clip_norm=1.0, decay_mode="coupled"),
    ),
    "lm_healthy_sgd": lambda: language_model(2.0**-5, optimizer=OptimizerConfig("sgd")),
    "lm_healthy_long": lambda: language_model(2.0**-7, steps=1000),
    "lm_rate_jumps": lambda: language_model(2.0**-7, jump=(120, 64.0)),
    "lm_rate_creeps": lambda: language_model(2.0**-7, jump=(120, 24.0)),
    "lm_end_of_warmup": lambda: language_model(
        0.125, parametrization="sp", width=64, optimizer=OptimizerConfig("sgd"), schedule=ScheduleConfig(warmup=0.9)
    ),
}


def write(name: str, folder: Path) -> None:
    rows = list(RUNS[name]())
    columns = ["step", *dict.fromkeys(column for row in rows for column in row)]
    with (folder / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({"step": step, **{k: f"{v:.5g}" for k, v in row.items()}} for step, row in enumerate(rows))


def main() -> None:
    torch.set_num_threads(1)
    for name in sys.argv[1:] or RUNS:
        write(name, Path(__file__).parent)


if __name__ == "__main__":
    main()
