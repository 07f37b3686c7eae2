"""Muon, which needs fewer steps than AdamW: a step is the momentum of each matrix, made orthogonal.

The method is Keller Jordan's; steps are scaled to the size of AdamW's, so that both share a learning rate. `torch.optim.Muon`
does the same in bfloat16, one matrix at a time. On a CPU without bfloat16 it took 1.5 seconds per step for this model; this
code takes 0.12 seconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Matrices whose singular values are all near 1, by five steps of Newton and Schulz."""
    a, b, c = COEFFICIENTS
    tall = matrices.size(-2) > matrices.size(-1)
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """For matrices only; those of one shape are made orthogonal together."""

    def __init__(
        self, matrices: Iterable[torch.nn.Parameter], rate: float, *, momentum: float = 0.95, decay: float = 0.05
    ) -> None:
        super().__init__(matrices, {"lr": rate, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Change each matrix that has a gradient."""
        for group in self.param_groups:
            shapes = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes[matrix.shape].append(matrix)
            for shape, matrices in shapes.items():
                steps = torch.stack([self._momentum(matrix, group["momentum"]) for matrix in matrices])
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                for matrix, step in zip(matrices, orthogonal(steps), strict=True):
                    matrix.mul_(1 - group["lr"] * group["decay"]).add_(step, alpha=-rate)

    def _momentum(self, matrix: torch.nn.Parameter, momentum: float) -> torch.Tensor:
        state = self.state[matrix]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(matrix)
        state["momentum"].lerp_(matrix.grad, 1 - momentum)
        return torch.lerp(matrix.grad, state["momentum"], momentum)
