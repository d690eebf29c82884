"""Each parametrization as data: for each role, how its columns scale with width, and where that is from.

An entry (a, b) means: times m_in**a * m_out**b, where m_in and m_out are the parameter's fan-in and fan-out over those
at the base width (1 for a dimension that does not grow). At base width and base depth every factor is exactly 1, so
every table but `umup` is the same model there. TPV is Tensor Programs V, arXiv 2203.03466v2; Everett et al. is
2407.05872; where a source gives one width n for a square hidden weight, m_in and m_out are told apart below.

Tables 3, 8 and 9 of TPV are one parametrization in three gauges (Lemma J.1): multiply a forward multiplier by t, and
divide the init std by t, the SGD rate by t**2, the Adam rate by t, and the gradient (so epsilon) comes times t. TPV
prints them for square hidden weights; where fan-in and fan-out grow apart (fixed key/value heads) the columns here are:
hidden SGD rate m_out/m_in, as `mup.MuSGD` has it, and epsilon 1/m_out, the size of the gradient of a map to m_out.

Epsilon follows the root mean square of the gradient, and where a table is derived and not just used, every optimizer
moves a parameter alike, so that one rate column follows from another:

| optimizer's step | column | is |
|---|---|---|
| as large as the gradient (SGD) | sgd_lr | adam_lr - adam_eps |
| as large as the parameter (LARS, LAMB, Adafactor; TPV B.3, Everett et al. Table 1) | norm_lr | adam_lr - init_std |
| of singular values 1 (Muon, Shampoo) | spectral_lr | adam_lr + (1/2, 1/2) |

The last is the spectral condition of Yang, Simon and Bernstein (2310.17813): a map's step has norm sqrt(m_out/m_in).
Under SP, one rate for all means for such steps the root mean square of AdamW's (Moonlight, 2502.16982): sqrt(m_in).

A map from a wide space to a fixed one inside the model is TPV's output weight, wherever it stands: the spectral
condition asks of it a norm of m_in**-0.5, so 1/m_in of its entries. With the m_in**-0.5 of a hidden weight, what it
writes moves by m_in**0.5 as soon as what it reads has learned from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Role = Literal["input", "hidden", "bottleneck", "output", "vector", "scalar"]
"""input: maps a fixed space to a wide one; hidden: a wide one to a wide one; bottleneck: a wide one to a fixed one,
inside the model (a router, fixed key/value heads); output: the readout, the last such map; vector: a wide gain or bias;
scalar: a parameter without a wide dimension."""

MATRICES: tuple[Role, ...] = ("input", "hidden", "bottleneck", "output")
"""Roles of what maps one space to another: initialized at random, and decayed."""

Exponents = tuple[float, float]

FLAT: Exponents = (0.0, 0.0)


class Row(NamedTuple):
    """One role's exponents of (m_in, m_out)."""

    init_std: Exponents = FLAT
    forward_mult: Exponents = FLAT
    adam_lr: Exponents = FLAT
    sgd_lr: Exponents = FLAT
    norm_lr: Exponents = FLAT
    spectral_lr: Exponents = FLAT
    adam_eps: Exponents = FLAT
    gauge: Exponents = FLAT
    """Times the gradient, gives it in the gauge in which norms are taken: Table 8's, where the global norm does not
    grow with width, for all that are muP; SP's for `ntk`, which is SP in another gauge."""


class Depth(NamedTuple):
    """Exponents of m_L, the depth over the base depth: of the multiplier of what each sub-layer adds to the residual
    stream, and of every parameter inside a residual block. What stands outside blocks does not change with depth. Steps
    that do not grow with the gradient (all but SGD's) take Adam's."""

    branch: float = 0.0
    adam_lr: float = 0.0
    sgd_lr: float = 0.0
    adam_eps: float = 0.0


class Table(NamedTuple):
    """A parametrization."""

    name: str
    source: str
    rows: Mapping[Role, Row]
    attention: float
    """The exponent of head_dim/d0 beyond 1/sqrt(head_dim) in the attention logits' scale."""
    depth: Depth = Depth()
    absolute: bool = False
    """The base is width 1 and depth 1: fan-in, fan-out, head_dim and depth stand for m_in, m_out, head_dim/d0 and m_L;
    every weight starts at std 1, and constants keep every activation at variance 1."""
    ablation: bool = False
    """Another table with one entry taken out or put in, to show what that entry does: not to train with."""

    @property
    def ties(self) -> bool:
        """Whether an embedding and a readout of one shape have one rule, so that one weight can be both."""
        into, out = self.rows["input"], self.rows["output"]
        pairs = ((into.adam_lr, out.adam_lr), (into.adam_eps, out.adam_eps), (into.gauge, out.gauge))
        return all(one[1] == other[0] for one, other in pairs)

    @property
    def for_depth(self) -> bool:
        """Whether it has rules for residual branches over a base depth."""
        return self.depth != Depth() and not self.absolute


_SP_INSIDE = Row(init_std=(-0.5, 0), spectral_lr=(0.5, 0))

SP = Table(
    "sp",
    "TPV Table 3, entries in brackets: fan-in initialization, one rate for all",
    {
        "input": Row(),
        "hidden": _SP_INSIDE,
        "bottleneck": _SP_INSIDE,
        "output": Row(init_std=(-0.5, 0)),
        "vector": Row(),
        "scalar": Row(),
    },
    attention=0.0,
)

SP_FIXED_STD = Table(
    "sp_fixed_std",
    "GPT-2 (Radford et al. 2019), nanoGPT: whatever initialization there is at base_width, at every width (with "
    "init.base=fixed_std theirs); one rate for all",
    {role: row._replace(init_std=FLAT) for role, row in SP.rows.items()},
    attention=0.0,
)

_VECTOR = Row(sgd_lr=(0, 1), adam_eps=(0, -1))

# without a multiplier in every table: the output's row of Table 3
_BOTTLENECK = Row(init_std=(-1, 0), adam_lr=(-1, 0), sgd_lr=(-1, 0), spectral_lr=(-0.5, 0.5), gauge=(-1, 0))

MUP = Table(
    "mup",
    "TPV Table 8; attention TPV Definition 4.1; epsilon TPV B.3",
    {
        "input": Row(sgd_lr=(0, 1), adam_eps=(0, -1)),
        "hidden": Row(
            init_std=(-0.5, 0),
            adam_lr=(-1, 0),
            sgd_lr=(-1, 1),
            norm_lr=(-0.5, 0),
            spectral_lr=(-0.5, 0.5),
            adam_eps=(0, -1),
        ),
        "bottleneck": _BOTTLENECK,
        "output": Row(forward_mult=(-1, 0), sgd_lr=(1, 0), adam_eps=(-1, 0)),
        "vector": _VECTOR,
        "scalar": Row(),
    },
    attention=-0.5,
)

MUP_TABLE3 = Table(
    "mup_table3",
    "TPV Table 3: no multipliers; attention TPV Definition 4.1; epsilon TPV B.3 in this gauge",
    {
        "input": MUP.rows["input"],
        "hidden": MUP.rows["hidden"],
        "bottleneck": _BOTTLENECK,
        "output": Row(init_std=(-1, 0), adam_lr=(-1, 0), sgd_lr=(-1, 0), gauge=(-1, 0)),
        "vector": _VECTOR,
        "scalar": Row(),
    },
    attention=-0.5,
)

MUP_TABLE9 = Table(
    "mup_table9",
    "TPV Table 9 (gains and biases in Table 8's gauge); attention TPV Definition 4.1; epsilon TPV B.3 in this gauge",
    {
        "input": Row(init_std=(0, -0.5), forward_mult=(0, 0.5), adam_lr=(0, -0.5), adam_eps=(0, -0.5), gauge=(0, -0.5)),
        "hidden": MUP.rows["hidden"],
        "bottleneck": _BOTTLENECK,
        "output": Row(
            init_std=(-0.5, 0), forward_mult=(-0.5, 0), adam_lr=(-0.5, 0), adam_eps=(-0.5, 0), gauge=(-0.5, 0)
        ),
        "vector": _VECTOR,
        "scalar": Row(),
    },
    attention=-0.5,
)

MUP_SIMPLE = Table(
    "mup_simple",
    "Wortsman et al. 2309.14322, muParam (simple): SP but for the Adam rate of hidden weights; all else as SP",
    {**SP.rows, **dict.fromkeys(("hidden", "bottleneck"), _SP_INSIDE._replace(adam_lr=(-1, 0)))},
    attention=0.0,
)

_FULL_ALIGN_OUTPUT = Row(init_std=(-0.5, 0), adam_lr=(-1, 0), sgd_lr=(-1, 0), norm_lr=(-0.5, 0))

# The gradient of an activation is that of the logits times a readout of std n^-1/2, so each but the readout's own goes
# as n^-1/2; a map to fixed key/value heads collects it from m_in query heads, which cancels that.
SP_FULL_ALIGN = Table(
    "sp_full_align",
    "Everett et al. Table 1, standard, full alignment; epsilon and SGD rates from the initial gradient's size",
    {
        "input": Row(sgd_lr=(0, 0.5), adam_eps=(0, -0.5)),
        "hidden": Row(
            init_std=(-0.5, 0),
            adam_lr=(-1, 0),
            sgd_lr=(-1, 0.5),
            norm_lr=(-0.5, 0),
            spectral_lr=(-0.5, 0.5),
            adam_eps=(0, -0.5),
        ),
        "bottleneck": _FULL_ALIGN_OUTPUT._replace(spectral_lr=(-0.5, 0.5)),
        "output": _FULL_ALIGN_OUTPUT,
        "vector": Row(sgd_lr=(0, 0.5), adam_eps=(0, -0.5)),
        "scalar": Row(),
    },
    attention=0.0,
)

NTK = Table(
    "ntk",
    "Everett et al. Table 1, NTK, full alignment; sp_full_align with t = n^-1/2 at hidden and readout weights",
    {
        **SP_FULL_ALIGN.rows,
        "hidden": Row(
            forward_mult=(-0.5, 0),
            adam_lr=(-0.5, 0),
            sgd_lr=(0, 0.5),
            norm_lr=(-0.5, 0),
            spectral_lr=(0, 0.5),
            adam_eps=(-0.5, -0.5),
            gauge=(0.5, 0),
        ),
        "output": Row(forward_mult=(-0.5, 0), adam_lr=(-0.5, 0), norm_lr=(-0.5, 0), adam_eps=(-0.5, 0), gauge=(0.5, 0)),
    },
    attention=0.0,
)

MEAN_FIELD = Table(
    "mean_field",
    "Everett et al. Table 1, mean-field, full alignment; TPV Table 8 with t = n^-1/2 at hidden weights, but attention "
    "as in SP",
    {
        **MUP.rows,
        "hidden": Row(
            forward_mult=(-0.5, 0),
            adam_lr=(-0.5, 0),
            sgd_lr=(0, 1),
            norm_lr=(-0.5, 0),
            spectral_lr=(0, 0.5),
            adam_eps=(-0.5, -1),
            gauge=(0.5, 0),
        ),
    },
    attention=0.0,
)

UMUP = Table(
    "umup",
    "u-muP (Blake et al. 2407.17465) Table 2 without its backward constants; epsilon and SGD rates from the gradient's "
    "size, as those constants would do; residual scheme appendix G",
    {
        "input": Row(adam_lr=(0, -0.5), sgd_lr=(0, 0.5), norm_lr=(0, -0.5), adam_eps=(0, -1)),
        "hidden": MEAN_FIELD.rows["hidden"],
        "bottleneck": MEAN_FIELD.rows["hidden"],  # every activation starts at variance 1
        "output": MUP.rows["output"],
        "vector": _VECTOR,
        "scalar": Row(),
    },
    attention=-0.5,
    depth=Depth(branch=-0.5, adam_lr=-0.5, adam_eps=-0.5),
    absolute=True,
)
"""Not SP anywhere: base_width and base_depth say nothing here, and its rates live on another scale: do not draw its
optimum against another table's.

Unit scaling also multiplies gradients by constants on their way back, for the sake of low-precision formats. Adam does
not see a constant on a gradient but through epsilon, which is scaled instead; so they are left out."""

DEPTH_MUP = Table(
    "depth_mup",
    "Tensor Programs VI (2310.02244), depth-muP: branch 1/sqrt(L), Adam rate 1/sqrt(L); over TPV Table 8",
    MUP.rows,
    attention=MUP.attention,
    depth=Depth(branch=-0.5, adam_lr=-0.5, adam_eps=-0.5),
)

COMPLETEP = Table(
    "completep",
    "CompleteP (Dey et al. 2505.01618) Table 1 with alpha=1; SGD rate from the gradient's size; over TPV Table 8",
    MUP.rows,
    attention=MUP.attention,
    depth=Depth(branch=-1.0, sgd_lr=1.0, adam_eps=-1.0),
)

SP_EMBEDDING_LR = Table(
    "sp_embedding_lr",
    "Kalra and Barkeshli 2605.21486: SP with the embedding's Adam rate raised with width; SGD as SP",
    {**SP.rows, "input": Row(adam_lr=(0, 1))},
    attention=SP.attention,
    ablation=True,
)

MUP_WITHOUT_HIDDEN_LR = Table(
    "mup_without_hidden_lr",
    "TPV Table 8 without its Adam rate for hidden weights",
    {**MUP.rows, "hidden": MUP.rows["hidden"]._replace(adam_lr=FLAT)},
    attention=MUP.attention,
    ablation=True,
)

MUP_WITHOUT_OUTPUT_MULT = Table(
    "mup_without_output_mult",
    "TPV Table 8 without its multiplier on the readout",
    {**MUP.rows, "output": MUP.rows["output"]._replace(forward_mult=FLAT)},
    attention=MUP.attention,
    ablation=True,
)

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        SP,
        SP_FIXED_STD,
        MUP,
        MUP_TABLE3,
        MUP_TABLE9,
        MUP_SIMPLE,
        SP_FULL_ALIGN,
        NTK,
        MEAN_FIELD,
        UMUP,
        DEPTH_MUP,
        COMPLETEP,
        SP_EMBEDDING_LR,
        MUP_WITHOUT_HIDDEN_LR,
        MUP_WITHOUT_OUTPUT_MULT,
    )
}
"""Every parametrization by name; each has its source. What reads their names (flags, validation, the laws in the
tests) reads them here."""
