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


WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
CPU = torch.device("cpu")


def check_values(
    strategy: Strategy, what: str, values: Any, length: int, device: torch.device = CPU, *, whole: bool = False
) -> Tensor:
    """Return ``values``, (length,), in float32, or as whole numbers if only such are meant; else blame the strategy.

    Args:
        strategy: that gave them.
        what: they are.
        values: in float32, or whole numbers of any kind, which float32 holds as well.
        length: how many they should be.
        device: on which they should be.
        whole: whether they count something.

    Raises:
        PluginError: they are of another shape or dtype, on another device, or not finite.

    """
    if not isinstance(values, Tensor) or values.shape != (length,):
        raise PluginError(f"{_who(strategy)} must give {length} {what}, got {given(values)}", strategy)
    _check_place(strategy, what, values, WHOLE if whole else (torch.float32, *WHOLE), device)
    _finite(strategy, what, values)
    return values if whole or values.dtype == torch.float32 else values.float()


def check_tensor(strategy: Strategy, what: str, made: Any, shape: Sequence[int], like: Tensor | None = None) -> Tensor:
    """Return ``made`` if it has that shape and is finite, else blame the strategy.

    Args:
        strategy: that made it.
        what: it is.
        made: in float32, or in the dtype of ``like``.
        shape: that it should have.
        like: what the strategy was given, on the device where ``made`` should be; by default that is the CPU.

    Raises:
        PluginError: it is of another shape or dtype, on another device, or not finite.

    """
    if not isinstance(made, Tensor) or made.shape != tuple(shape):
        raise PluginError(f"{_who(strategy)} must give {what} of shape {tuple(shape)}, got {given(made)}", strategy)
    dtypes = (torch.float32,) if like is None else (torch.float32, like.dtype)
    _check_place(strategy, what, made, dtypes, CPU if like is None else like.device)
    return _finite(strategy, what, made)


def check_seen(strategy: AttentionStrategy, seen_PNFD: Any, q_PNFD: Tensor) -> Tensor:
    """Return the result of ``attend`` if it is of the queries' shape, dtype and device, else blame the strategy.

    Raises:
        PluginError: it is not.

    """
    if not isinstance(seen_PNFD, Tensor) or seen_PNFD.shape != q_PNFD.shape:
        got = tuple(seen_PNFD.shape) if isinstance(seen_PNFD, Tensor) else type(seen_PNFD).__name__
        raise PluginError(f"{_who(strategy)} must return {tuple(q_PNFD.shape)} from attend, got {got}", strategy)
    _check_place(strategy, "the result of attend", seen_PNFD, (q_PNFD.dtype,), q_PNFD.device)
    return seen_PNFD


def _check_place(
    strategy: Strategy, what: str, values: Tensor, dtypes: Sequence[torch.dtype], device: torch.device
) -> None:
    if values.dtype not in dtypes:
        names = [str(each).removeprefix("torch.") for each in dict.fromkeys(dtypes) if each not in WHOLE[1:]]
        got = str(values.dtype).removeprefix("torch.")
        raise PluginError(f"{_who(strategy)} must give {what} in {' or '.join(names)}, got {got}", strategy)
    if values.device != device:
        wanted = "the CPU" if device == CPU else device
        raise PluginError(f"{_who(strategy)} must return {what} on {wanted}, not on {values.device}", strategy)


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
    _check_place(strategy, "a mask", mask_FF, (torch.bool, torch.float32), CPU)
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
    _check_place(strategy, "weights", windows.weights_WF, (torch.float32,), CPU)
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
    if not isinstance(value, Tensor):
        return type(value).__name__
    usual = (value.dtype, value.device) == (torch.float32, CPU)
    return f"shape {tuple(value.shape)}" + ("" if usual else f" in {value.dtype} on {value.device}")


def _who(strategy: Strategy) -> str:
    return f"{strategy.kind} strategy {strategy.name!r}"


def _finite(strategy: Strategy, what: str, values: Tensor) -> Tensor:
    # A sum, which is finite only if everything is, would overflow in half precision.
    if not bool(torch.isfinite(values).all()):
        raise PluginError(f"{_who(strategy)} must give finite {what}", strategy)
    return values
