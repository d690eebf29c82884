"""An MLP over the last tokens, as plain modules with plain-float multipliers: the smallest model with a width.

Like the transformer it knows nothing of parametrizations, and its matrices start uninitialized.

    B batch, T time, C width, V vocabulary
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mutransfer.config import ModelConfig
from mutransfer.models.layers import Embedding, Linear


class TokenMLP(nn.Module):
    """Tokens (B, T) to logits (B, T, V): each position sees the last `config.window` tokens, its own among them.

    `embeddings[k]` is the table of the token k places back; their sum is a linear map of the concatenated one-hots.
    Places before the start add nothing. `config.depth` layers end in a ReLU, that sum the first of them.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = nn.ModuleList(Embedding(config.vocab, config.width) for _ in range(config.window))
        self.hidden = nn.ModuleList(Linear(config.width, config.width, bias=False) for _ in range(config.depth - 1))
        self.readout = Linear(config.width, config.vocab, bias=False)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        time = tokens_BT.shape[1]
        seen_BTC = [F.pad(table(tokens_BT), (0, 0, back, 0))[:, :time] for back, table in enumerate(self.embeddings)]
        x_BTC = F.relu(sum(seen_BTC[1:], seen_BTC[0]))
        for layer in self.hidden:
            x_BTC = F.relu(layer(x_BTC))
        logits_BTV: Tensor = self.readout(x_BTC)
        return logits_BTV
