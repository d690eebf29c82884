"""Tables with one entry taken out or put in, to show what that entry does."""

from __future__ import annotations

from collections.abc import Mapping

from mutransfer.parametrization.tables import FLAT, MUP, SP, Row, Table

ABLATIONS: Mapping[str, Table] = {
    table.name: table
    for table in (
        Table(
            "sp_embedding_lr",
            "Kalra and Barkeshli 2605.21486: SP with the embedding's Adam rate raised with width; SGD as SP",
            {**SP.rows, "input": Row(adam_lr=(0, 1))},
            attention=SP.attention,
        ),
        Table(
            "mup_without_hidden_lr",
            "TPV Table 8 without its Adam rate for hidden weights",
            {**MUP.rows, "hidden": MUP.rows["hidden"]._replace(adam_lr=FLAT)},
            attention=MUP.attention,
        ),
        Table(
            "mup_without_output_mult",
            "TPV Table 8 without its multiplier on the readout",
            {**MUP.rows, "output": MUP.rows["output"]._replace(forward_mult=FLAT)},
            attention=MUP.attention,
        ),
    )
}
