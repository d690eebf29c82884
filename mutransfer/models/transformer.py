"""A decoder-only transformer as plain modules with plain-float multipliers.

It knows nothing of parametrizations: `parametrization/build.py` sets `forward_mult`, `attention_scale`, the multipliers
of the residual stream and the initial values. The modules leave their matrices uninitialized; biases start at 0 and
gains at 1.

    B batch, T time, C width, H heads, G key/value heads, D head_dim, F hidden size of the MLP, V vocabulary
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutransfer.config import ModelConfig
from mutransfer.models.layers import Embedding, Linear, RMSNorm, scaled


def make_norm(config: ModelConfig, size: int) -> nn.Module:
    """The norm that the config names, over the last dimension of `size`."""
    if config.norm == "rmsnorm":
        return RMSNorm(size, elementwise_affine=config.norm_gain)
    return nn.LayerNorm(size, elementwise_affine=config.norm_gain, bias=config.bias)


class SubLayer(nn.Module):
    """What a block adds to the residual stream, and how: `skip_mult` times the stream plus `residual_mult` times it."""

    residual_mult: float = 1.0
    skip_mult: float = 1.0

    def add(self, stream_BTC: Tensor, change_BTC: Tensor) -> Tensor:
        return scaled(stream_BTC, self.skip_mult) + scaled(change_BTC, self.residual_mult)


class Attention(SubLayer):
    """Causal self-attention; logits are q.k times `attention_scale`, a plain float."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.size_of_head
        self.attention_scale = config.attention_mult * self.head_dim**-0.5
        self.query = Linear(config.width, self.heads * self.head_dim, config.bias)
        self.key = Linear(config.width, self.kv_heads * self.head_dim, config.bias)
        self.value = Linear(config.width, self.kv_heads * self.head_dim, config.bias)
        self.out = Linear(self.heads * self.head_dim, config.width, config.bias)
        gain = config.norm_gain
        self.query_norm = RMSNorm(self.head_dim, elementwise_affine=gain) if config.qk_norm else nn.Identity()
        self.key_norm = RMSNorm(self.head_dim, elementwise_affine=gain) if config.qk_norm else nn.Identity()

    def forward(self, x_BTC: Tensor, rotation: tuple[Tensor, Tensor] | None) -> Tensor:
        q_BHTD, k_BGTD = self.queries_and_keys(x_BTC, rotation)
        v_BGTD = self._split(self.value(x_BTC), self.kv_heads)
        grouped = self.kv_heads != self.heads
        if grouped and q_BHTD.is_cuda and q_BHTD.dtype != torch.bfloat16:
            # a GPU's one fused kernel for wide numbers takes no groups (pytorch/pytorch#181528): without it the
            # weights of all pairs would be written out, and kept
            k_BGTD, v_BGTD = (x.repeat_interleave(self.heads // self.kv_heads, dim=1) for x in (k_BGTD, v_BGTD))
            grouped = False
        mixed_BHTD = F.scaled_dot_product_attention(
            q_BHTD, k_BGTD, v_BGTD, is_causal=True, scale=self.attention_scale, enable_gqa=grouped
        )
        out: Tensor = self.out(mixed_BHTD.transpose(1, 2).flatten(2))
        return out

    def queries_and_keys(self, x_BTC: Tensor, rotation: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Queries (B, H, T, D) and keys (B, G, T, D), normalized and rotated, as the logits take them."""
        q_BHTD = self.query_norm(self._split(self.query(x_BTC), self.heads))
        k_BGTD = self.key_norm(self._split(self.key(x_BTC), self.kv_heads))
        if rotation is not None:
            q_BHTD, k_BGTD = rotate(q_BHTD, rotation), rotate(k_BGTD, rotation)
        return q_BHTD, k_BGTD

    def _split(self, x_BTC: Tensor, heads: int) -> Tensor:
        return x_BTC.view(*x_BTC.shape[:2], heads, self.head_dim).transpose(1, 2)


def rotation_tables(context: int, head_dim: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions (Su et al. 2104.09864, eq. 34), each of shape (context, head_dim)."""
    frequency = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.outer(torch.arange(context, dtype=torch.float64), frequency).repeat(1, 2)
    return angle.cos().float(), angle.sin().float()


def rotate(x_BHTD: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate pairs (i, i + D/2) of each head by its position's angles."""
    cos_TD, sin_TD = (table[: x_BHTD.shape[2]].to(x_BHTD.dtype) for table in rotation)
    first, second = x_BHTD.chunk(2, dim=-1)
    return x_BHTD * cos_TD + torch.cat((-second, first), dim=-1) * sin_TD


class MLP(SubLayer):
    """Two maps with a nonlinearity between; swiglu gates the hidden layer with a third."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = config.activation
        self.up = Linear(config.width, config.mlp_width, config.bias)
        self.gate = Linear(config.width, config.mlp_width, config.bias) if config.activation == "swiglu" else None
        self.down = Linear(config.mlp_width, config.width, config.bias)

    def forward(self, x_BTC: Tensor) -> Tensor:
        h_BTF = self.up(x_BTC)
        if self.gate is not None:
            h_BTF = F.silu(self.gate(x_BTC)) * h_BTF
        elif self.activation == "relu2":
            h_BTF = F.relu(h_BTF).square()
        else:
            h_BTF = F.gelu(h_BTF)
        out: Tensor = self.down(h_BTF)
        return out


class Block(nn.Module):
    """Pre-norm attention and MLP, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = make_norm(config, config.width)
        self.attention = Attention(config)
        self.mlp_norm = make_norm(config, config.width)
        self.mlp = MLP(config)

    def forward(self, x_BTC: Tensor, rotation: tuple[Tensor, Tensor] | None) -> Tensor:
        x_BTC = self.attention.add(x_BTC, self.attention(self.attention_norm(x_BTC), rotation))
        return self.mlp.add(x_BTC, self.mlp(self.mlp_norm(x_BTC)))


class Transformer(nn.Module):
    """Tokens (B, T) to logits (B, T, V). T may be anything up to `config.context`."""

    position: Embedding | None
    rotation_cos: Tensor
    rotation_sin: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.vocab, config.width)
        self.rotary = config.positions == "rope"
        self.position = None if self.rotary else Embedding(config.context, config.width)
        if self.rotary:
            cos, sin = rotation_tables(config.context, config.size_of_head)
            self.register_buffer("rotation_cos", cos, persistent=False)
            self.register_buffer("rotation_sin", sin, persistent=False)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final_norm = make_norm(config, config.width)
        self.readout = Linear(config.width, config.vocab, bias=False)
        if config.tied_embeddings:
            self.readout.weight = self.embedding.weight

    def forward(self, tokens_BT: Tensor) -> Tensor:
        x_BTC: Tensor = self.embedding(tokens_BT)
        if self.position is not None:
            x_BTC = x_BTC + self.position(torch.arange(tokens_BT.shape[1], device=tokens_BT.device))
        rotation = (self.rotation_cos, self.rotation_sin) if self.rotary else None
        for block in self.blocks:
            x_BTC = block(x_BTC, rotation)
        logits_BTV: Tensor = self.readout(self.final_norm(x_BTC))
        return logits_BTV
