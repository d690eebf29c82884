"""The transformer's shape and choices. Every default stands here, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mutransfer.checks import all_used, of_its_types, one_of, positive

ACTIVATIONS = ("gelu", "relu2", "swiglu")
NORMS = ("layernorm", "rmsnorm")
POSITIONS = ("learned", "rope")
ATTENTION_SCALES = ("table", "1/sqrt(d)", "sqrt(d0)/d")

ARCHITECTURES: Mapping[str, tuple[str, ...]] = {
    "transformer": (
        "head_dim",
        "n_heads",
        "n_kv_heads",
        "mlp_ratio",
        "activation",
        "norm",
        "norm_gain",
        "bias",
        "positions",
        "qk_norm",
        "tied_embeddings",
        "zero_query",
        "attention_scale",
        "attention_mult",
    ),
    "mlp": ("window",),
}
"""Each architecture with the fields that not all use; `mutransfer.models` has a class for each."""

WIDEST = 2**20
"""A width beyond this is a slip of the keyboard."""


@dataclass(frozen=True)
class ModelConfig:
    """A decoder-only transformer, or an MLP. Initialization and multipliers are the parametrization's business."""

    architecture: str = "transformer"
    """transformer, or mlp: the last `window` tokens, one-hot, through `depth` ReLU layers without biases or norms."""
    window: int = 4
    """Tokens that the mlp sees."""
    width: int = 128
    """Size of the residual stream. A sweep sets it."""
    depth: int = 2
    """Number of blocks (attention and MLP)."""
    head_dim: int | None = 16
    """Size of a head; the number of heads then grows with width. None where n_heads is given instead."""
    n_heads: int | None = None
    """Number of heads at every width; head_dim then grows with width. Needs head_dim=None."""
    n_kv_heads: int | None = None
    """Number of key/value heads at every width (grouped-query attention); None: as many as query heads."""
    mlp_ratio: float = 4.0
    """Hidden size of the MLP over width."""
    activation: str = "gelu"
    """gelu, relu2 (squared ReLU) or swiglu (gated; three matrices instead of two)."""
    norm: str = "layernorm"
    """layernorm or rmsnorm, before each sub-layer and before the readout."""
    norm_gain: bool = False
    """Learnable gains (and, for layernorm with bias, biases) of the norms."""
    bias: bool = False
    """Biases of the attention and MLP maps and, with norm_gain, of the layernorms."""
    positions: str = "learned"
    """learned (a table added to the embedding) or rope (rotary)."""
    qk_norm: bool = False
    """RMS-normalize queries and keys over each head."""
    tied_embeddings: bool = False
    """The readout shares the embedding's weight."""
    zero_readout: bool = True
    """Start the readout at zero (Tensor Programs V, appendix D.2)."""
    zero_query: bool = False
    """Start the query projections at zero (Tensor Programs V, appendix D.2)."""
    attention_scale: str = "table"
    """Scale of the attention logits: 1/sqrt(d), sqrt(d0)/d (d0: head_dim at base_width), or what the table says."""
    attention_mult: float = 1.0
    """Multiplies the attention logits at every width."""
    embedding_mult: float = 1.0
    """Multiplies the embedding's output at every width."""
    output_mult: float = 4.0
    """Multiplies the logits at every width: a readout that starts at zero must learn faster to catch up."""
    context: int = 64
    """Tokens per sequence."""
    vocab: int = 256
    """Size of the vocabulary; 256 for bytes."""

    @property
    def heads(self) -> int:
        """Number of query heads at this width."""
        return self.n_heads if self.n_heads is not None else self.width // self.size_of_head

    @property
    def size_of_head(self) -> int:
        """`head_dim` at this width."""
        return self.head_dim if self.head_dim is not None else self.width // (self.n_heads or 1)

    @property
    def kv_heads(self) -> int:
        """Number of key/value heads at this width."""
        return self.heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def mlp_width(self) -> int:
        """Hidden size of the MLP at this width."""
        return round(self.mlp_ratio * self.width)

    def validate(self) -> None:
        """Raises ValueError on a shape that cannot be built."""
        of_its_types("model.", self)
        one_of("model.architecture", self.architecture, ARCHITECTURES)
        positive("model.window", self.window)
        own = {field: name == self.architecture for name, fields in ARCHITECTURES.items() for field in fields}
        all_used("model.", self, own, self.architecture)
        one_of("model.activation", self.activation, ACTIVATIONS)
        one_of("model.norm", self.norm, NORMS)
        one_of("model.positions", self.positions, POSITIONS)
        one_of("model.attention_scale", self.attention_scale, ATTENTION_SCALES)
        for name, most in (("width", WIDEST), ("depth", 2**14), ("context", 2**24), ("vocab", 2**24)):
            positive(f"model.{name}", getattr(self, name), most)
        for name in ("mlp_ratio", "attention_mult", "embedding_mult", "output_mult"):
            positive(f"model.{name}", getattr(self, name), 2**20)
        if self.architecture == "transformer":
            self._validate_blocks()
        elif self.window > self.context:
            raise ValueError(
                f"expected model.window within model.context {self.context}, got {self.window}; lower model.window"
            )

    def _validate_blocks(self) -> None:
        """Raises ValueError on attention and MLPs that cannot be built."""
        if (self.head_dim is None) == (self.n_heads is None):
            raise ValueError(
                f"expected exactly one of head_dim and n_heads, got model.head_dim={self.head_dim} and "
                f"model.n_heads={self.n_heads}; set the other to None"
            )
        for name in ("head_dim", "n_heads", "n_kv_heads"):
            if getattr(self, name) is not None:
                positive(f"model.{name}", getattr(self, name), WIDEST)
        name = "n_heads" if self.head_dim is None else "head_dim"
        part = getattr(self, name)
        if self.width % part:
            near = max(part, round(self.width / part) * part)
            raise ValueError(
                f"expected width to be a multiple of {name} {part}, got {self.width}; use {near}, or set model.{name}"
            )
        if self.heads % self.kv_heads:
            raise ValueError(
                f"expected heads to be a multiple of n_kv_heads {self.n_kv_heads}, got {self.heads} at width "
                f"{self.width}; set model.n_kv_heads"
            )
        if abs(self.mlp_ratio * self.width - self.mlp_width) > 1e-9:
            raise ValueError(
                f"expected mlp_ratio times width {self.width} to be a whole number, got "
                f"{self.mlp_ratio * self.width:g}; set model.mlp_ratio"
            )
        if self.positions == "rope" and self.size_of_head % 2:
            raise ValueError(f"expected an even head_dim with rope, got {self.size_of_head}; set model.head_dim")
        if self.zero_readout and self.tied_embeddings:
            raise ValueError(
                "expected a readout that starts as the embedding does where it shares its weight, got tied_embeddings "
                "with zero_readout; set model.zero_readout to False"
            )


GPT2 = ModelConfig(norm_gain=True, bias=True, tied_embeddings=True, zero_readout=False, output_mult=1.0)
"""After Radford et al. 2019: layernorm with gains, biases, learned positions, GELU, tied embeddings."""

LLAMA = ModelConfig(norm="rmsnorm", norm_gain=True, activation="swiglu", mlp_ratio=3.5, positions="rope", n_kv_heads=2)
"""After Llama 3 (2407.21783, table 3): RMSNorm with gains, SwiGLU at ratio 3.5, rotary positions, grouped queries."""

PRESETS: Mapping[str, ModelConfig] = {"default": ModelConfig(), "gpt2": GPT2, "llama": LLAMA}
