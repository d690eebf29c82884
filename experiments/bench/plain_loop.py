"""The default model and its training as one writes them by hand in plain PyTorch: what our step is measured against."""

from __future__ import annotations

import math
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DEPTH, HEAD, CONTEXT, VOCAB, BATCH = 2, 16, 64, 256, 16


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, time_, width = x.shape
        h = self.norm1(x)
        q, k, v = (m(h).view(batch, time_, self.heads, HEAD).transpose(1, 2) for m in (self.q, self.k, self.v))
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(a.transpose(1, 2).reshape(batch, time_, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Model(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCAB, width), nn.Embedding(CONTEXT, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.readout = nn.Linear(width, VOCAB, bias=False)
        nn.init.zeros_(self.readout.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.readout(self.norm(x))


def time_steps(data: Tensor, width: int, steps: int) -> float:
    """Seconds of `steps` training steps on 1-D uint8 tokens, the model's construction left out."""
    model = Model(width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2**-7, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / 15) * (1 - step / steps))
    window, losses = torch.arange(CONTEXT + 1), []
    start = time.perf_counter()
    for _ in range(steps):
        batch = data[torch.randint(len(data) - CONTEXT, (BATCH, 1)) + window].long()
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    wall = time.perf_counter() - start
    assert math.isfinite(sum(losses))
    return wall
