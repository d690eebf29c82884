"""One line of a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mutransfer.checks import one_of
from mutransfer.theory.parametrizations import TABLES


@dataclass(frozen=True)
class Arm:
    """One line of a comparison: a parametrization, and what its trials change of the sweep's config."""

    name: str
    parametrization: str
    changes: tuple[tuple[str, Any], ...] = ()
    """Dotted fields of the SweepConfig with their values for this arm, as (("model.qk_norm", True),)."""

    def validate(self) -> None:
        """Raises ValueError on a name that is none and on changes that are no pairs."""
        if not isinstance(self.name, str) or not plain_name(self.name):
            raise ValueError(f"found an arm named {self.name!r}; wanted a plain name, without a slash: rename it")
        one_of("parametrization", self.parametrization, TABLES)
        pairs = isinstance(self.changes, tuple) and all(isinstance(each, tuple) for each in self.changes)
        if not pairs or not all(len(each) == 2 and isinstance(each[0], str) for each in self.changes):
            raise ValueError(
                f"found the changes {self.changes!r} in arm {self.name}; wanted pairs of a field and its value, such "
                'as (("model.qk_norm", True),)'
            )


def plain_name(name: str) -> bool:
    """Whether a name may be that of a folder, and stands in one line."""
    return bool(name) and name.isprintable() and not name.startswith(".") and "/" not in name and "\\" not in name
