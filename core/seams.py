"""Where longtake touches SVD's UNet: its forward, replaced within a ``with`` block and put back on every exit.

In its place runs the engine (``core/engine/``), with the UNet's own blocks and parameters; it asks :class:`Seams`
wherever a strategy may have a say: the temporal code of each frame, temporal self-attention, and the conditioning on
motion bucket and frame rate.

Shape suffixes: B = batch, F = frames, P = pixels, N = heads, D = channels per head, C = channels, K = frequencies or
channels of the image embedding, Y, X = latent rows, columns, R = rows, 1 or F.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from .answers import check_mask, check_number, check_seen, check_values, check_windows
from .blame import is_foreign
from .contracts import AttentionStrategy, PositionalStrategy, RangedStrategy, Span, Windows
from .denoiser import Part
from .embedding import embed, trained_frequencies
from .engine.layout import weights_channels_last
from .engine.skips import Skips
from .engine.split import Split
from .engine.unet import Engine
from .errors import PluginError, check_kind
from .forward import Forward
from .holding import holding
from .modifiers import attend_modified, refuse_frames_of_windows
from .parts import check_unet

Acting = TypeVar("Acting", bound=RangedStrategy)
Made = TypeVar("Made")

FULL = AttentionStrategy()  # every frame sees every frame: where no strategy acts


class Seams:
    """The strategies at work in one UNet, and the step that they are asked about.

    Attributes:
        engine: that runs the UNet and asks.
        progress: 0 at the first step, 1 at the last; whoever calls the UNet sets it.
        step: number of the step, from 0; likewise.
        conditional: whether the UNet is called with the image, or whether each video of its batch is; likewise.
        part: of the video of ``whole`` frames, where the UNet sees only some of them; likewise.
        seen: the frames that the UNet is called with; likewise.
        time_ids_BF3: fps - 1, motion bucket and augmentation of each frame; None = what the UNet is called with.
        moment: what calls of one step over the same frames have in common, and others have not; None = nothing is
            shared.

    """

    engine: Engine

    def __init__(
        self,
        trained: int,
        positional: PositionalStrategy | None = None,
        attention: AttentionStrategy | None = None,
        outer: Seams | None = None,
    ) -> None:
        self.trained = trained
        self.progress = 0.0
        self.step = 0
        self.conditional: Hashable = True
        self.part: Part | None = None
        self.whole = 0
        self.seen: Span | None = None
        self.time_ids_BF3: Tensor | None = None
        self.moment: Hashable = None
        self._shared: dict[Hashable, Any] = {}
        self._shared_at: Hashable = None
        self._positional = positional
        self._attention = attention
        self._outer = outer
        self._sights: set[Hashable] = set()  # what the attention strategy has been asked about

    def shared(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what an earlier call of the same step made, or make it: embeddings, which do not know the image."""
        if self.moment is None:
            return make()
        if self.moment != self._shared_at:
            self._shared, self._shared_at = {}, self.moment
        if key not in self._shared:
            self._shared[key] = make()
        made: Made = self._shared[key]
        return made

    def span(self, frames: int) -> Span:
        """Return what strategies are told about a call with so many frames."""
        span = Span(frames=frames, trained=self.trained, progress=self.progress, step=self.step)
        # Windows of attention that count from zero are other frames, and know nothing of their places.
        known = self.seen is not None and self.seen.frames == frames
        return replace(span, places=self.seen.places, whole=self.seen.whole) if self.seen and known else span

    def branch(self) -> Hashable:
        """Return what tells calls apart whose features are not the same: with or without the image, which part."""
        return self.conditional, None if self.part is None else tuple(self.part.frames_F.tolist())

    def _placed(self, frames: int) -> Tensor | None:
        """Return the places of so many frames in the whole video, if they are a part that keeps them."""
        part = self.part
        # Windows of attention within the part, which count from zero, are other frames.
        return None if part is None or part.local or len(part.frames_F) != frames else part.frames_F

    def positional(self, frames: int) -> tuple[PositionalStrategy, Span] | None:
        """Return the positional strategy that acts at this step, and what it is told; that of an outer block if any."""
        if self._positional and self._positional.active(self.progress):
            return self._positional, self.span(frames)
        return self._outer.positional(frames) if self._outer else None

    def attention(self, frames: int) -> tuple[AttentionStrategy, Span] | None:
        """Return the attention strategy that acts at this step likewise."""
        if self._attention and self._attention.active(self.progress):
            span = self.span(frames)
            self._check_sight(self._attention, span)
            return self._attention, span
        return self._outer.attention(frames) if self._outer else None

    def _check_sight(self, strategy: AttentionStrategy, span: Span) -> None:
        """See once for each step, and each number of frames, that windows and mask are what they should be."""
        asked = span.step, span.progress, span.frames, span.places
        if asked not in self._sights:
            check_windows(strategy, strategy.windows(span), span.frames)
            check_mask(strategy, strategy.mask(span), span.frames)
            self._sights.add(asked)

    def time_ids(self) -> Tensor | None:
        """Return the conditioning of each frame, (B, F, 3), where the caller has said it."""
        if self.time_ids_BF3 is None and self._outer:
            return self._outer.time_ids()
        return self.time_ids_BF3

    def local_windows(self, frames: int) -> Windows | None:
        """Return windows that each count from zero, if the attention strategy asks for such."""
        acting = self.attention(frames)
        windows = acting[0].windows(acting[1]) if acting else None
        if acting is None or windows is None or not windows.local_positions:
            return None
        refuse_frames_of_windows(acting[0])
        return windows

    def code(self, frames: int, channels: int, device: torch.device) -> Tensor:
        """Return the temporal code of each frame, (F, C) in float32."""
        placed_F = self._placed(frames)
        frames = frames if placed_F is None else self.whole
        frames_F = torch.arange(frames, device=device, dtype=torch.float32)
        freqs_K = trained_frequencies(channels, device)
        code_FC = self._coded(frames_F, freqs_K)
        return code_FC if placed_F is None else code_FC[placed_F.to(device)]

    def _coded(self, frames_F: Tensor, freqs_K: Tensor) -> Tensor:
        frames = len(frames_F)
        acting = self.positional(frames)
        if acting is None:
            return embed(frames_F, freqs_K)
        strategy, span = acting
        positions_F, used_K = strategy.positions(frames_F, span), strategy.frequencies(freqs_K, span)
        return embed(
            check_values(strategy, "positions", positions_F, frames, frames_F.device),
            check_values(strategy, "frequencies", used_K, len(freqs_K), freqs_K.device),
        )

    def whole_frames(self, frames: int) -> bool:
        """Return whether the attention strategy needs all pixels at a time."""
        acting = self.attention(frames)
        return acting is not None and acting[0].whole_frames(acting[1])

    def attend(
        self, q_PNFD: Tensor, k_PNFD: Tensor, v_PNFD: Tensor, rows: int | None = None, columns: int | None = None
    ) -> Tensor:
        """Return what temporal self-attention gives for some pixels, (P, N, F, D); rows and columns are of a frame."""
        frames, channels = q_PNFD.shape[2:]
        positional = self.positional(frames if self._placed(frames) is None else self.whole)
        attention = self.attention(frames)
        temperature = 1.0
        if positional:
            temperature = check_number(positional[0], "temperature", positional[0].temperature(positional[1]), 0)
        strategy, span = attention or (FULL, self.span(frames))
        if rows is not None and columns is not None and rows * columns == len(q_PNFD):
            span = replace(span, rows=rows, columns=columns)
        # None rather than the same number: the kernel's own default is exact where nothing is asked.
        scale = None if temperature == 1.0 else temperature / channels**0.5
        seen_PNFD = check_seen(strategy, attend_modified(strategy, q_PNFD, k_PNFD, v_PNFD, span, scale), q_PNFD)
        # A sum, which is finite only if everything is; of our own strategies the loop sees at the end of the step.
        if is_foreign(strategy) and not bool(seen_PNFD.sum(dtype=torch.float32).isfinite()):
            raise PluginError(f"attention strategy {strategy.name!r} must return finite numbers from attend", strategy)
        return seen_PNFD


@contextmanager
def installed(
    unet: Any,
    positional: PositionalStrategy | None = None,
    attention: AttentionStrategy | None = None,
    *,
    trained: int | None = None,
    split: Split | None = None,
    make_skips: Callable[[], Skips] | None = None,
) -> Iterator[Seams]:
    """Put strategies into an ``UNetSpatioTemporalConditionModel`` for the time of a ``with`` block.

    Blocks may be nested: the inner strategies act, and where there is none (or it does not act at this step) the outer.
    The UNet is held: other threads that would install something, or use a model of it, wait until the block ends.
    What is merged from weights is merged on entry, from the weights as they are then.

    Args:
        unet: of SVD, in diffusers' class.
        positional: by default none.
        attention: by default full.
        trained: frames that the model was trained on; by default ``unet.config.num_frames``.
        split: how the work is shared out; by default everything at a time.
        make_skips: where the UNet keeps what its way down hands to its way up; by default on the device.

    Raises:
        ModelError: ``unet`` is of another class, or its forward is not that of diffusers.
        LongtakeError: something else stands around its blocks, and would be passed over.

    Yields:
        the :class:`Seams`, whose ``progress`` the caller moves from 0 to 1 along the steps.

    """
    check_kind("positional", positional, PositionalStrategy, "a PositionalStrategy, as an object")
    check_kind("attention", attention, AttentionStrategy, "an AttentionStrategy, as an object")
    check_unet(unet)
    with holding(unet):
        before = unet.__dict__.get("forward")
        outer = before.seams if isinstance(before, Forward) else None
        seams = Seams(trained or unet.config.num_frames, positional, attention, outer)
        if outer:  # what is not said is as the outer block has it
            split, make_skips = split or outer.engine.split, make_skips or outer.engine.make_skips
        seams.engine = Engine(unet, seams, split or Split(), make_skips or Skips)
        with _in_place(unet, Forward(unet, seams)), weights_channels_last(unet):
            yield seams


@contextmanager
def _in_place(unet: Any, forward: Forward) -> Iterator[None]:
    """Let ``forward`` stand in the place of the UNet's for the time of the block."""
    before = unet.__dict__.get("forward")
    # What unet.compile() leaves would trace its way through the engine, which compiles its own pieces.
    compiled = unet.__dict__.pop("_compiled_call_impl", None)
    unet.forward = forward
    try:
        yield
    finally:
        if before is None:
            del unet.forward
        else:
            unet.forward = before
        if compiled is not None:
            unet._compiled_call_impl = compiled
