"""Each parametrization as data: for each role, how its columns scale with width, and where that is from.

An entry (a, b) means: times m_in**a * m_out**b, where m_in and m_out are the parameter's fan-in and fan-out over those
at the base width (1 for a dimension that does not grow). At the base width every factor is exactly 1, so every table is
the same model there. TPV is Tensor Programs V, arXiv 2203.03466v2.

Tables 3, 8 and 9 of TPV are one parametrization in three gauges (Lemma J.1): multiply a forward multiplier by t, and
divide the init std by t, the SGD rate by t**2, the Adam rate by t, and the gradient (so epsilon) comes times t. TPV
prints them for square hidden weights; where fan-in and fan-out grow apart (fixed key/value heads) the columns here are:
hidden SGD rate m_out/m_in, as `mup.MuSGD` has it, and epsilon 1/m_out, the size of the gradient of a map to m_out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Role = Literal["input", "hidden", "output", "vector", "scalar"]
"""input: maps a fixed space to a wide one; hidden: reads a wide space inside the model; output: the readout, the last
map from a wide space to a fixed one; vector: a wide gain or bias; scalar: a parameter without a wide dimension."""

Exponents = tuple[float, float]

FLAT: Exponents = (0.0, 0.0)


class Row(NamedTuple):
    """One role's exponents of (m_in, m_out)."""

    init_std: Exponents = FLAT
    forward_mult: Exponents = FLAT
    adam_lr: Exponents = FLAT
    sgd_lr: Exponents = FLAT
    adam_eps: Exponents = FLAT
    gauge: Exponents = FLAT
    """Times the gradient, gives it in Table 8's gauge, where the global norm does not grow with width."""


class Table(NamedTuple):
    """A parametrization: a row for each role, and the exponent of head_dim/d0 beyond 1/sqrt(head_dim) in the attention
    logits' scale."""

    name: str
    source: str
    rows: Mapping[Role, Row]
    attention: float


SP = Table(
    "sp",
    "TPV Table 3, entries in brackets: fan-in initialization, one rate for all",
    {
        "input": Row(),
        "hidden": Row(init_std=(-0.5, 0)),
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
    {role: Row() for role in SP.rows},
    attention=0.0,
)

_VECTOR = Row(sgd_lr=(0, 1), adam_eps=(0, -1))

MUP = Table(
    "mup",
    "TPV Table 8; attention TPV Definition 4.1; epsilon TPV B.3",
    {
        "input": Row(sgd_lr=(0, 1), adam_eps=(0, -1)),
        "hidden": Row(init_std=(-0.5, 0), adam_lr=(-1, 0), sgd_lr=(-1, 1), adam_eps=(0, -1)),
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
        "output": Row(
            init_std=(-0.5, 0), forward_mult=(-0.5, 0), adam_lr=(-0.5, 0), adam_eps=(-0.5, 0), gauge=(-0.5, 0)
        ),
        "vector": _VECTOR,
        "scalar": Row(),
    },
    attention=-0.5,
)

TABLES: Mapping[str, Table] = {table.name: table for table in (SP, SP_FIXED_STD, MUP, MUP_TABLE3, MUP_TABLE9)}
