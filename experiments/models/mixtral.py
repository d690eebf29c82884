"""Does the best rate of a mixture of experts stand still? Hugging Face's Mixtral, two of four experts for each token.

2 arms, 81 trials, 9 minutes on two cores beside other load. From the repository's root, with the extra `hf`:

    python -m experiments.models.mixtral
"""

import experiments.models.hugging_face  # noqa: F401, I001, before transformers
from transformers import MixtralConfig, MixtralForCausalLM

from experiments.models.byte_sweep import byte_sweep
from mutransfer.cli import main as mutransfer
from mutransfer.config import SweepConfig

HEAD_DIM, KV_HEADS, EXPERTS, CHOSEN = 16, 2, 4, 2


def build(width: int) -> MixtralForCausalLM:
    """Its own initialization: a standard deviation of 0.02 at every width."""
    return MixtralForCausalLM(
        MixtralConfig(
            vocab_size=256,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=width // HEAD_DIM,
            num_key_value_heads=KV_HEADS,
            head_dim=HEAD_DIM,
            num_local_experts=EXPERTS,
            num_experts_per_tok=CHOSEN,
            max_position_embeddings=256,
            use_cache=False,
        )
    )


def sweep() -> SweepConfig:
    return byte_sweep("mixtral", ("sp_fixed_std", "mup_table3"))


def main() -> int:
    return mutransfer(["sweep", __file__])


if __name__ == "__main__":
    raise SystemExit(main())
