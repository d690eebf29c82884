"""A few lines of what each program prints or writes, in its own form (as its users post them), with what is in them."""

# ruff: noqa: E501
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Printed(NamedTuple):
    """A file's text, and the (step, value) pairs that must be read from it."""

    format: str
    text: str
    loss: list[tuple[int, float]]
    val_loss: Sequence[tuple[int, float]] = ()
    lr: Sequence[tuple[int, float]] = ()
    grad_norm: Sequence[tuple[int, float]] = ()
    unit: str = "step"


PRINTED = {
    "nanogpt": Printed(
        "nanoGPT's output",
        "number of parameters: 10.65M\nstep 0: train loss 4.2874, val loss 4.2823\n"
        "iter 0: loss 4.2664, time 25000.15ms, mfu -100.00%\niter 10: loss 3.2459, time 25.12ms, mfu 14.81%\n"
        "step 20: train loss 2.7, val loss 2.8001\nsaving checkpoint to out\niter 20: loss 2.7899, time 30.0ms, mfu 14%\n",
        [(0, 4.2664), (10, 3.2459), (20, 2.7899)],
        val_loss=[(0, 4.2823), (20, 2.8001)],
    ),
    "llama2.c": Printed(
        "nanoGPT's output",
        "step 0: train loss 8.01, val loss 8.02\n0 | loss 8.0112 | lr 0.000000e+00 | 900.58ms | mfu -100.00%\n"
        "10 | loss 7.5 | lr 5.000000e-06 | 87.58ms | mfu 0.21%\n",
        [(0, 8.0112), (10, 7.5)],
        val_loss=[(0, 8.02)],
        lr=[(0, 0.0), (10, 5e-6)],
    ),
    "llm.c": Printed(
        "llm.c's output",
        "| max_sequence_length T | 1024 |\nval loss 11.0091\n"
        "step    1/74 | loss 11.0095 (+nanz)| norm 15.3 (+nanz)| lr 4.29e-07 | 44.57 ms | -100.0% bf16 MFU | 91886 tok/s\n"
        "step    2/74 | loss 10.97 (-1.20z)| norm 15.1 (+0.30z)| lr 8.57e-07 | 44.57 ms | 50.0% bf16 MFU | 91886 tok/s\n"
        "val loss 10.5\n",
        [(1, 11.0095), (2, 10.97)],
        val_loss=[(2, 10.5)],
        lr=[(1, 4.29e-7), (2, 8.57e-7)],
        grad_norm=[(1, 15.3), (2, 15.1)],
    ),
    "llm.c main.log": Printed(
        "llm.c's main.log",
        "s:0 tel:11.009\ns:0 trl:11.01 lr:0.000001 norm:15.35\ns:1 trl:10.9 lr:0.000002 norm:15.10\ns:2 tel:10.8\n",
        [(0, 11.01), (1, 10.9)],
        val_loss=[(0, 11.009), (2, 10.8)],
        lr=[(0, 1e-6), (1, 2e-6)],
        grad_norm=[(0, 15.35), (1, 15.1)],
    ),
    "modded-nanogpt": Printed(
        "modded-nanogpt's log",
        "import os\nprint0(f'step:{step}/{args.num_iterations} val_loss:{val_loss:.4f} train_time:{t:.0f}ms')\n=====\n"
        "step:0/1480 val_loss:10.8258 train_time:0ms step_avg:nanms\nstep:1/1480 train_time:30ms step_avg:nanms\n"
        "step:125/1480 val_loss:4.3719 train_time:29736ms step_avg:258.57ms\n"
        "step:250/1480 val_loss:3.9992 train_time:62563ms step_avg:260.68ms\n",
        [(0, 10.8258), (125, 4.3719), (250, 3.9992)],
    ),
    "olmo": Printed(
        "OLMo's output",
        "2024-08-06 09:59:26.181 host:0  olmo.train:908  INFO    [step=1/739328,epoch=0]\n"
        "    optim/total_grad_norm=231.7\n    train/CrossEntropyLoss=12.18\n    train/Perplexity=195,153\n"
        "    throughput/total_tokens=1,048,576\n"
        "2024-08-06 10:00:05.520 host:0  olmo.train:908  INFO    [step=2/739328,epoch=0]\n"
        "    optim/total_grad_norm=12.5\n    train/CrossEntropyLoss=11.787\n    optim/learning_rate_group0=2e-7\n",
        [(1, 12.18), (2, 11.787)],
        lr=[(2, 2e-7)],
        grad_norm=[(1, 231.7), (2, 12.5)],
    ),
    "megatron": Printed(
        "Megatron-LM's output",
        " [2024-01-01 10:00:00] iteration      122/  250000 | consumed samples:       124928 | elapsed time per iteration "
        "(ms): 86545.2 | learning rate: 9.150E-06 | global batch size:  1024 | lm loss: 2.504220E+00 | loss scale: 1.0 | "
        "grad norm: 0.231 | number of skipped iterations:   0 | number of nan iterations:   0 |\n"
        " iteration      123/  250000 | consumed samples:       125952 | elapsed time per iteration (ms): 87871.6 | "
        "learning rate: 9.225E-06 | global batch size:  1024 | lm loss: 2.493043E+00 | loss scale: 1.0 | "
        "grad norm: 0.236 | number of skipped iterations:   0 | number of nan iterations:   0 |\n"
        " validation loss at iteration 123 | lm loss value: 2.51E+00 | lm loss PPL: 1.23E+01 |\n",
        [(122, 2.50422), (123, 2.493043)],
        val_loss=[(123, 2.51)],
        lr=[(122, 9.15e-6), (123, 9.225e-6)],
        grad_norm=[(122, 0.231), (123, 0.236)],
    ),
    "torchtitan": Printed(
        "torchtitan's output",
        "".join(
            f"[rank{rank}]:[titan] 2026-05-18 16:04:46,338 - root - INFO - \x1b[31mstep: {step:2}  \x1b[32mloss: {loss:8.5f}  "
            f"\x1b[38;2;180;60;0mgrad_norm: {norm:7.4f}  \x1b[36mmemory:  9.46GiB(64.99%)  \x1b[34mtps: 7,282  \x1b[36mtflops: "
            "0.52  \x1b[35mmfu: 0.17%\x1b[39m\n"
            for step, loss, norm in [(1, 8.24405, 1.8319), (10, 3.1068, 0.8587)]
            for rank in range(2)
        )
        + "[rank0]:[titan] 2026 - root - INFO - validate step: 10  loss:  3.2  memory:  9GiB(6%)  tps: 7,2\n",
        [(1, 8.24405), (10, 3.1068)],
        val_loss=[(10, 3.2)],
        grad_norm=[(1, 1.8319), (10, 0.8587)],
    ),
    "fairseq": Printed(
        "fairseq's output",
        "| epoch 001:    450 / 1891 loss=11.521, nll_loss=10.881, ppl=1886.05, wps=52922, ups=0.5, num_updates=445, "
        "lr=8.90889e-05, gnorm=1.543, clip=0%, oom=0, loss_scale=2.000, wall=882, train_wall=756\n"
        "| epoch 001:    500 / 1891 loss=11.346, nll_loss=10.678, ppl=1637.83, wps=53351, ups=0.5, num_updates=495, "
        "lr=9.90876e-05, gnorm=1.507, clip=0%, oom=0, loss_scale=2.000, wall=973, train_wall=840\n"
        "| epoch 001 | valid on 'valid' subset | valid_loss 8.11425 | valid_nll_loss 6.8834 | valid_ppl 118 | num_updates 600\n",
        [(445, 11.521), (495, 11.346)],
        val_loss=[(600, 8.11425)],
        lr=[(445, 8.90889e-5), (495, 9.90876e-5)],
        grad_norm=[(445, 1.543), (495, 1.507)],
    ),
    "fairseq json": Printed(
        "fairseq's output",
        '2020-06-01 10:00:00 | INFO | train_inner | {"epoch": 1, "update": 0.2, "loss": "8.206", "nll_loss": "7.049", '
        '"ppl": "132.47", "num_updates": "100", "lr": "0.00017226", "gnorm": "1.833", "clip": "1", "wall": "30"}\n'
        '2020-06-01 10:01:00 | INFO | train_inner | {"epoch": 1, "update": 0.4, "loss": "7.9", "nll_loss": "7.0", '
        '"ppl": "120", "num_updates": "200", "lr": "0.0002", "gnorm": "1.7", "clip": "1", "wall": "60"}\n'
        '2020-06-01 10:02:00 | INFO | valid | {"epoch": 1, "valid_loss": "7.5", "valid_nll_loss": "6.1", '
        '"valid_ppl": "70", "valid_num_updates": "200"}\n',
        [(100, 8.206), (200, 7.9)],
        val_loss=[(200, 7.5)],
        lr=[(100, 1.7226e-4), (200, 2e-4)],
        grad_norm=[(100, 1.833), (200, 1.7)],
    ),
    "axolotl": Printed(
        "Hugging Face's output (axolotl, TRL)",
        "  0%|          | 0/873 [00:00<?, ?it/s]\r  1%|▏         | 10/873 [00:50<1:12:44,  5.03s/it]\n"
        "{'loss': 1.8218, 'grad_norm': 0.61, 'learning_rate': 0.000196, 'epoch': 0.1}\n"
        "{'loss': 1.79, 'grad_norm': nan, 'learning_rate': 0.000195, 'epoch': 0.1}\n"
        "{'eval_loss': 1.7152, 'eval_runtime': 3.6, 'eval_samples_per_second': 5.5, 'epoch': 0.1}\n"
        "{'loss': 1.75, 'grad_norm': 0.6, 'learning_rate': 0.000194, 'epoch': 0.11}\n"
        "{'train_runtime': 77.5, 'train_samples_per_second': 3.2, 'train_loss': 1.78, 'epoch': 3.0}\n",
        [(1, 1.8218), (2, 1.79), (3, 1.75)],
        val_loss=[(2, 1.7152)],
        lr=[(1, 1.96e-4), (2, 1.95e-4), (3, 1.94e-4)],
        grad_norm=[(1, 0.61), (2, float("nan")), (3, 0.6)],
        unit="logged value",
    ),
    "mlx": Printed(
        "MLX's output",
        "Iter 1: Val loss 2.866, Val took 30.1s\n"
        "Iter 10: Train loss 2.3, Learning Rate 1.000e-05, It/sec 0.5, Tokens/sec 250.1, Trained Tokens 5000, Peak mem 7 GB\n"
        "Iter 20: Train loss 1.9, Learning Rate 1.000e-05, It/sec 0.5, Tokens/sec 250.1, Trained Tokens 9000, Peak mem 7 GB\n",
        [(10, 2.3), (20, 1.9)],
        val_loss=[(1, 2.866)],
        lr=[(10, 1e-5), (20, 1e-5)],
    ),
    "detectron2": Printed(
        "detectron2's output",
        "[11/01 11:27:04 d2.utils.events]: eta: 8:05:12  iter: 19  total_loss: 1.012  loss_cls: 0.714  loss_box_reg: 0.291  "
        "time: 0.3322  data_time: 0.0334  lr: 0.000400  max_mem: 3961M\n"
        "[11/01 11:27:11 d2.utils.events]: eta: 8:04:51  iter: 39  total_loss: 0.971  loss_cls: 0.699  loss_box_reg: 0.274  "
        "time: 0.3323  data_time: 0.0418  lr: 0.000800  max_mem: 3961M\n",
        [(19, 1.012), (39, 0.971)],
        lr=[(19, 4e-4), (39, 8e-4)],
    ),
    "mmdet": Printed(
        "MMEngine's output",
        "".join(
            f"2020-05-08 18:44:23,494 - mmdet - INFO - Epoch [{epoch}][{at}/100]\tlr: 0.00125, eta: 4:44:04, time: 0.593, "
            f"loss_cls: 0.1861, acc: 94.0625, loss_bbox: 0.1375, loss: {loss}\n"
            for epoch, at, loss in [(1, 50, 0.9), (1, 100, 0.8), (2, 50, 0.7)]
        ),
        [(150, 0.9), (200, 0.8), (250, 0.7)],
        lr=[(150, 1.25e-3), (200, 1.25e-3), (250, 1.25e-3)],
    ),
    "composer": Printed(
        "Composer's output",
        "[batch=1/4800]:\n\t Train time/batch: 0\n\t Train loss/train/total: 11.6525\n\t Train l2_norm/grad/global: 3.5\n"
        "[batch=2/4800]:\n\t Train time/batch: 1\n\t Train loss/train/total: 11.5\n\t Train lr-DecoupledAdamW/group0: 6.0e-07\n",
        [(1, 11.6525), (2, 11.5)],
        lr=[(2, 6e-7)],
        grad_norm=[(1, 3.5)],
    ),
    "keras output": Printed(
        "Keras's output",
        "Epoch 1/3\n600/600 [==============================] - 3s 4ms/step - loss: 0.2912 - acc: 0.91 - val_loss: 0.1401\n"
        "Epoch 2/3\n600/600 ━━━━━━━━━━━━━━━━━━━━ 1s 2ms/step - accuracy: 0.96 - loss: 0.1421 - val_loss: 0.11\n",
        [(1, 0.2912), (2, 0.1421)],
        val_loss=[(1, 0.1401), (2, 0.11)],
        unit="epoch",
    ),
    "a loop of one's own": Printed(
        "lines that name a step and a loss",
        "loading data\n03:22:14 [INFO] [TRAIN] [Rank 0] step: 289, loss: 0.4310, tokens_per_second: 76477.73, lr=1e-4\n"
        "03:22:15 [INFO] [TRAIN] [Rank 0] step: 290, loss: 0.4200, tokens_per_second: 76477.73, lr=1e-4\n",
        [(289, 0.431), (290, 0.42)],
        lr=[(289, 1e-4), (290, 1e-4)],
    ),
    "epochs of one's own": Printed(
        "lines that name an epoch and a loss",
        "Epoch 1/20 - train_loss: 0.693 - val_loss: 0.68 - lr: 0.001\nEpoch 2/20 - train_loss: 0.5 - val_loss: 0.6 - lr: 0.001\n",
        [(1, 0.693), (2, 0.5)],
        val_loss=[(1, 0.68), (2, 0.6)],
        lr=[(1, 0.001), (2, 0.001)],
        unit="epoch",
    ),
    "trainer_state": Printed(
        "Hugging Face's trainer_state.json",
        '{"epoch": 1.0, "global_step": 30, "max_steps": 30, "log_history": ['
        '{"epoch": 0.33, "grad_norm": 1.5, "learning_rate": 5e-05, "loss": 2.5, "step": 10},'
        '{"epoch": 0.67, "grad_norm": NaN, "learning_rate": 2e-05, "loss": 2.0, "step": 20},'
        '{"epoch": 0.67, "eval_loss": 2.1, "eval_runtime": 1.5, "step": 20},'
        '{"epoch": 1.0, "grad_norm": 1.2, "learning_rate": 0.0, "loss": 1.9, "step": 30},'
        '{"epoch": 1.0, "step": 30, "total_flos": 1e15, "train_loss": 2.13, "train_runtime": 100.5}]}',
        [(10, 2.5), (20, 2.0), (30, 1.9)],
        val_loss=[(20, 2.1)],
        lr=[(10, 5e-5), (20, 2e-5), (30, 0.0)],
        grad_norm=[(10, 1.5), (20, float("nan")), (30, 1.2)],
    ),
    "llama-factory": Printed(
        "LLaMA-Factory's trainer_log.jsonl",
        '{"current_steps": 5, "total_steps": 10, "loss": 2.3475, "lr": 1.8e-06, "epoch": 0.002, "percentage": 50.0, '
        '"elapsed_time": "0:32:48", "remaining_time": "9 days, 21:39:23"}\n'
        '{"current_steps": 10, "total_steps": 10, "loss": 2.2964, "lr": 4.1e-06, "epoch": 0.004, "percentage": 100.0, '
        '"elapsed_time": "1 day, 1:05:36", "remaining_time": "0:00:00"}\n'
        '{"current_steps": 10, "total_steps": 10, "epoch": 0.99, "percentage": 100.0, "elapsed_time": "1 day, 1:05:40"}\n',
        [(5, 2.3475), (10, 2.2964)],
        lr=[(5, 1.8e-6), (10, 4.1e-6)],
    ),
    "detectron2 json": Printed(
        "detectron2's metrics.json",
        '{"iteration": 19, "total_loss": 1.2, "loss_cls": 0.7, "lr": 0.0004}\n'
        '{"iteration": 39, "total_loss": 1.1, "loss_cls": 0.6, "lr": 0.0008}\n',
        [(19, 1.2), (39, 1.1)],
        lr=[(19, 4e-4), (39, 8e-4)],
    ),
    "keras csv": Printed(
        "Keras's CSVLogger",
        "epoch;acc;loss;val_acc;val_loss\n0;0.26;4.88;0.41;4.21\n1;0.47;4.23;0.52;NA\n",
        [(0, 4.88), (1, 4.23)],
        val_loss=[(0, 4.21)],
        unit="epoch",
    ),
    "keras history": Printed(
        "a JSON object of columns (Keras's History)",
        '{"loss": [2.3, 1.9], "val_loss": [2.2, 2.0], "lr": [0.001, 0.001]}',
        [(0, 2.3), (1, 1.9)],
        val_loss=[(0, 2.2), (1, 2.0)],
        lr=[(0, 0.001), (1, 0.001)],
        unit="epoch",
    ),
    "yolo": Printed(
        "YOLO's results.csv",
        "                  epoch,         train/box_loss,         train/cls_loss,         train/dfl_loss,   "
        "metrics/precision(B),           val/box_loss,           val/cls_loss,           val/dfl_loss,               lr/pg0\n"
        "                      1,                    1.5,                   2.25,                    1.0,"
        "                0.66,                1.25,                 1.5,                1.0,              0.0033\n"
        "                      2,                    1.25,                  2.0,                     1.0,"
        "                0.66,                1.0,                 1.5,                1.0,              0.0066\n",
        [(1, 4.75), (2, 4.25)],
        val_loss=[(1, 3.75), (2, 3.5)],
        lr=[(1, 0.0033), (2, 0.0066)],
        unit="epoch",
    ),
    "lightning": Printed(
        "Lightning's metrics.csv",
        "epoch,lr-AdamW,step,train_loss_epoch,train_loss_step,val_loss\n0,0.001,49,,2.5,\n0,,61,,,2.3\n0,,61,2.6,,\n"
        "1,0.001,99,,2.1,\n1,0.001,149,,2.0,\n",
        [(49, 2.5), (99, 2.1), (149, 2.0)],
        val_loss=[(61, 2.3)],
        lr=[(49, 0.001), (99, 0.001), (149, 0.001)],
    ),
    "wandb history": Printed(
        "W&B's history",
        "_step,_runtime,train/global_step,train/loss,train/learning_rate,train/grad_norm,eval/loss\n"
        "0,3.5,10,2.5,0.0001,0.4,\n1,4.5,10,,,,2.4\n2,7.5,20,2.25,0.0001,0.5,\n",
        [(10, 2.5), (20, 2.25)],
        val_loss=[(10, 2.4)],
        lr=[(10, 1e-4), (20, 1e-4)],
        grad_norm=[(10, 0.4), (20, 0.5)],
    ),
    "wandb chart": Printed(
        "W&B's export of a chart",
        '"train/global_step","good - sun-3 - train/loss","good - sun-3 - train/loss__MIN","good - sun-3 - train/loss__MAX"\n'
        '"10","2.5","2.4","2.6"\n"20","NaN","",""\n"30","2.0","2.0","2.0"\n',
        [(10, 2.5), (20, float("nan")), (30, 2.0)],
    ),
    "tsv": Printed(
        "a table",
        "step\tloss\tlr\n1\t2.5\t0.1\n2\t-\t0.1\n3\t2.0\t0.1\n",
        [(1, 2.5), (3, 2.0)],
        lr=[(1, 0.1), (2, 0.1), (3, 0.1)],
    ),
    "decimal commas": Printed("a table", "step;loss\n1;2,5\n2;2,25\n", [(1, 2.5), (2, 2.25)]),
    "blanks": Printed("a table", "# step loss\n1 2.5\n2 2.25\n", [(1, 2.5), (2, 2.25)]),
}
