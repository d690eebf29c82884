"""An experiment is a function `sweep()` returning a SweepConfig, in a file given by path, or by bare name if
`experiments/NAME.py` is there."""

from __future__ import annotations

import importlib.util
import traceback
from pathlib import Path

from mutransfer.checks import nearest
from mutransfer.config import SweepConfig

EXPERIMENTS = Path("experiments")


def load_experiment(name: str) -> SweepConfig:
    """The SweepConfig of an experiment.

    Args:
        name: a path to a Python file, or the bare name of one in `experiments/`.

    Raises:
        ValueError: where there is no such file, with the nearest valid name, or its `sweep()` is missing or returns
            something else.
    """
    path = Path(name) if name.endswith(".py") else EXPERIMENTS / f"{name}.py"
    if not path.is_file():
        known = sorted(file.stem for file in EXPERIMENTS.glob("*.py"))
        hint = nearest(path.stem, known) if known else "there is no folder experiments/ here; give a path to a .py file"
        raise ValueError(f"expected an experiment, got {name!r}, and there is no file {path}; {hint}")
    spec = importlib.util.spec_from_file_location(f"mutransfer_experiment_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    config = None
    try:
        spec.loader.exec_module(module)
        if hasattr(module, "sweep"):
            config = module.sweep()
    except (Exception, SystemExit) as error:  # whatever a user's own file may raise
        raise ValueError(
            f"expected {path} to run, got {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no message'} in line {_line(error, path)}; mend it"
        ) from error
    if not hasattr(module, "sweep"):
        raise ValueError(f"expected a function sweep() in {path} that returns a SweepConfig, got none; add it")
    if not isinstance(config, SweepConfig):
        raise ValueError(f"expected a SweepConfig from sweep() in {path}, got {type(config).__name__}; return one")
    return config


def _line(error: BaseException, path: Path) -> int | str:
    """The last line of the file that the error came through."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return error.lineno
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path.resolve()
    ]
    return lines[-1] if lines and lines[-1] is not None else "unknown"
