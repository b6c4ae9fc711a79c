"""Where longtake touches SVD's UNet: three seams, installed by one context manager and undone on every exit.

1. The temporal blocks of each spatio-temporal transformer: positions and frequencies of the temporal code, and windows
   that count from zero.
2. The self-attention in each of those blocks: temperature, masks, windows, or a strategy's own attention.
3. The conditioning on time: motion bucket and frame rate for each frame where they are not the same for all.

Where a strategy does not act, the stock code runs, so that the model is left alone bit for bit.

Shape suffixes: B = batch, F = frames, P = batch x pixels, N = heads, D = channels per head, C = channels, W = windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .contracts import AttentionStrategy, PositionalStrategy, Span, Windows
from .embedding import embed, trained_frequencies
from .errors import PluginError


class Seams:
    """The strategies at work in one UNet, and the step that they are asked about.

    Attributes:
        progress: 0 at the first step, 1 at the last; whoever calls the UNet sets it.
        time_ids_BF3: fps - 1, motion bucket and augmentation of each frame; None = what the UNet is called with.

    """

    def __init__(
        self, trained: int, positional: PositionalStrategy | None, attention: AttentionStrategy | None
    ) -> None:
        self.trained = trained
        self.progress = 0.0
        self.time_ids_BF3: Tensor | None = None
        self._positional = positional
        self._attention = attention

    def span(self, frames: int) -> Span:
        """Return what strategies are told about a call with so many frames."""
        return Span(frames=frames, trained=self.trained, progress=self.progress)

    @property
    def positional(self) -> PositionalStrategy | None:
        """The positional strategy, where it acts at this step."""
        return self._positional if self._positional and self._positional.active(self.progress) else None

    @property
    def attention(self) -> AttentionStrategy | None:
        """The attention strategy, where it acts at this step."""
        return self._attention if self._attention and self._attention.active(self.progress) else None

    def local_windows(self, frames: int) -> Windows | None:
        """Return windows that each count from zero, if the attention strategy asks for such."""
        windows = self.attention.windows(self.span(frames)) if self.attention else None
        return windows if windows and windows.local_positions else None

    def code(self, frames: int, channels: int, device: torch.device) -> Tensor:
        """Return the temporal code of each frame, (F, C) in float32."""
        frames_F = torch.arange(frames, device=device, dtype=torch.float32)
        freqs_K = trained_frequencies(channels, device)
        strategy = self.positional
        if strategy is None:
            return embed(frames_F, freqs_K)
        span = self.span(frames)
        positions_F, used_K = strategy.positions(frames_F, span), strategy.frequencies(freqs_K, span)
        for what, given, wanted in (("positions", positions_F, frames_F), ("frequencies", used_K, freqs_K)):
            if not isinstance(given, Tensor) or given.shape != wanted.shape or not torch.isfinite(given).all():
                got = f"shape {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
                raise PluginError(
                    f"positional strategy {strategy.name!r} must give {len(wanted)} finite {what} for {frames} "
                    f"frames, got {got}"
                )
        return embed(positions_F, used_K)


@contextmanager
def installed(
    unet: Any,
    positional: PositionalStrategy | None = None,
    attention: AttentionStrategy | None = None,
    *,
    trained: int | None = None,
) -> Iterator[Seams]:
    """Put strategies into an ``UNetSpatioTemporalConditionModel`` for the time of a ``with`` block.

    Blocks may be nested: the inner strategies act, and where there is none (or it does not act at this step) the outer.

    Args:
        unet: of SVD, in diffusers' class.
        positional: by default none.
        attention: by default full.
        trained: frames that the model was trained on; by default ``unet.config.num_frames``.

    Yields:
        the :class:`Seams`, whose ``progress`` the caller moves from 0 to 1 along the steps.

    """
    from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
    from diffusers.models.unets.unet_3d_blocks import SpatioTemporalResBlock

    seams = Seams(trained or unet.config.num_frames, positional, attention)
    time = FrameTime(unet, seams)
    with ExitStack() as undo:
        _replace_forward(undo, unet.time_embedding, time.remember)
        for module in unet.modules():
            if isinstance(module, TransformerSpatioTemporalModel):
                _replace_forward(undo, module, _transformer_forward(module, seams))
                for block in module.temporal_transformer_blocks:
                    undo.callback(block.attn1.set_processor, block.attn1.processor)
                    block.attn1.set_processor(TemporalAttention(seams, block.attn1.processor))
            elif isinstance(module, SpatioTemporalResBlock):
                _replace_forward(undo, module, _resblock_forward(module, time))
        yield seams


def _replace_forward(undo: ExitStack, module: nn.Module, forward: Callable[..., Any]) -> None:
    """Shadow a method by an attribute of the instance, and take that away (or put back what was there) in the end."""
    before = module.__dict__.get("forward")
    module.forward = forward
    undo.callback(lambda: module.__dict__.pop("forward") if before is None else setattr(module, "forward", before))


def _transformer_forward(module: Any, seams: Seams) -> Callable[..., Any]:
    """Return the forward of diffusers' ``TransformerSpatioTemporalModel`` with our temporal code and windows."""
    from diffusers.models.transformers.transformer_temporal import TransformerTemporalModelOutput

    stock = module.forward

    def forward(
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        image_only_indicator: Tensor,
        return_dict: bool = True,
    ) -> Any:
        frames = image_only_indicator.shape[-1]
        windows = seams.local_windows(frames)
        if seams.positional is None and windows is None:
            return stock(hidden_states, encoder_hidden_states, image_only_indicator, return_dict)
        batch_frames, _, height, width = hidden_states.shape
        batch, pixels = batch_frames // frames, height * width
        residual = hidden_states
        tokens = module.norm(hidden_states).permute(0, 2, 3, 1).reshape(batch_frames, pixels, -1)
        tokens = module.proj_in(tokens)
        # Every pixel of a video sees the image token of its first frame.
        context = encoder_hidden_states.unflatten(0, (batch, frames))[:, 0].repeat_interleave(pixels, dim=0)
        for spatial, temporal in zip(module.transformer_blocks, module.temporal_transformer_blocks, strict=True):
            tokens = spatial(tokens, encoder_hidden_states=encoder_hidden_states)
            mixed = _temporal(module, temporal, seams, tokens, frames, context, windows)
            tokens = module.time_mixer(x_spatial=tokens, x_temporal=mixed, image_only_indicator=image_only_indicator)
        tokens = module.proj_out(tokens).reshape(batch_frames, height, width, -1)
        output = tokens.permute(0, 3, 1, 2).contiguous() + residual
        return TransformerTemporalModelOutput(sample=output) if return_dict else (output,)

    return forward


def _temporal(
    module: Any, block: nn.Module, seams: Seams, tokens: Tensor, frames: int, context: Tensor, windows: Windows | None
) -> Tensor:
    """Run one temporal block over (batch x frames, pixels, C), as a whole or window by window."""

    def run(part: Tensor, count: int) -> Tensor:
        code_FC = seams.code(count, module.in_channels, part.device)
        # Repeated before the MLP and not after it: another number of rows rounds differently in the last bit.
        repeated = code_FC.repeat(len(part) // count, 1).to(part.dtype)
        placed = part + module.time_pos_embed(repeated)[:, None]
        mixed: Tensor = block(placed, num_frames=count, encoder_hidden_states=context)
        return mixed

    if windows is None:
        return run(tokens, frames)
    by_frame = tokens.unflatten(0, (-1, frames))
    fused = torch.zeros_like(by_frame)
    for start, weights_F in zip(windows.starts, windows.weights_WF.to(tokens), strict=True):
        inside = slice(start, start + windows.size)
        mixed = run(by_frame[:, inside].flatten(0, 1), windows.size)
        fused[:, inside] += weights_F[inside, None, None] * mixed.unflatten(0, (-1, windows.size))
    return fused.flatten(0, 1)


class TemporalAttention:
    """Processor of temporal self-attention that leaves the core to the strategies."""

    def __init__(self, seams: Seams, stock: Callable[..., Tensor]) -> None:
        self.seams = seams
        self.stock = stock

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return what the attention gives for (P, F, C); the stock processor's where no strategy acts."""
        span = self.seams.span(hidden_states.shape[1])
        positional, attention = self.seams.positional, self.seams.attention
        temperature = positional.temperature(span) if positional else 1.0
        if attention is None and temperature == 1.0:
            return self.stock(attn, hidden_states, *args, **kwargs)
        q_PNFD, k_PNFD, v_PNFD = (
            project(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        # None rather than the same number: the kernel's own default is exact where nothing is asked.
        scale = None if temperature == 1.0 else temperature * attn.scale
        strategy = attention or AttentionStrategy()
        seen_PNFD = strategy.attend(q_PNFD, k_PNFD, v_PNFD, span, scale)
        if seen_PNFD.shape != q_PNFD.shape:
            raise PluginError(
                f"attention strategy {strategy.name!r} must return {tuple(q_PNFD.shape)} from attend, "
                f"got {tuple(seen_PNFD.shape)}"
            )
        project_out, dropout = attn.to_out
        projected: Tensor = dropout(project_out(seen_PNFD.transpose(1, 2).flatten(2)))
        return projected


class FrameTime:
    """The UNet's embedding of time and conditioning, one for each frame where frames are conditioned differently.

    The stock UNet adds the embeddings of sigma and of (fps - 1, motion bucket, augmentation) for each video and repeats
    the sum over frames. The residual blocks take any embedding per frame, so the sum is made again per frame here, once
    for each call of the UNet.
    """

    def __init__(self, unet: Any, seams: Seams) -> None:
        self.unet = unet
        self.seams = seams
        self.stock = unet.time_embedding.forward
        self.sigma_BC: Tensor | None = None
        self.frames_C: Tensor | None = None

    def remember(self, sample: Tensor, condition: Tensor | None = None) -> Tensor:
        """Stand in for ``time_embedding.forward``, which runs first in each call of the UNet."""
        sigma_BC: Tensor = self.stock(sample, condition)
        self.sigma_BC, self.frames_C = sigma_BC, None
        return sigma_BC

    def for_frames(self, stock_C: Tensor) -> Tensor:
        """Return the embedding of each frame, (batch x frames, C), given the stock one."""
        if self.frames_C is None:
            ids_BF3 = self.seams.time_ids_BF3
            if ids_BF3 is None or self.sigma_BC is None or bool((ids_BF3 == ids_BF3[:, :1]).all()):
                self.frames_C = stock_C
            else:
                ids_C = self.unet.add_time_proj(ids_BF3.flatten()).unflatten(0, (-1, ids_BF3.shape[-1])).flatten(1)
                sigma_C = self.sigma_BC.repeat_interleave(ids_BF3.shape[1], dim=0)
                self.frames_C = sigma_C + self.unet.add_embedding(ids_C.to(sigma_C.dtype))
        return self.frames_C


def _resblock_forward(module: Any, time: FrameTime) -> Callable[..., Tensor]:
    stock = module.forward

    def forward(hidden_states: Tensor, temb: Tensor, image_only_indicator: Tensor) -> Tensor:
        output: Tensor = stock(hidden_states, time.for_frames(temb), image_only_indicator)
        return output

    return forward
