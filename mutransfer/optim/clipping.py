"""The global gradient norm in one gauge.

Tables 3, 8 and 9 of Tensor Programs V are one parametrization, but their gradients differ by powers of width, so a norm
over raw gradients would clip each differently. Taken in Table 8's gauge it is the same for all, and does not grow with
width, as TPV B.3 asks of a clipping threshold.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def clip_grad_norm_(parameters: Iterable[tuple[nn.Parameter, float]], max_norm: float) -> Tensor:
    """Scale all gradients in place so that their global norm in one gauge is at most `max_norm`.

    Args:
        parameters: each parameter with its rule's `grad_mult`; those without a gradient are passed over.
        max_norm: the largest norm allowed, constant in width.

    Returns:
        The norm before clipping, a scalar tensor; 0 where there is no gradient.
    """
    pairs = [(parameter.grad, mult) for parameter, mult in parameters if parameter.grad is not None]
    if not pairs:
        return torch.zeros(())
    gradients = [gradient for gradient, _ in pairs]
    norms = torch._foreach_norm(gradients)
    norm: Tensor = torch.linalg.vector_norm(
        torch.stack([norm * mult for norm, (_, mult) in zip(norms, pairs, strict=True)])
    )
    # 1e-6 as in torch.nn.utils.clip_grad_norm_: keeps a gradient of zero from dividing by zero
    torch._foreach_mul_(gradients, torch.clamp(max_norm / (norm + 1e-6), max=1.0))
    return norm
