"""What strategies answer, checked before it is used: whoever breaks its contract is named, and what is wanted said.

Shape suffixes: F = frames, W = windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .errors import PluginError
from .span import Windows

if TYPE_CHECKING:
    from .contracts import AttentionStrategy, SamplingStrategy, Span, Strategy


def check_values(strategy: Strategy, what: str, values: Any, length: int) -> Tensor:
    """Return ``values`` if they are as many as they should be and finite, else blame the strategy.

    Raises:
        PluginError: they are not.

    """
    if not isinstance(values, Tensor) or values.shape != (length,):
        raise PluginError(f"{_who(strategy)} must give {length} {what}, got {given(values)}", strategy)
    return _finite(strategy, what, values)


def check_tensor(strategy: Strategy, what: str, made: Any, shape: Sequence[int]) -> Tensor:
    """Return ``made`` if it has that shape and is finite, else blame the strategy.

    Raises:
        PluginError: it has not, or is not.

    """
    if not isinstance(made, Tensor) or made.shape != tuple(shape):
        raise PluginError(f"{_who(strategy)} must give {what} of shape {tuple(shape)}, got {given(made)}", strategy)
    return _finite(strategy, what, made)


def check_number(strategy: Strategy, what: str, number: Any, least: float | None = None) -> float:
    """Return ``number`` if it is a finite one, and not under the least, else blame the strategy.

    Raises:
        PluginError: it is not.

    """
    fits = isinstance(number, int | float) and math.isfinite(number) and (least is None or number >= least)
    if not fits:
        least_said = "" if least is None else f" of {least:g} or more"
        raise PluginError(f"{_who(strategy)} must give a finite number{least_said} as {what}, got {number!r}", strategy)
    return float(number)


def check_mask(strategy: AttentionStrategy, mask_FF: Any, frames: int) -> Tensor | None:
    """Return a mask in which every frame sees something, or None, else blame the strategy.

    Raises:
        PluginError: it is of another shape, or leaves a frame without anything to see.

    """
    if mask_FF is None:
        return None
    if not isinstance(mask_FF, Tensor) or mask_FF.shape != (frames, frames):
        got = tuple(mask_FF.shape) if isinstance(mask_FF, Tensor) else type(mask_FF).__name__
        raise PluginError(f"{_who(strategy)} must give a mask of {frames} x {frames}, got {got}", strategy)
    open_FF = mask_FF if mask_FF.dtype == torch.bool else mask_FF > -torch.inf
    if not bool(open_FF.any(dim=1).all()):
        raise PluginError(f"{_who(strategy)} leaves a frame without anything to see", strategy)
    return mask_FF


def check_windows(strategy: Strategy, windows: Any, frames: int) -> Windows | None:
    """Return windows that lie in the video and count for one in every frame, or None, else blame the strategy.

    Raises:
        PluginError: they leave the video, lose frames, or their weights do not sum to 1.

    """
    if windows is None:
        return None
    who = _who(strategy)
    if not isinstance(windows, Windows) or not isinstance(windows.weights_WF, Tensor):
        raise PluginError(f"{who} must give Windows with a tensor of weights, or None, got {windows!r}", strategy)
    shape = (len(windows.starts), frames)
    if windows.weights_WF.shape != shape:
        raise PluginError(f"{who} must give weights of {shape}, got {tuple(windows.weights_WF.shape)}", strategy)
    if windows.ring and windows.size > frames:
        raise PluginError(
            f"{who} must give windows no longer than their ring, got {windows.size} of {frames}", strategy
        )
    last = frames - 1 if windows.ring else frames - min(windows.size, frames)
    for start in windows.starts:
        if windows.size < 1 or not 0 <= start <= last:
            raise PluginError(
                f"{who} must give windows within the {frames} frames, got {windows.size} from frame {start} on",
                strategy,
            )
    inside_WF = torch.zeros(shape, dtype=torch.bool)
    for inside_F, start in zip(inside_WF, windows.starts, strict=True):
        inside_F[windows.inside(start)] = True
    sums_F = (windows.weights_WF.cpu() * inside_WF).sum(dim=0)
    if not torch.allclose(sums_F, torch.ones(frames, dtype=sums_F.dtype), atol=1e-4):
        raise PluginError(f"{who} must give windows whose weights sum to 1 in every frame", strategy)
    return windows


def seen_together(strategy: SamplingStrategy, span: Span) -> int:
    """Return how many frames a sampling strategy has denoised together, else blame it.

    Raises:
        PluginError: that is no whole number, or not one of the frames there are.

    """
    together = strategy.seen(span)
    if not isinstance(together, int) or not 1 <= together <= span.frames:
        raise PluginError(
            f"{_who(strategy)} must have 1 to {span.frames} frames denoised together, got {together!r}", strategy
        )
    return together


def given(value: Any) -> str:
    """Return what a value is, for a message that it is not what was wanted."""
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _who(strategy: Strategy) -> str:
    return f"{strategy.kind} strategy {strategy.name!r}"


def _finite(strategy: Strategy, what: str, values: Tensor) -> Tensor:
    # A sum, which is finite only if everything is, would overflow in half precision.
    if not bool(torch.isfinite(values).all()):
        raise PluginError(f"{_who(strategy)} must give finite {what}", strategy)
    return values
