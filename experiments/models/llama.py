"""Does the best rate of Hugging Face's Llama stand still? Grouped queries with two key/value heads at every width.

2 arms, 80 trials, 7 minutes on two cores beside other load. Its report advised a wider one, which is what is committed:
`mutransfer sweep experiments/models/llama.py --widths 32 64 128 256 --target-se 0.035 --budget 14`, 45 trials more,
13 minutes. From the repository's root, with the extra `hf`:

    python -m experiments.models.llama
"""

import experiments.models.hugging_face  # noqa: F401, I001, before transformers
from transformers import LlamaConfig, LlamaForCausalLM

from experiments.models.byte_sweep import byte_sweep
from mutransfer.cli import main as mutransfer
from mutransfer.config import SweepConfig

HEAD_DIM, KV_HEADS = 16, 2


def build(width: int) -> LlamaForCausalLM:
    """Its own initialization: a standard deviation of 0.02 at every width."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=256,
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=2,
            num_attention_heads=width // HEAD_DIM,
            num_key_value_heads=KV_HEADS,
            head_dim=HEAD_DIM,
            max_position_embeddings=256,
            use_cache=False,
        )
    )


def sweep() -> SweepConfig:
    return byte_sweep("llama", ("sp_fixed_std", "mup_table3"))


def main() -> int:
    return mutransfer(["sweep", __file__])


if __name__ == "__main__":
    raise SystemExit(main())
