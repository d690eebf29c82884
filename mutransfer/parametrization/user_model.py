"""A function of the width that makes a model, by name: `my_package.my_module:build`."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from mutransfer.checks import nearest


def load_build(spec: str, *, seeded: bool = False) -> Callable[..., nn.Module]:
    """The function that `spec` names, which takes a width and returns a model.

    Args:
        spec: `module:function`; the module is found as `python -m` would from the current directory.
        seeded: whether it may want a second argument, `seed`.

    Raises:
        ValueError: on another form, where there is no such module or function, or the module does not run, and on a
            function that cannot be called with one number, or does not say (some of Python's own do not).
    """
    build = load_function(spec, "a function of the width")
    try:
        signature = inspect.signature(build)
        signature.bind(1, **({"seed": 0} if seeded and "seed" in signature.parameters else {}))
    except (TypeError, ValueError) as error:
        raise ValueError(f"found {spec}, which takes no width ({error}); wanted a function of the width") from None
    return build


def load_function(spec: str, what: str) -> Callable[..., Any]:
    """The function that `module:function` names. Raises ValueError as `load_build` does, saying `what` was wanted."""
    module_name, colon, name = spec.partition(":")
    if not (module_name and colon and name):
        raise ValueError(f"found {spec!r}; wanted {what} by name, such as my_package.my_module:build")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ValueError(_failed(module_name, here, error)) from error
        raise ValueError(
            f"found no module {module_name!r} in {here} or among what is installed; wanted {what} in it: go to the "
            "folder that it is in, or install it"
        ) from None
    except Exception as error:  # whatever a user's own module may raise
        raise ValueError(_failed(module_name, here, error)) from error
    if not callable(getattr(module, name, None)):
        functions = [each for each in vars(module) if callable(getattr(module, each)) and not each.startswith("_")]
        hint = nearest(name, functions) if functions else "it has none"
        raise ValueError(f"found no function {name!r} in {module_name}; wanted {what}: {hint}")
    function: Callable[..., Any] = getattr(module, name)
    return function


def _failed(module_name: str, here: str, error: Exception) -> str:
    first = str(error).splitlines()[0] if str(error) else "no message"
    lines = traceback.extract_tb(error.__traceback__)
    line = ([each for each in lines if each.filename.startswith(here)] or lines)[-1]
    return (
        f"found {type(error).__name__}: {first} in {line.filename}, line {line.lineno}, on importing {module_name}; "
        "wanted a module that runs: mend it"
    )
