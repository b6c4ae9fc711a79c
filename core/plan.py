"""A generation as data, before any of it is computed: positions, windows, noise, guidance, motion, sigmas.

Shape suffixes: F = frames, S = steps, W = windows, K = frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .answers import check_mask, check_number, check_values, check_windows
from .contracts import (
    AttentionStrategy,
    GuidanceSchedule,
    MotionSchedule,
    NoiseSchedule,
    PositionalStrategy,
    Span,
    Windows,
)
from .embedding import trained_frequencies
from .errors import PluginError
from .modifiers import over_frames, refuse_frames_of_windows

if TYPE_CHECKING:
    from .config import Config
    from .facts import ModelFacts
# Channels of the widest level of SVD's UNet; other levels have the same frequencies, more finely spaced.
SHOWN_CHANNELS = 320


@dataclass(frozen=True, slots=True)
class Plan:
    """What the strategies have decided; what acts inside the UNet is that of one step, ``span.progress``.

    Attributes:
        span: the whole video, or what is denoised by itself, at the shown step.
        positions_F: where each frame stands on the trained time line; with local windows, each frame of a window.
        trained_K: the angular frequencies that SVD's widest level was trained with.
        frequencies_K: those that take their place.
        temperature: factor on the logits of temporal self-attention.
        windows: of temporal attention, or None.
        mask_FF: which frame (row) sees which (column), or None for all.
        noise_sources_F: which frame of fresh noise each frame starts from.
        sigmas_S1: noise levels, the last one 0.
        guidance_SF: guidance scale of each step and frame.
        buckets_SF: motion bucket of each step and frame.
        rates_SF: frames per second that the model is told, of each step and frame.

    """

    span: Span
    positions_F: Tensor
    trained_K: Tensor
    frequencies_K: Tensor
    temperature: float
    windows: Windows | None
    mask_FF: Tensor | None
    noise_sources_F: Tensor
    sigmas_S1: Tensor
    guidance_SF: Tensor
    buckets_SF: Tensor
    rates_SF: Tensor

    @property
    def frames(self) -> int:
        """How long the video is."""
        return self.span.frames

    @property
    def steps(self) -> int:
        """How many steps the denoising takes."""
        return len(self.sigmas_S1) - 1

    def progress(self, step: int) -> float:
        """Return how far along the denoising a step is: 0 for the first, 1 for the last."""
        return progress_of(step, self.steps)

    def span_at(self, step: int) -> Span:
        """Return what strategies are told about the whole video at a step."""
        return replace(self.span, progress=self.progress(step), step=step)

    def step_at(self, sigma: float) -> int:
        """Return the step whose noise level is nearest."""
        return int((self.sigmas_S1[:-1] - sigma).abs().argmin())

    def time_ids(self, step: int, noise_aug: float) -> Tensor:
        """Return fps - 1 (which is what SVD saw in training), motion bucket and augmentation of each frame, (F, 3)."""
        rates_F, buckets_F = self.rates_SF[step], self.buckets_SF[step]
        return torch.stack([rates_F - 1, buckets_F, torch.full_like(rates_F, noise_aug)], dim=-1)


def progress_of(step: int, steps: int) -> float:
    """Return ``step`` as a fraction of the denoising; a denoising of one step is all beginning."""
    return step / (steps - 1) if steps > 1 else 0.0


def make_plan(config: Config, facts: ModelFacts, *, shown_step: int = 0, places: range | None = None) -> Plan:
    """Ask every strategy of a resolved config what it will do.

    Args:
        config: resolved, see :func:`longtake.core.defaults.resolve`.
        facts: of the model.
        shown_step: for which positions, windows and mask are worked out.
        places: the frames of the video that are denoised together, by themselves; None = all.

    Raises:
        PluginError: a strategy returns something of a wrong shape or not finite.

    """
    assert config.positional and config.attention and config.noise and config.guidance and config.sigmas
    assert config.motion and config.frames and config.steps and config.seed is not None, "the config is not resolved"
    assert config.motion_bucket is not None, "the config is not resolved"
    span = Span(frames=config.frames, trained=facts.trained)
    if places is not None and len(places) < config.frames:
        span = span.part(torch.tensor(places))
    sigmas_S1 = config.sigmas.sigmas(config.steps, facts.sigma_min, facts.sigma_max)
    sigmas_S1 = check_values(config.sigmas, "sigmas", sigmas_S1, config.steps + 1)
    if bool((sigmas_S1.diff() >= 0).any()) or float(sigmas_S1[-1]) != 0:
        raise PluginError(f"sigma schedule {config.sigmas.name!r} must fall at every step and end at 0", config.sigmas)
    trained_K = trained_frequencies(SHOWN_CHANNELS)
    spans = spans_of(span, config.steps)
    shown = spans[shown_step]
    positional = config.positional if config.positional.active(shown.progress) else PositionalStrategy()
    attention = config.attention if config.attention.active(shown.progress) else AttentionStrategy()
    windows = check_windows(config.attention, attention.windows(shown), span.frames)
    mask_FF = check_mask(config.attention, attention.mask(shown), span.frames)
    _check_modifiers(config.attention, spans)
    # With local windows, positions are asked about a window as if it were the whole video.
    seen = (
        replace(shown, frames=windows.size, places=None, whole=None) if windows and windows.local_positions else shown
    )
    frames_F = torch.arange(seen.frames, dtype=torch.float32)
    return Plan(
        span=shown,
        positions_F=check_values(config.positional, "positions", positional.positions(frames_F, seen), seen.frames),
        trained_K=trained_K,
        frequencies_K=check_values(
            config.positional, "frequencies", positional.frequencies(trained_K, seen), len(trained_K)
        ),
        temperature=check_number(config.positional, "temperature", positional.temperature(seen)),
        windows=windows,
        mask_FF=mask_FF,
        noise_sources_F=noise_sources(config.noise, span, config.seed),
        sigmas_S1=sigmas_S1,
        guidance_SF=torch.stack([guidance_at(config.guidance, each) for each in spans]),
        buckets_SF=torch.stack([_motion(config.motion, each, "buckets", config.motion_bucket) for each in spans]),
        rates_SF=torch.stack([_motion(config.motion, each, "rates", config.fps) for each in spans]),
    )


def noise_sources(schedule: NoiseSchedule, span: Span, seed: int) -> Tensor:
    """Return which frame of fresh noise each frame starts from, (F,); a shuffle has a generator of its own.

    Raises:
        PluginError: the schedule gives another number of them, or some that are no such numbers.

    """
    sources_F = schedule.sources(span, torch.Generator().manual_seed(seed))
    check_values(schedule, "noise sources", sources_F, span.frames, whole=True)
    if bool((sources_F < 0).any()):
        raise PluginError(f"noise strategy {schedule.name!r} must give noise sources that count from 0", schedule)
    return sources_F


def spans_of(span: Span, steps: int) -> list[Span]:
    """Return what strategies are told at each step."""
    return [replace(span, progress=progress_of(step, steps), step=step) for step in range(steps)]


def guidance_at(schedule: GuidanceSchedule, span: Span) -> Tensor:
    """Return the guidance scale of each frame at a step, (F,): 1 outside ``start … stop`` of the schedule.

    Raises:
        PluginError: the schedule gives another number of them, or some that are not finite.

    """
    if not schedule.active(span.progress):
        return torch.ones(span.frames)
    return check_values(schedule, "guidance scales", schedule.scales(span), span.frames)


def _motion(schedule: MotionSchedule, span: Span, what: str, asked: float) -> Tensor:
    acting = schedule if schedule.active(span.progress) else MotionSchedule()
    return check_values(schedule, what, getattr(acting, what)(asked, span), span.frames)


def _check_modifiers(strategy: AttentionStrategy, spans: list[Span]) -> None:
    """Refuse factors over the frames where windows count from zero at any step."""
    for span in spans if over_frames(strategy) else ():
        windows = strategy.windows(span) if strategy.active(span.progress) else None
        if windows is not None and windows.local_positions:
            refuse_frames_of_windows(strategy)
            return
