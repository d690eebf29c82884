"""What the quantities of a log are called, and by which other names programs write them.

| name | what |
|---|---|
| step | optimizer steps; `epoch` where a log has no others |
| loss | training loss |
| val_loss | held-out loss |
| lr | learning rate, of the first group where there are several |
| grad_norm, clipped_grad_norm | global norm of the gradient before and after clipping |
| sharpness | largest eigenvalue of the Hessian (for Adam, of the preconditioned one) |
| seconds | time since the start |
| run | which run a row is of, where a file holds several |
| update_ratio:LAYER | norm of a layer's update over the norm of its weight |
| weight_norm:LAYER | norm of a layer's weight |
| eps_share:LAYER | part of a layer's numbers in which Adam's epsilon is at least the root of its second moment |

(a name for LAYER may be left out where there is one of them for the whole model.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple


class Spelling(NamedTuple):
    """A name of a quantity as some program writes it; * stands for anything. Case does not matter, nor which of
    / . - : space ( ) and _ divides the words."""

    name: str
    spelling: str
    program: str


SPELLINGS = (
    Spelling("step", "train_global_step", "Hugging Face in W&B and TensorBoard"),
    Spelling("step", "trainer_global_step", "Lightning in W&B"),
    Spelling("step", "global_step", "NeMo, DeepSpeed"),
    Spelling("step", "step", "Lightning, Hugging Face, and most"),
    Spelling("step", "steps", ""),
    Spelling("step", "current_steps", "LLaMA-Factory"),
    Spelling("step", "iteration", "Megatron-LM, detectron2, GPT-NeoX"),
    Spelling("step", "iter", "nanoGPT, Caffe, MMEngine"),
    Spelling("step", "num_updates", "fairseq"),
    Spelling("step", "train_num_updates", "fairseq, a line an epoch"),
    Spelling("step", "valid_num_updates", "fairseq, held-out"),
    Spelling("step", "batch", "Composer"),
    Spelling("step", "time_batch", "Composer in W&B"),
    Spelling("step", "time_step", "Levanter"),
    Spelling("step", "training_iteration", "Ray"),
    Spelling("step", "_step", "W&B, its own count of what was logged"),
    Spelling("epoch", "epoch", "Keras, YOLO, timm"),
    Spelling("epoch", "epochs", ""),
    Spelling("epoch", "train_epoch", "Hugging Face in W&B"),
    Spelling("loss", "loss", "Hugging Face, Keras, and most"),
    Spelling("loss", "train_loss", "Lightning, timm"),
    Spelling("loss", "train_loss_step", "Lightning"),
    Spelling("loss", "training_loss", ""),
    Spelling("loss", "loss_train", ""),
    Spelling("loss", "loss_training", ""),
    Spelling("loss", "lm_loss", "Megatron-LM"),
    Spelling("loss", "lm_loss_training", "Megatron-LM"),
    Spelling("loss", "train_lm_loss", "GPT-NeoX"),
    Spelling("loss", "reduced_train_loss", "NeMo"),
    Spelling("loss", "train_crossentropyloss", "OLMo"),
    Spelling("loss", "train_ce_loss", "OLMo-core"),
    Spelling("loss", "loss_metrics_global_avg_loss", "torchtitan"),
    Spelling("loss", "global_avg_loss", "torchtitan"),
    Spelling("loss", "loss_train_total", "Composer"),
    Spelling("loss", "metrics_train_languagecrossentropy", "Composer"),
    Spelling("loss", "train_inner_loss", "fairseq in TensorBoard"),
    Spelling("loss", "total_loss", "detectron2"),
    Spelling("loss", "train_total_loss", "detectron2 in W&B"),
    Spelling("loss", "train_batch_loss", "Megatron-DeepSpeed"),
    Spelling("loss", "train_samples_train_loss", "DeepSpeed"),
    Spelling("loss", "epoch_loss", "Keras in TensorBoard, train/"),
    Spelling("loss", "train_loss_epoch", "Lightning, a mean an epoch"),
    Spelling("val_loss", "val_loss", "Keras, Lightning"),
    Spelling("val_loss", "eval_loss", "Hugging Face, timm"),
    Spelling("val_loss", "valid_loss", "fairseq"),
    Spelling("val_loss", "validation_loss", "NeMo"),
    Spelling("val_loss", "loss_val", ""),
    Spelling("val_loss", "loss_eval", ""),
    Spelling("val_loss", "loss_valid", ""),
    Spelling("val_loss", "loss_validation", ""),
    Spelling("val_loss", "dev_loss", ""),
    Spelling("val_loss", "val_loss_epoch", "Lightning"),
    Spelling("val_loss", "validation_metrics_loss", "torchtitan"),
    Spelling("val_loss", "validation_metrics_global_avg_loss", "torchtitan"),
    Spelling("val_loss", "lm_loss_validation", "Megatron-LM"),
    Spelling("val_loss", "validation_lm_loss", "GPT-NeoX"),
    Spelling("val_loss", "loss_eval_total", "Composer"),
    Spelling("val_loss", "metrics_eval_languagecrossentropy", "Composer"),
    Spelling("val_loss", "metrics_eval_*_languagecrossentropy", "Composer, several sets"),
    Spelling("val_loss", "eval_*_crossentropyloss", "OLMo"),
    Spelling("val_loss", "eval_lm_*_ce_loss", "OLMo-core"),
    Spelling("val_loss", "eval_*_loss", "Hugging Face, several sets"),
    Spelling("val_loss", "test_loss", ""),
    Spelling("lr", "lr", "most"),
    Spelling("lr", "learning_rate", "Hugging Face"),
    Spelling("lr", "train_learning_rate", "Hugging Face in W&B"),
    Spelling("lr", "train_lr", ""),
    Spelling("lr", "optim_learning_rate_group0", "OLMo"),
    Spelling("lr", "optim_lr_group_0", "OLMo-core"),
    Spelling("lr", "optim_learning_rate", "Levanter"),
    Spelling("lr", "learning_rate_learning_rate", "Megatron-DeepSpeed"),
    Spelling("lr", "train_inner_lr", "fairseq in TensorBoard"),
    Spelling("lr", "lr_pg0", "YOLO"),
    Spelling("lr", "x_lr0", "YOLO v5"),
    Spelling("lr", "lr_*_group0", "Composer"),
    Spelling("lr", "lr_*_pg1", "Lightning, several groups"),
    Spelling("lr", "lr_adamw", "Lightning"),
    Spelling("lr", "lr_adam", "Lightning"),
    Spelling("lr", "lr_sgd", "Lightning"),
    Spelling("lr", "lr_*", "Lightning, other optimizers"),
    Spelling("grad_norm", "grad_norm", "most"),
    Spelling("grad_norm", "train_grad_norm", "Hugging Face in W&B"),
    Spelling("grad_norm", "gradient_norm", ""),
    Spelling("grad_norm", "gradnorm", ""),
    Spelling("grad_norm", "gnorm", "fairseq"),
    Spelling("grad_norm", "train_inner_gnorm", "fairseq in TensorBoard"),
    Spelling("grad_norm", "total_grad_norm", "ours, OLMo"),
    Spelling("grad_norm", "optim_total_grad_norm", "OLMo"),
    Spelling("grad_norm", "grad_norm_total", "Levanter"),
    Spelling("grad_norm", "grad_2_0_norm_total", "Lightning"),
    Spelling("grad_norm", "l2_norm_grad_global", "Composer"),
    Spelling("grad_norm", "norm", "llm.c"),
    Spelling("clipped_grad_norm", "clipped_grad_norm", "ours"),
    Spelling("clipped_grad_norm", "grad_norm_clipped", ""),
    Spelling("clipped_grad_norm", "total_clipped_grad_norm", "ours, in TensorBoard"),
    Spelling("sharpness", "sharpness", "ours"),
    Spelling("seconds", "seconds", ""),
    Spelling("seconds", "_runtime", "W&B"),
    Spelling("seconds", "elapsed_time", "LLaMA-Factory, as 0:32:48"),
    Spelling("seconds", "elapsed", ""),
    Spelling("seconds", "wall", "fairseq"),
    Spelling("run", "run", ""),
    Spelling("run", "run_name", "MLflow and others"),
    Spelling("run", "run_id", "MLflow and others"),
)
"""Of the names that a log has for one quantity, that with the most values is read; among equals the first here."""

LAYERED = ("update_ratio", "weight_norm", "eps_share")
"""Names that a layer follows, after a colon or a slash."""

WHOLE_MODEL = "all"
"""What stands for the layer where none is named."""

PARTS = {"loss": ("train_*_loss", "train_loss_*"), "val_loss": ("val_*_loss", "val_loss_*")}
"""Columns that are the parts of a loss whose sum a log leaves out, as YOLO's are."""

_RANKS = {spelling.spelling: (rank, spelling.name) for rank, spelling in enumerate(SPELLINGS)}
_PATTERNS = [(spelling.spelling, *_RANKS[spelling.spelling]) for spelling in SPELLINGS if "*" in spelling.spelling]


def meaning(column: str) -> tuple[str, int] | None:
    """The name (`loss`, `update_ratio:LAYER`) of a column and the rank of its spelling; None where it has no name."""
    head, divider, layer = re.sub(r"^train[/.]", "", column.strip()).partition(":" if ":" in column else "/")
    if plain(head) in LAYERED:
        return f"{plain(head)}:{layer if divider else WHOLE_MODEL}", 0
    word = plain(column)
    if word in _RANKS:
        rank, name = _RANKS[word]
        return name, rank
    return next(((name, rank) for pattern, rank, name in _PATTERNS if fnmatchcase(word, pattern)), None)


def parts_of(name: str, columns: Iterable[str]) -> list[str]:
    """The columns that are parts of a loss, where `PARTS` knows them."""
    return [column for column in columns if any(fnmatchcase(plain(column), part) for part in PARTS[name])]


def plain(column: str) -> str:
    """A column's words, in lower case, with _ between them; a leading _ stays."""
    words = re.sub(r"[^a-z0-9]+", "_", column.strip().lower())
    return words.rstrip("_") if column.startswith("_") else words.strip("_")


def taken(columns: Mapping[str, int], named: Mapping[str, str]) -> dict[str, list[str]]:
    """Columns by name, the one to read first.

    Args:
        columns: how many values each has.
        named: columns that the user names, by name.

    Raises ValueError where a column that the user names is not there.
    """
    found: dict[str, list[tuple[int, int, str]]] = {}
    for column, count in columns.items():
        known = meaning(column)
        if known is not None and count:
            name, rank = known
            # `step` goes by the table's order alone: W&B's own count is there in every row
            found.setdefault(name, []).append((0 if name == "step" else -count, rank, column))
    order = {name: [column for _, _, column in sorted(each)] for name, each in found.items()}
    for name, column in named.items():
        if column not in columns:
            raise ValueError(f"expected a column {column!r} for {name}, got {listed(columns)}; name one of these")
        order = {other: [each for each in known if each != column] for other, known in order.items()}
        order[name] = [column]
    return {name: known for name, known in order.items() if known}


def listed(columns: Iterable[str]) -> str:
    """The first columns, in one line."""
    each = [column if len(column) <= 40 else column[:37] + "..." for column in columns]
    return (", ".join(map(repr, each[:8])) + (f" and {len(each) - 8} more" if len(each) > 8 else "")) or "none"
