"""Hugging Face's transformers, importable also where torchvision is not: import this before it.

The `mup` package requires torchvision, and what an index gives may not fit the torch that is installed (next to a
CPU-only torch it raises "operator torchvision::nms does not exist"). `transformers` sees that it is there, imports it,
and fails with it, for a language model too. It has no switch for that; Python has: a module that is None in
`sys.modules` is one that is not there (The Python Language Reference, 5.3.1).
"""

import sys

if "torchvision" not in sys.modules:
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        sys.modules["torchvision"] = None  # type: ignore[assignment]
        if "transformers" in sys.modules:  # pytorch_optimizer imports it, and what it saw then it would keep to
            from transformers.utils.import_utils import is_torchvision_available

            is_torchvision_available.cache_clear()
