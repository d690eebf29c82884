"""What training programs print: lines in which a step and its values are named.

A format is a name and the kinds of lines that it prints. A kind is a pattern, which may hold the groups `step`, `epoch`
and `of` (a step within an epoch of so many), and the values to look for after it: the words before a number, and what
they mean. A line without a step is of the last one before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mutransfer.trials.logs.rows import Row, Rows

NUMBER = r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?(?![\d.])|(?:nan|inf(?:inity)?)(?![a-z_]))"
"""A unit may follow it."""
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Kind(NamedTuple):
    """A kind of line."""

    pattern: str
    values: Mapping[str, str]


_COMMON = {"lr": "lr", "learning rate": "lr", "learning_rate": "lr", "grad_norm": "grad_norm", "grad norm": "grad_norm"}
_OLMO_TRAINING = {"train/CrossEntropyLoss": "loss", "train/CE loss": "loss"}
_OLMO_STEPS = {
    "optim/total_grad_norm": "grad_norm",
    "optim/total grad norm": "grad_norm",
    "optim/learning_rate_group0": "lr",
    "optim/LR (group 0)": "lr",
}
_COMPOSER = {
    "Train loss/train/total": "loss",
    "Eval metrics/eval/LanguageCrossEntropy": "val_loss",
    "Train l2_norm/grad/global": "grad_norm",
    "Train lr-DecoupledAdamW/group0": "lr",
}
_LLMC = {"loss": "loss", "norm": "grad_norm", **_COMMON}
_KERAS = {"loss": "loss", "val_loss": "val_loss", **_COMMON}
_FAIRSEQ = {"loss": "loss", "lr": "lr", "gnorm": "grad_norm", "wall": "seconds"}
_WORDS = {
    **_COMMON,
    "loss": "loss",
    "train_loss": "loss",
    "train loss": "loss",
    "training loss": "loss",
    "training_loss": "loss",
    "loss/train": "loss",
    "total_loss": "loss",
    "closs": "loss",
    "val_loss": "val_loss",
    "val loss": "val_loss",
    "valid_loss": "val_loss",
    "valid loss": "val_loss",
    "validation loss": "val_loss",
    "validation_loss": "val_loss",
    "eval_loss": "val_loss",
    "eval loss": "val_loss",
    "test loss": "val_loss",
    "test_loss": "val_loss",
    "gradient norm": "grad_norm",
    "gnorm": "grad_norm",
    "norm": "grad_norm",
}

PROGRAMS: Mapping[str, tuple[Kind, ...]] = {
    "Megatron-LM's output": (
        Kind(r"iteration\s+(?P<step>\d+)\s*/\s*\d+ \|", {"lm loss": "loss", "loss": "loss", **_COMMON}),
        Kind(r"validation loss at iteration (?P<step>\d+)", {"lm loss value": "val_loss"}),
    ),
    "torchtitan's output": (
        Kind(r"validate step:\s*(?P<step>\d+)\s+loss:", {"loss": "val_loss"}),
        Kind(r"\bstep:\s*(?P<step>\d+)\s+loss:.*memory:.*tps:", {"loss": "loss", **_COMMON}),
    ),
    "llm.c's output": (
        Kind(
            r"^\s*step\s+(?P<step>\d+)\s*/\s*\d+ \| (?:train )?loss", {"loss": "loss", "norm": "grad_norm", **_COMMON}
        ),
        Kind(r"^\s*val loss\s", {"val loss": "val_loss"}),
    ),
    "llm.c's main.log": (
        Kind(r"^s:(?P<step>\d+) tr[la]:", {"trl": "loss", "norm": "grad_norm", **_COMMON}),
        Kind(r"^s:(?P<step>\d+) tel:", {"tel": "val_loss"}),
    ),
    "nanoGPT's output": (
        Kind(r"^iter (?P<step>\d+): loss", {"loss": "loss"}),
        Kind(r"^step (?P<step>\d+): train loss", {"val loss": "val_loss"}),
        Kind(r"^(?P<step>\d+) \| loss .*\| lr .*ms", {"loss": "loss", **_COMMON}),
    ),
    "modded-nanogpt's log": (
        Kind(r"^step:(?P<step>\d+)/\d+ .*(?:train_time|step_avg):", {"train_loss": "loss", "val_loss": "val_loss"}),
    ),
    "OLMo's output": (
        Kind(r"\[(?:eval_)?step=(?P<step>\d+)(?:/\d+)?[,\]]", {}),
        Kind(r"^\s+(?:train|optim)/.*=", {**_OLMO_TRAINING, **_OLMO_STEPS}),
        Kind(r"^\s+eval/.*=", {"/CrossEntropyLoss": "val_loss", "/CE loss": "val_loss"}),
    ),
    "Composer's output": (
        Kind(r"\[batch=(?P<step>\d+)/\d+\]", {}),
        Kind(r"^\s*(?:Train|Eval) \S+.*: ", _COMPOSER),
    ),
    "fairseq's output": (
        Kind(r"^\| epoch \d+:\s.*num_updates=(?P<step>\d+)", _FAIRSEQ),
        Kind(r"\| train_inner \| \{.*\"num_updates\": \"?(?P<step>\d+)", _FAIRSEQ),
        Kind(r"\| valid .*num_updates\W*(?P<step>\d+)", {"valid_loss": "val_loss", "loss": "val_loss"}),
    ),
    "MLX's output": (
        Kind(r"^Iter (?P<step>\d+): Train loss", {"train loss": "loss", **_COMMON}),
        Kind(r"^Iter (?P<step>\d+): Val loss", {"val loss": "val_loss"}),
    ),
    "Hugging Face's output (axolotl, TRL)": (
        Kind(r"\{.*'loss': ", {"loss": "loss", **_COMMON}),
        Kind(r"\{.*'eval_loss': ", {"eval_loss": "val_loss"}),
    ),
    "detectron2's output": (
        Kind(r"\biter:\s*(?P<step>\d+)\s+(?:total_)?loss:", {"total_loss": "loss", "loss": "loss", **_COMMON}),
    ),
    "MMEngine's output": (
        Kind(r"Epoch\s*(?:\(train\))?:?\s*\[(?P<epoch>\d+)\]\s*\[\s*(?P<step>\d+)/(?P<of>\d+)\]", _WORDS),
        Kind(r"Iter(?:\(train\))?\s*\[\s*(?P<step>\d+)/\d+\]", _WORDS),
    ),
    "Keras's output": (
        Kind(r"^Epoch (?P<step>\d+)/\d+\s*$", {}),
        Kind(
            r"^\s*(?P<at>\d+)/(?P=at) .*- (?:loss|accuracy|acc):", {"loss": "loss", "val_loss": "val_loss", **_COMMON}
        ),
    ),
}
"""By name; of a file that holds lines of several, the format is the one that reads most."""

ANY_LOOP: Mapping[str, tuple[Kind, ...]] = {
    "lines that name a step and a loss": (
        Kind(
            r"(?i)\b(?:global[_ ]?step|step|iter|iteration|it|update)s?\b\s*[:=#]?\s*\[?\s*(?P<step>\d+)(?=.*loss)",
            _WORDS,
        ),
    ),
    "lines that name an epoch and a loss": (Kind(r"(?i)\bepoch\b\s*[:=#]?\s*\[?\s*(?P<step>\d+)(?=.*loss)", _WORDS),),
}
"""What is looked for in the output of programs of which nothing is known."""

EPOCHS = frozenset({"Keras's output", "lines that name an epoch and a loss"})
"""Formats whose steps are epochs."""


def read_text(lines: Sequence[str], formats: Mapping[str, tuple[Kind, ...]]) -> Rows | None:
    """The rows of what a program printed, by the format that reads most; None where no line names a loss."""
    plain = [ANSI.sub("", line) for line in lines]
    best: Rows | None = None
    for name, kinds in formats.items():
        found = _read(name, kinds, plain)
        losses = any(row.cells.keys() & {"loss", "val_loss"} for row in found.rows)
        if losses and (best is None or len(found.rows) > len(best.rows)):
            best = found
    return best


def _read(name: str, format_kinds: Sequence[Kind], lines: Sequence[str]) -> Rows:
    """The rows that one format finds; their columns have our names, and `spelled` says how each was written."""
    kinds = [(re.compile(kind.pattern), _finders(kind.values)) for kind in format_kinds]
    axis = "epoch" if name in EPOCHS else "step"
    rows: list[Row] = []
    spelled: dict[str, str] = {}
    step: int | None = None
    for at, line in enumerate(lines, 1):
        found, finders = next(((hit, each) for pattern, each in kinds if (hit := pattern.search(line))), (None, {}))
        if found is None:
            continue
        groups = found.groupdict()
        if groups.get("step") is not None:
            step = int(groups["step"]) + int(groups.get("epoch") or 0) * int(groups.get("of") or 0)
        hits = {meant: hit for meant, finder in finders.items() if (hit := finder.search(line))}
        for meant, hit in hits.items():
            spelled.setdefault(meant, hit["word"])
        if hits:
            cells = {meant: hit["number"] for meant, hit in hits.items()}
            rows.append(Row(at, cells if step is None else {axis: step, **cells}))
    return Rows(name, rows, spelled=spelled)


def _finders(values: Mapping[str, str]) -> dict[str, re.Pattern[str]]:
    """By name, what finds the number after a word that means it, the longest word first."""
    finders = {}
    for meant in dict.fromkeys(values.values()):
        words = sorted((word for word, name in values.items() if name == meant), key=len, reverse=True)
        either = "|".join(
            re.escape(word) if word.startswith("/") else rf"(?<![\w/.]){re.escape(word)}" for word in words
        )
        finders[meant] = re.compile(rf"""(?i)(?P<word>{either})["']?\s*[:=]?\s*["']?(?P<number>{NUMBER})""")
    return finders


def split_lines(text: str) -> list[str]:
    """Lines as a terminal shows them: a progress bar's carriage return ends one too."""
    return re.split(r"\r\n|\n|\r", text)
