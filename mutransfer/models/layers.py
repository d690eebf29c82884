"""Linear maps and embeddings with a plain-float multiplier, and a norm that is the same on every device.

Matrices are left uninitialized: the parametrization sets `forward_mult` and the initial values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def scaled(x: Tensor, mult: float) -> Tensor:
    """`x` times `mult`, and `x` itself where that is 1."""
    return x if mult == 1.0 else x * mult


class Linear(nn.Linear):
    """A linear map whose input is multiplied by `forward_mult`."""

    forward_mult: float = 1.0

    def reset_parameters(self) -> None:
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(scaled(input, self.forward_mult), self.weight, self.bias)


class Embedding(nn.Embedding):
    """A table whose rows are multiplied by `forward_mult`."""

    forward_mult: float = 1.0

    def reset_parameters(self) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        return scaled(super().forward(input), self.forward_mult)


class RMSNorm(nn.RMSNorm):
    """Torch's, of float32 or wider whatever it is given: of bfloat16 (queries and keys under autocast) a GPU's kernel
    for it may take that type's epsilon, 0.008, which is no small part of small queries (pytorch/pytorch#189581), and
    there is none where the gain is of another type."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(torch.promote_types(x.dtype, torch.float32))).to(x.dtype)
