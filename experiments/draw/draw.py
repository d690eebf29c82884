"""`python experiments/draw/draw.py NAME [RESULT]`: the figure that answers an experiment where the report's own do not.

Calls `figure` of experiments/NAME.py with the result in RESULT, or where its sweep writes, and saves what it returns as
figures/answer.svg and .png in that folder.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from mutransfer import read_result
from mutransfer.files import write_whole
from mutransfer.report.files import png, svg

EXPERIMENTS = Path(__file__).parent.parent


def draw(name: str, folder: Path | None = None) -> list[Path]:
    """Draw the answer of an experiment; returns the files. Raises ValueError where there is no result or no figure."""
    module = runpy.run_path(str(EXPERIMENTS / f"{name}.py"))
    if "figure" not in module:
        raise ValueError(f"found no figure() in {name}; wanted an experiment that draws its own: open its report.html")
    result = read_result(folder or Path(module["sweep"]().folder))
    drawn = module["figure"](result)
    figures = result.folder / "figures"
    figures.mkdir(exist_ok=True)
    return [
        write_whole(figures / f"answer.{kind}", data) for kind, data in (("svg", svg(name, drawn)), ("png", png(drawn)))
    ]


if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    try:
        print(*draw(name, *map(Path, rest)), sep="\n")
    except ValueError as error:
        sys.exit(str(error))
