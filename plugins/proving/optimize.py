"""The optimiser of the training: Muon for what is a matrix, AdamW for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import LongtakeError

BETAS = (0.9, 0.99)
MATRIX_DECAY = 0.01


class MuonAndAdamW:
    """AdamW, and where a rate for matrices is given, Muon for weights of two and more dimensions.

    Muon orthogonalises each step of a matrix (Jordan et al. 2024); a convolution counts as the matrix of its output
    channels by everything else. The small UNet needs far fewer steps with it than with AdamW alone.

    Args:
        parameters: to be trained; their gradients are kept allocated from now on.
        learning_rate: of AdamW.
        matrix_rate: of Muon, scaled so that steps are as large as AdamW's would be (Liu et al. 2025); none: no Muon.

    Raises:
        LongtakeError: this torch has no Muon.

    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], learning_rate: float, matrix_rate: float | None = None
    ) -> None:
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.parameters = parameters
        others = [each for each in parameters if matrix_rate is None or each.ndim < 2]
        self._optimizers: list[tuple[float, torch.optim.Optimizer]] = [
            (learning_rate, torch.optim.AdamW(others, lr=learning_rate, betas=BETAS))
        ]
        matrices = [_as_matrix(each) for each in parameters if each.ndim >= 2]
        if matrix_rate is not None and matrices:
            self._optimizers.append((matrix_rate, _muon(matrices, matrix_rate)))

    def zero_grad(self) -> None:
        """Set all gradients to zero, where they are: the matrices' are views of them."""
        for parameter in self.parameters:
            assert parameter.grad is not None
            parameter.grad.zero_()

    def step(self, share: float) -> None:
        """Take a step with this share of the learning rates."""
        for rate, optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            optimizer.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return what a checkpoint keeps."""
        return [optimizer.state_dict() for _, optimizer in self._optimizers]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Go on from a checkpoint."""
        for (_, optimizer), state in zip(self._optimizers, states, strict=True):
            optimizer.load_state_dict(state)


def _as_matrix(parameter: nn.Parameter) -> nn.Parameter:
    """Return the same numbers, and the same gradient, as a matrix."""
    matrix = nn.Parameter(_rows(parameter.data))
    assert parameter.grad is not None
    matrix.grad = _rows(parameter.grad)
    return matrix


def _rows(tensor: Tensor) -> Tensor:
    return tensor.view(len(tensor), -1)


def _muon(matrices: list[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    try:
        from torch.optim import Muon
    except ImportError:
        raise LongtakeError(f"training needs torch 2.9 or newer, for Muon; this is {torch.__version__}") from None
    return Muon(matrices, lr=rate, weight_decay=MATRIX_DECAY, adjust_lr_fn="match_rms_adamw")
