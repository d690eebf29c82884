"""Why a claim failed, in a reader's words; a claim that fails without a word here fails the tests."""

from __future__ import annotations

from collections.abc import Mapping

FINDINGS: Mapping[str, str] = {
    "C4": "SP's best rate falls here as fast with normalized queries and keys, trainable norms and a long warmup as "
    "without them (C3), and a little faster: they raise the best rate of the narrowest model the most. The source's "
    "widths begin where ours end, and its runs are some 70 times as long. Norm gains have 150 steps here to learn in; "
    "whether that, the widths or the length of the run makes the difference was not measured. (With the rates of the "
    "default study the optimum at width 32 lay above the highest; two rates were added for it, and the slope changed "
    "from -1.12 to -1.18.)",
    "C22": "The estimate has the expected sign and a third of the published size, but the interval holds 0: three "
    "widths with two seeds each tell a slope to 0.13 here, and a difference of 0.2 between two of them needs about "
    "twice that precision.",
}
"""By claim id."""
