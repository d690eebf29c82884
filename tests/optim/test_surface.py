"""What `mutransfer.optim` hands on, and that who reads schedules needs no torch."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import mutransfer.optim

REFERENCE = Path(__file__).parents[2] / "results" / "reference_cpu"


def test_every_name_is_that_of_its_module() -> None:
    homes = mutransfer.optim._HOMES
    assert sorted(mutransfer.optim.__all__) == sorted(name for names in homes.values() for name in names)
    for home, names in homes.items():
        module = importlib.import_module(f"mutransfer.optim.{home}")
        for name in names:
            assert getattr(mutransfer.optim, name) is getattr(module, name)
    with pytest.raises(AttributeError, match="has no attribute 'optimise'"):
        mutransfer.optim.optimise  # noqa: B018


COMMAND = "from mutransfer.cli import main; main(['doctor', sys.argv[1]])"
RECIPE = "from mutransfer.toolbox.recipes.command import RECIPES, rates; rates(RECIPES['llama-7b'])"


@pytest.mark.parametrize("reading", [COMMAND, RECIPE], ids=["doctor", "recipe"])
def test_who_reads_schedules_loads_no_torch(reading: str) -> None:
    script = f"import sys; {reading}; print(*sys.modules, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", script, str(REFERENCE)], capture_output=True, text=True, check=True)
    assert not {"torch", "ray", "optuna"} & set(run.stderr.split())
    assert "mutransfer.optim.schedules" in run.stderr.split()
