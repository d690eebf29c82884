"""The global gradient norm in one gauge.

Tables 3, 8 and 9 of Tensor Programs V are one parametrization, but their gradients differ by powers of width, so a norm
over raw gradients would clip each differently. Taken in Table 8's gauge it is the same for all, and does not grow with
width, as TPV B.3 asks of a clipping threshold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def clip_grad_norm_(parameters: Iterable[tuple[nn.Parameter, float]], max_norm: float) -> Tensor:
    """Scale all gradients in place so that their global norm in one gauge is at most `max_norm`.

    Sharded models (FSDP2, tensor parallelism) are clipped as the whole is in one process; every process must call it.

    Args:
        parameters: each parameter with its rule's `grad_mult`; those without a gradient are passed over.
        max_norm: the largest norm allowed, constant in width.

    Returns:
        The norm before clipping, a plain scalar tensor; 0 where there is no gradient.
    """
    # under tensor parallelism some gradients are spread over processes (DTensor has a device_mesh), some are not, and
    # one operation takes only what is spread alike
    by_mesh: dict[Any, list[tuple[Tensor, float]]] = {}
    for parameter, mult in parameters:
        if parameter.grad is not None:
            by_mesh.setdefault(getattr(parameter.grad, "device_mesh", None), []).append((parameter.grad, mult))
    if not by_mesh:
        return torch.zeros(())
    norms = [_norm(pairs) for pairs in by_mesh.values()]
    norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    # 1e-6 as in torch.nn.utils.clip_grad_norm_: keeps a gradient of zero from dividing by zero
    factor = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
    for pairs in by_mesh.values():
        torch._foreach_mul_([gradient for gradient, _ in pairs], factor)
    return norm


def _norm(pairs: list[tuple[Tensor, float]]) -> Tensor:
    # together: one by one they would be as many kernels on a GPU, which the host launches for every slice of a cohort
    norms = torch._foreach_mul(torch._foreach_norm([gradient for gradient, _ in pairs]), [mult for _, mult in pairs])
    norm: Any = torch.linalg.vector_norm(torch.stack(norms))
    whole: Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    return whole
