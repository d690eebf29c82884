"""The largest curvature of a loss: Lanczos on products with its Hessian.

N number of parameters, K Lanczos steps
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mutransfer.optim import twice_differentiable

LANCZOS_STEPS = 100
"""Most products with the Hessian for one eigenvalue."""
TOLERANCE = 1e-2
"""Of the residual over the eigenvalue, at which no more products are taken; the eigenvalue is then good to about its
square."""

Loss = Callable[[], Tensor]
"""A closure that gives the loss, a scalar with its graph, on the batch whose curvature is wanted."""
Product = Callable[[Tensor], Tensor]
"""v to H v, both flat, of shape (N)."""


def largest_curvature(
    loss: Loss, parameters: Sequence[Tensor], inverse_N: Tensor | None = None, tolerance: float = TOLERANCE
) -> float:
    """The largest eigenvalue of the Hessian H, or of P^-1 H. NaN where it is not finite.

    Vectors stand where the first parameter stands, in its precision, in float32 at least.

    Args:
        loss: called once; its graph is kept for all products.
        parameters: those of the Hessian.
        inverse_N: the diagonal of P^-1, above 0, in the order of the parameters; None: H itself.
        tolerance: of the residual over the eigenvalue.
    """
    first, multiply = parameters[0], hessian_product(loss, parameters)
    dtype = torch.float64 if first.dtype == torch.float64 else torch.float32
    size = sum(parameter.numel() for parameter in parameters)
    if inverse_N is None:
        return largest_eigenvalue(multiply, size, tolerance=tolerance, dtype=dtype, device=first.device)
    root_N = inverse_N.to(dtype).sqrt()  # P^-1/2 H P^-1/2 is symmetric and has the eigenvalues of P^-1 H

    def scaled(v_N: Tensor) -> Tensor:
        return root_N * multiply(root_N * v_N)

    return largest_eigenvalue(scaled, size, tolerance=tolerance, dtype=dtype, device=first.device)


def hessian_product(loss: Loss, parameters: Sequence[Tensor]) -> Product:
    """v to H v by a double backward pass; the vectors are flat, in the order of `parameters`.

    `loss` is called once, here, and its graph is kept. Attention runs as plain matrix products meanwhile, since torch's
    fused kernels cannot be differentiated twice.
    """
    with twice_differentiable():
        gradients = torch.autograd.grad(loss(), parameters, create_graph=True, materialize_grads=True)
    bent = [gradient.requires_grad for gradient in gradients]  # else the loss is a plane along this parameter
    sizes = [parameter.numel() for parameter in parameters]

    def multiply(v_N: Tensor) -> Tensor:
        if not any(bent):
            return torch.zeros_like(v_N)
        pieces = [
            piece.view_as(parameter).to(parameter.dtype)
            for piece, parameter in zip(torch.split(v_N, sizes), parameters, strict=True)
        ]
        product = torch.autograd.grad(
            [gradient for gradient, curves in zip(gradients, bent, strict=True) if curves],
            parameters,
            [piece for piece, curves in zip(pieces, bent, strict=True) if curves],
            retain_graph=True,
            materialize_grads=True,
        )
        return torch.cat([piece.flatten() for piece in product]).to(v_N.dtype)

    return multiply


def largest_eigenvalue(
    multiply: Product,
    size: int,
    steps: int = LANCZOS_STEPS,
    tolerance: float = 0.0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> float:
    """Of a symmetric matrix given by its product with a vector: Lanczos with full reorthogonalization.

    Args:
        multiply: the product with a vector of shape (size).
        size: of the matrix.
        steps: most products; as many vectors are held.
        tolerance: stop where the residual of the eigenvector is below this part of the eigenvalue. Some eigenvalue lies
            within the residual, and none that is larger was seen.
        dtype, device: of the vectors.

    Returns NaN where a product is not finite.
    """
    draw = torch.Generator().manual_seed(0)
    start_N = torch.randn(size, dtype=torch.float64, generator=draw, device="cpu").to(device, dtype)
    basis_KN = [start_N / start_N.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        w_N = multiply(basis_KN[-1])
        diagonal.append(float(w_N @ basis_KN[-1]))
        for _ in range(2):  # twice is enough (Parlett 1998, The Symmetric Eigenvalue Problem, section 6.9)
            for q_N in basis_KN:
                w_N = w_N - (w_N @ q_N) * q_N
        norm = float(w_N.norm())
        if not (math.isfinite(diagonal[-1]) and math.isfinite(norm)):
            return math.nan
        value, last = _top_pair(diagonal, beside)
        if len(diagonal) == min(steps, size) or norm * abs(last) <= tolerance * abs(value):
            return value
        beside.append(norm)
        basis_KN.append(w_N / norm)


def _top_pair(diagonal: Sequence[float], beside: Sequence[float]) -> tuple[float, float]:
    """The largest eigenvalue of a tridiagonal matrix, and the last entry of its eigenvector."""
    tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    index = torch.arange(len(beside))
    tridiagonal[index, index + 1] = tridiagonal[index + 1, index] = torch.tensor(beside, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(tridiagonal)
    return float(values[-1]), float(vectors[-1, -1])
