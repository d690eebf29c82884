"""Does the best rate of torch's own nn.TransformerEncoder stand still? With a causal mask it predicts the next byte.

2 arms, 84 trials, 2 minutes on two cores. Its report advised a wider one, which is what is committed: `mutransfer sweep
experiments/models/encoder.py --widths 32 64 128 256 --target-se 0.038 --budget 16`, 58 trials more, 5 minutes. From the
repository's root:

    python -m experiments.models.encoder
"""

import torch
from torch import Tensor, nn

from experiments.models.byte_sweep import byte_sweep
from mutransfer.cli import main as mutransfer
from mutransfer.config import SweepConfig

HEAD_DIM, LONGEST = 16, 256


class Encoder(nn.Module):
    """Learned positions, pre-norm layers, a readout; everything starts as torch starts it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(256, width), nn.Embedding(LONGEST, width)
        layer = nn.TransformerEncoderLayer(
            width, width // HEAD_DIM, 4 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.readout = nn.Linear(width, 256)

    def forward(self, tokens: Tensor) -> Tensor:
        """From tokens (B, T) to logits (B, T, 256)."""
        length = tokens.shape[1]
        x = self.tokens(tokens) + self.positions(torch.arange(length, device=tokens.device))
        later = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        return self.readout(self.encoder(x, mask=later, is_causal=True))  # type: ignore[no-any-return]


def build(width: int) -> nn.Module:
    return Encoder(width)


def sweep() -> SweepConfig:
    return byte_sweep("encoder", ("sp", "mup_table3"))


def main() -> int:
    return mutransfer(["sweep", __file__])


if __name__ == "__main__":
    raise SystemExit(main())
