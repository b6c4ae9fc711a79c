"""The contract of each kind of strategy as plain checks, for our tests and for those of plugin authors.

``check_strategy(MyStrategy())`` raises an ``AssertionError`` that says what broke and why it matters.

Shape suffixes: F = frames, K = frequencies, W = windows, P = batch x pixels, N = heads, D = channels per head.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .answers import check_mask, check_windows
from .contracts import (
    AttentionStrategy,
    ContextStrategy,
    GuidanceSchedule,
    MotionSchedule,
    NoiseSchedule,
    PositionalStrategy,
    SamplingStrategy,
    SigmaSchedule,
    Span,
    Strategy,
    Windows,
)
from .denoiser import Conditional, Part
from .embedding import trained_frequencies
from .errors import PluginError
from .generate import generate
from .manager import load_plugins
from .model import Model
from .tiny import tiny_pipeline

CHANNELS = (32, 320)
TRAINED = (4, 14, 25)


def spans(trained: int, *, stretched: bool) -> Iterator[Span]:
    """Yield spans of lengths that are awkward for windows, at the beginning, within and at the end of the denoising."""
    lengths = (
        (trained + 1, 2 * trained - 1, 2 * trained, 3 * trained + 2) if stretched else (1, 2, trained - 1, trained)
    )
    for frames in lengths:
        for progress in (0.0, 0.37, 1.0):
            yield Span(frames=frames, trained=trained, progress=progress)


class PerfectDenoiser:
    """A denoiser that knows the answer, (B, F, C, Y, X), and counts how often it is asked.

    Attributes:
        answer_BFCYX: what it says of all latents; of a part, the frames of that.
        calls: so far.

    """

    def __init__(self, answer_BFCYX: Tensor) -> None:
        self.answer_BFCYX = answer_BFCYX
        self.calls = 0

    def __call__(
        self, latents_BFCYX: Tensor, sigma: float, *, conditional: Conditional = True, part: Part | None = None
    ) -> Tensor:
        """Return the answer, in the frames that are asked about."""
        self.calls += 1
        frames_F = slice(None) if part is None else part.frames_F
        return self.answer_BFCYX[:, frames_F].to(latents_BFCYX).expand_as(latents_BFCYX)


def example_options(cls: type[Strategy]) -> dict[str, Any]:
    """Return a value for each option that has no default, from the ``examples`` of its field."""
    return {name: (field.examples or [None])[0] for name, field in cls.model_fields.items() if field.is_required()}


def check_strategy(strategy: Strategy) -> None:
    """Check whatever is true of every strategy of its kind.

    Raises:
        AssertionError: with what broke.

    """
    registry, cls = load_plugins().registry, type(strategy)
    named = isinstance(getattr(strategy, "name", None), str)
    assert named, f"{cls.__name__} has no name, by which a config would ask for it; give the class: name = 'mine'"
    taken = registry.classes[strategy.kind].get(strategy.name, cls)
    # The same class, imported once more, is no other one.
    same = (taken.__module__, taken.__qualname__) == (cls.__module__, cls.__qualname__)
    assert same, (
        f"{strategy.name}: {registry.providers[strategy.kind, strategy.name]!r} has a {strategy.kind} strategy of that "
        "name already, so that this one would not be loaded; choose another"
    )
    if strategy.name not in registry.classes[strategy.kind]:
        registry.add(cls, "checked")
    again = registry.build(strategy.kind, strategy.dump())
    assert again == strategy, f"{strategy.name}: its options do not survive being written to a config and read again"
    for kind, check in _CHECKS.items():
        if isinstance(strategy, kind):
            check(strategy)


def check_positional(strategy: PositionalStrategy) -> None:
    """Shapes are kept, numbers are finite, and nothing changes where there is nothing to stretch."""
    for trained in TRAINED:
        for channels in CHANNELS:
            freqs_K = trained_frequencies(channels)
            for span in spans(trained, stretched=False):
                frames_F = torch.arange(span.frames, dtype=torch.float32)
                where = f"{strategy.name}: with {span.frames} of {trained} trained frames, nothing to stretch,"
                positions_F, used_K = strategy.positions(frames_F, span), strategy.frequencies(freqs_K, span)
                _same_shape_and_finite(strategy, "positions", positions_F, frames_F)
                _same_shape_and_finite(strategy, "frequencies", used_K, freqs_K)
                assert torch.equal(positions_F, frames_F), f"{where} positions change"
                assert torch.equal(used_K, freqs_K), f"{where} frequencies change"
                assert strategy.temperature(span) == 1.0, f"{where} the temperature is not 1"
            for span in spans(trained, stretched=True):
                frames_F = torch.arange(span.frames, dtype=torch.float32)
                _same_shape_and_finite(strategy, "positions", strategy.positions(frames_F, span), frames_F)
                _same_shape_and_finite(strategy, "frequencies", strategy.frequencies(freqs_K, span), freqs_K)
                assert torch.equal(frames_F, torch.arange(span.frames)), f"{strategy.name} changes its input in place"
                temperature = strategy.temperature(span)
                assert isinstance(temperature, int | float), f"{strategy.name}: temperature must be a number"
                assert 0 < temperature < math.inf, f"{strategy.name}: temperature must be positive, or nothing is seen"


def check_attention(strategy: AttentionStrategy) -> None:
    """Every frame sees something, windows cover all with weights that sum to one, and values keep their shape."""
    for trained in TRAINED:
        for span in spans(trained, stretched=False):
            where = f"{strategy.name}: with {span.frames} of {trained} trained frames, nothing to stretch,"
            assert strategy.mask(span) is None, f"{where} it masks frames"
            assert strategy.windows(span) is None, f"{where} it cuts windows"
        for span in spans(trained, stretched=True):
            _check_sight(strategy, span)
            q_PNFD, k_PNFD = torch.randn(2, 3, 2, span.frames, 8, generator=torch.Generator().manual_seed(0))
            same_PNFD = torch.ones_like(q_PNFD)
            seen_PNFD = strategy.attend(q_PNFD, k_PNFD, same_PNFD, span, None)
            _same_shape_and_finite(strategy, "attend's result", seen_PNFD, q_PNFD)


def _check_sight(strategy: AttentionStrategy, span: Span) -> None:
    with _asserted():
        check_mask(strategy, strategy.mask(span), span.frames)
    _check_windows(strategy, strategy.windows(span), span)


def _check_windows(strategy: Strategy, windows: Windows | None, span: Span) -> None:
    with _asserted():
        check_windows(strategy, windows, span.frames)
    if windows is not None:
        for start, weights_F in zip(windows.starts, windows.weights_WF, strict=True):
            outside_F = torch.ones(span.frames, dtype=torch.bool)
            outside_F[windows.inside(start)] = False
            assert not bool(weights_F[outside_F].any()), f"{strategy.name}: a window counts in frames it does not see"


@contextmanager
def _asserted() -> Iterator[None]:
    """Say as an assertion what a generation would say."""
    try:
        yield
    except PluginError as error:
        raise AssertionError(str(error)) from error


def check_noise(strategy: NoiseSchedule) -> None:
    """Noise is reproducible, of unit variance, and has the shape asked for."""
    for trained in TRAINED:
        for stretched in (False, True):
            for span in spans(trained, stretched=stretched):
                shape = (2, span.frames, 3, 2, 5)
                first, again = (_noise(strategy, span, shape) for _ in range(2))
                assert torch.equal(first, again), (
                    f"{strategy.name}: the same seed gives different noise, and other videos"
                )
                _same_shape_and_finite(strategy, "noise", first, torch.empty(shape))
    span = Span(frames=8, trained=4)
    deviation = float(_noise(strategy, span, (4, span.frames, 4, 16, 16)).std())
    assert 0.8 < deviation < 1.25, (
        f"{strategy.name}: noise has a standard deviation of {deviation:.3g}, not 1, which is how the model knows noise"
    )


def _noise(strategy: NoiseSchedule, span: Span, shape: tuple[int, ...]) -> Tensor:
    sources_F = strategy.sources(span, torch.Generator().manual_seed(1))
    whole = isinstance(sources_F, Tensor) and not sources_F.is_floating_point()
    assert whole, f"{strategy.name}: sources must be a tensor of whole numbers, which count fresh frames of noise"
    assert sources_F.shape == (span.frames,), f"{strategy.name}: sources has shape {tuple(sources_F.shape)}"
    assert bool((sources_F >= 0).all()), f"{strategy.name}: sources must not be negative, as they count from 0"
    return strategy.noise(shape, sources_F, torch.Generator().manual_seed(2))


def check_guidance(strategy: GuidanceSchedule) -> None:
    """There is one finite scale for each frame."""
    for trained in TRAINED:
        for span in spans(trained, stretched=True):
            _same_shape_and_finite(strategy, "scales", strategy.scales(span), torch.empty(span.frames))


def check_sigmas(strategy: SigmaSchedule) -> None:
    """Levels fall at every step, from the model's highest to 0."""
    for sigma_max in (80.0, 700.0):
        for steps in (1, 2, 10, 25, 100):
            sigmas_S1 = strategy.sigmas(steps, 0.002, sigma_max)
            _same_shape_and_finite(strategy, "sigmas", sigmas_S1, torch.empty(steps + 1))
            assert bool((sigmas_S1.diff() < 0).all()), (
                f"{strategy.name}: sigmas do not fall, so that a step would add noise"
            )
            assert sigmas_S1[-1] == 0, f"{strategy.name}: the last sigma is not 0, so that noise would be left"
            assert sigmas_S1[0] <= sigma_max * 1.0001, f"{strategy.name}: begins above what the model knows"


def check_motion(strategy: MotionSchedule) -> None:
    """There is one motion bucket and one frame rate for each frame, none of them negative."""
    for trained in TRAINED:
        for stretched in (False, True):
            for span in spans(trained, stretched=stretched):
                like_F = torch.empty(span.frames)
                for what, made_F in (("buckets", strategy.buckets(127, span)), ("rates", strategy.rates(7, span))):
                    _same_shape_and_finite(strategy, what, made_F, like_F)
                    assert bool((made_F >= 0).all()), f"{strategy.name}: {what} must not be negative, as SVD knows none"


def check_context(strategy: ContextStrategy) -> None:
    """Windows cover the whole video in every step, a short video is seen whole, and images keep their shape."""
    for trained in TRAINED:
        for span in spans(trained, stretched=False):
            where = f"{strategy.name}: with {span.frames} of {trained} trained frames"
            assert strategy.windows(span) is None, f"{where} the UNet does not see the whole video"
        for span in spans(trained, stretched=True):
            for step in range(5):
                _check_windows(strategy, strategy.windows(replace(span, step=step)), span)
            images_FCYX, before_TCYX = torch.ones(3, 4, 2, 5), torch.ones(span.frames, 4, 2, 5)
            frames_F = torch.arange(2, 5) if span.frames > 5 else torch.arange(3)
            for before in (before_TCYX, torch.full_like(before_TCYX, torch.nan)):
                seen_FCYX = strategy.image_latents(images_FCYX, frames_F, before, span)
                _same_shape_and_finite(strategy, "image_latents", seen_FCYX, images_FCYX)


def check_sampling(strategy: SamplingStrategy) -> None:
    """Every frame is denoised, never more frames together than there are, and a tiny model's video comes out whole."""
    for trained in TRAINED:
        for stretched in (False, True):
            for span in spans(trained, stretched=stretched):
                together, denoised = strategy.seen(span), strategy.frames_denoised(span)
                assert isinstance(together, int), f"{strategy.name}: seen must give a whole number, got {together!r}"
                assert 1 <= together <= span.frames, f"{strategy.name}: {together} of {span.frames} frames together"
                assert denoised >= span.frames, f"{strategy.name}: only {denoised} of {span.frames} frames denoised"

    asked: dict[str, Any] = {"width": 32, "height": 24, "steps": 2, "seed": 0, "frames": 9}
    try:
        generate(Image.new("RGB", (32, 24), "red"), model=Model.of(tiny_pipeline()), sampling=strategy, **asked)
    except PluginError as error:
        raise AssertionError(f"{strategy.name}: a video of 9 frames fails with it: {error}") from error


def _same_shape_and_finite(strategy: Strategy, what: str, given: Tensor, wanted: Tensor) -> None:
    assert isinstance(given, Tensor), f"{strategy.name}: {what} must be a tensor, got {type(given).__name__}"
    assert given.shape == wanted.shape, (
        f"{strategy.name}: {what} must have shape {tuple(wanted.shape)}, got {tuple(given.shape)}: one for each frame"
    )
    finite = bool(torch.isfinite(given).all())
    assert finite, f"{strategy.name}: {what} must be finite, as one number that is not spreads over the whole video"


_CHECKS = {
    PositionalStrategy: check_positional,
    AttentionStrategy: check_attention,
    NoiseSchedule: check_noise,
    GuidanceSchedule: check_guidance,
    SigmaSchedule: check_sigmas,
    MotionSchedule: check_motion,
    ContextStrategy: check_context,
    SamplingStrategy: check_sampling,
}
