"""Does the best rate of Hugging Face's GPT-2 stand still? Weights as (in, out), tied embeddings, transformers.Trainer.

2 arms, 3 widths, 8 rates, 2 seeds; not timed on a quiet machine. From the repository's root, with the extra `hf`:

    python -m experiments.models.gpt2
"""

import experiments.models.hugging_face  # noqa: F401, I001, before transformers
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    get_linear_schedule_with_warmup,
)

from experiments.models.study import Study, Trained, Trial
from mutransfer import Parametrized, load_corpus, parametrize, sample_batch

HEAD_DIM, CONTEXT = 16, 32
STUDY = Study(
    name="gpt2",
    arms={"sp": "sp_fixed_std", "mup": "mup"},
    widths=(32, 64, 128),
    lrs=tuple(2.0**e for e in range(-11, -3)),
    seeds=2,
    base_width=64,
    batch_size=16,
    steps=200,
    warmup=20,
    unit="nats per token",
)


def build(width: int) -> GPT2LMHeadModel:
    """Its own initialization: a standard deviation of 0.02 at every width."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=256,
            n_positions=256,
            n_embd=width,
            n_layer=2,
            n_head=width // HEAD_DIM,
            # dropout is off: a learning rate is tuned on what is trained on
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
            use_cache=False,
        )
    )


class Windows(torch.utils.data.Dataset[dict[str, Tensor]]):
    """One random window of the bytes of Python's standard library for each index."""

    def __init__(self, seed: int, steps: int) -> None:
        self.train, self.seed, self.steps = load_corpus("stdlib").train, seed, steps

    def __len__(self) -> int:
        return self.steps * STUDY.batch_size

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        (tokens,) = torch.from_numpy(sample_batch(self.train, self.seed, index, 1, CONTEXT))
        labels = tokens.clone()  # the model shifts them itself
        labels[0] = -100  # nothing predicts it, and Trainer divides the loss by the labels that it counts
        return {"input_ids": tokens, "labels": labels}


def schedule(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Multiplies the rate of each group."""
    return get_linear_schedule_with_warmup(optimizer, min(STUDY.warmup, steps // 2), steps)


def make_trainer(built: Parametrized, lr: float, seed: int, steps: int, folder: str) -> Trainer:
    """A Trainer as it comes, with an optimizer over our param groups."""
    optimizer = torch.optim.AdamW(built.param_groups(lr), betas=(0.9, 0.95))
    trainer = Trainer(
        model=built.model,
        args=TrainingArguments(
            folder,
            max_steps=steps,
            per_device_train_batch_size=STUDY.batch_size,
            max_grad_norm=0.0,  # Trainer's clipping takes the norm of raw gradients, which grows with width
            seed=seed,
            train_sampling_strategy="sequential",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=Windows(seed, steps),
        optimizers=(optimizer, schedule(optimizer, steps)),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def train(trial: Trial) -> Trained:
    built = parametrize(
        build, width=trial.width, base_width=STUDY.base_width, parametrization=trial.parametrization, seed=trial.seed
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(built, trial.lr, trial.seed, STUDY.steps, folder)
        trainer.train()
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    return Trained(losses, built.model.num_parameters())


def main() -> None:
    STUDY.run(train, Path("results/models/gpt2"))


if __name__ == "__main__":
    main()
