"""The names that other programs give to the columns of a table of runs, as data: a line for each meaning.

Names are compared in lower case, with one underscore for every run of other characters than letters and digits, and
without the tracker's prefix. A name with parts (`optimizer.lr`) also counts by its last part, where no whole name fits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

SETTING, MEASURED, EITHER = "setting", "measured", ""
"""What was chosen before a run; what came out of it; what may be both."""


class Role(NamedTuple):
    """What a column may be taken for: the kind of column, and its names, with blanks between them."""

    kind: str
    names: str


ROLES: Mapping[str, Role] = {
    "lr": Role(
        SETTING,
        "lr learning_rate max_lr peak_lr base_lr init_lr initial_lr lr_max lr_peak max_learning_rate "
        "peak_learning_rate base_learning_rate learning_rate_max adam_lr lr_multiplier",
    ),
    "loss": Role(
        MEASURED,
        "loss final_loss val_loss valid_loss validation_loss eval_loss test_loss dev_loss loss_val loss_eval "
        "loss_valid best_val_loss final_val_loss train_loss training_loss loss_train final_train_loss mean_loss "
        "smooth_loss smoothed_loss avg_loss nll cross_entropy value objective",
    ),
    "width": Role(
        SETTING,
        "width d_model dmodel n_embd n_embed d_embed embed_dim embedding_dim emb_dim hidden_size hidden_dim "
        "hidden_width model_width model_dim dim",
    ),
    "depth": Role(SETTING, "depth n_layer n_layers num_layer num_layers num_hidden_layers layers n_blocks num_blocks"),
    "params": Role(
        EITHER,
        "params n_params nparams num_params parameters n_parameters num_parameters parameter_count param_count "
        "total_params total_parameters model_params non_embedding_params n_params_non_embedding",
    ),
    "batch_size": Role(
        SETTING,
        "batch_size bs batch train_batch_size global_batch_size total_batch_size effective_batch_size "
        "batch_size_tokens tokens_per_batch tokens_per_step",
    ),
    "tokens": Role(
        EITHER,
        "tokens n_tokens num_tokens total_tokens train_tokens training_tokens tokens_seen token_budget max_tokens",
    ),
    "steps": Role(
        SETTING,
        "steps max_steps n_steps num_steps total_steps train_steps training_steps num_train_steps max_iters "
        "max_iterations iterations num_iterations total_iters",
    ),
    "seed": Role(SETTING, "seed random_seed rng_seed manual_seed init_seed model_seed"),
    "arm": Role(SETTING, "arm variant"),
    "parametrization": Role(SETTING, "parametrization parameterization"),
    "state": Role(EITHER, "state status run_state run_status"),
    "diverged": Role(EITHER, "diverged has_diverged is_diverged"),
    "reached": Role(
        MEASURED, "step global_step trainer_global_step train_global_step last_step final_step training_iteration"
    ),
    "init_loss": Role(MEASURED, "init_loss initial_loss loss_init loss_at_init"),
    "flops": Role(EITHER, "flops total_flops train_flops training_flops"),
    "seconds": Role(MEASURED, "seconds runtime wall_s wall_time duration time_total_s train_runtime"),
}
"""By what the column is taken for, which is also an option of `analyze`. A table needs `lr` and `loss`."""

PREFIXES: Mapping[str, str] = {
    "config": SETTING,  # Weights & Biases, Ray Tune
    "params": SETTING,  # MLflow, Optuna
    "param": SETTING,
    "parameters": SETTING,  # Neptune
    "hparams": SETTING,  # TensorBoard, Lightning
    "hparam": SETTING,
    "hyperparameters": SETTING,
    "args": SETTING,
    "summary": MEASURED,  # Weights & Biases
    "summary_metrics": MEASURED,
    "metrics": MEASURED,  # MLflow
    "metric": MEASURED,
    "results": MEASURED,
    "user_attrs": EITHER,  # Optuna
    "tags": EITHER,  # MLflow
}
"""By the first part of a column's name: the kind of the column."""

LOGGED = ("train", "eval", "val", "valid", "validation", "test", "dev")
"""First parts of the names of what loggers write step by step, such as `train/learning_rate`, with a slash."""

FINISHED, FAILED, UNFINISHED, PRUNED = "finished", "failed", "unfinished", "pruned"
STATES: Mapping[str, str] = {
    word: state
    for state, words in {
        FINISHED: "finished complete completed terminated success succeeded done ok diverged",
        FAILED: "failed fail crashed killed error errored aborted cancelled canceled timeout out_of_memory preempted "
        "preempting",
        UNFINISHED: "running pending paused queued scheduled waiting stopped interrupted",
        PRUNED: "pruned",
    }.items()
    for word in words.split()
}
"""By what a tracker (Weights & Biases, MLflow, Optuna, Ray Tune, SLURM) calls the state of a run: how it ended."""

LABELS = (
    "name run run_name run_id id uuid number trial trial_id trial_name display_name experiment experiment_id "
    "experiment_name experiment_tag project entity user notes description group job_type sweep created created_at "
    "updated updated_at started start_time end_time datetime_start datetime_complete date timestamp hostname host "
    "node_ip pid gpu device url path commit git_commit git_hash code_version out_dir output_dir save_dir log_dir "
    "logdir wandb_version artifact_uri file row done index port master_port"
)
"""Names of columns that name a run or say where and when it ran: they decide no loss."""

OUTCOMES = (
    "loss acc accuracy error perplexity ppl bpb score f1 bleu mse mae auc norm runtime time elapsed seconds hours "
    "throughput mfu tflops flops memory epoch utilization"
)
"""Last words in the names of columns that were measured, where no prefix says so."""


class Name(NamedTuple):
    """A column's name, taken apart: its kind, the name without the tracker's prefix, and its last part."""

    kind: str
    whole: str
    last: str

    def among(self, role: str) -> bool:
        """Whether the whole name is one of the role's."""
        return self.whole in ROLES[role].names.split()

    def ends_among(self, role: str) -> bool:
        """Whether the last part is."""
        return self.last in ROLES[role].names.split()

    @property
    def is_label(self) -> bool:
        """Whether the column names a run, or says where and when it ran."""
        marked = self.whole.startswith(("wandb_", "unnamed_"))
        return marked or self.whole in LABELS.split() or (self.kind == EITHER and self.last in LABELS.split())

    @property
    def may_be_measured(self) -> bool:
        """Whether it is called as what is measured. So may a setting be (`z_loss`): then its values repeat."""
        measured = any(self.ends_among(role) for role in ROLES if ROLES[role].kind == MEASURED)
        return self.kind == EITHER and (measured or self.whole.rpartition("_")[2] in OUTCOMES.split())


def parse_name(column: str) -> Name:
    """Take a column's name apart: `config/optimizer.lr` is a setting, whole `optimizer_lr`, last `lr`."""
    parts = [part for part in re.split(r"[/.]", re.sub(r"\.\d+$|[/.]value$", "", column.strip())) if part.strip()]
    kind = EITHER
    if len(parts) > 1 and normalize(parts[0]) in PREFIXES:
        kind, parts = PREFIXES[normalize(parts[0])], parts[1:]
    elif len(parts) == 1 and (found := re.match(r"(params|user_attrs)_(?=\w)", parts[0])):
        kind, parts = PREFIXES[found[1]], [parts[0][found.end() :]]  # as Optuna's own frames have it
    if not parts:
        return Name(EITHER, "", "")
    if parts[0].startswith("_") or re.match(rf"\s*({'|'.join(LOGGED)})/", column, re.IGNORECASE):
        kind = MEASURED  # _step, _runtime and _timestamp are Weights & Biases' own
    return Name(kind, normalize("/".join(parts)), normalize(parts[-1]))


def flag(role: str) -> str:
    """The option of `analyze` that names the role's column."""
    return f"--{role.replace('_', '-')}"


def normalize(name: str) -> str:
    """A name in lower case, with one underscore for whatever is no letter or digit."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
