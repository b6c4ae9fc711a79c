"""The spatio-temporal transformer: spatial blocks over chunks of frames, temporal ones over chunks of pixels.

Tokens keep one layout, (F, P, C), from beginning to end, that of the states with channels last: a linear layer does not
care which frames and pixels its rows are, and temporal attention takes a view in which frames stand where the kernel
wants them.

Shape suffixes: V = videos, F = frames of all of them, T = frames of one, P = pixels, C = channels, Y, X = rows,
columns, K = channels of the image embedding, N = heads, D = channels per head.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blend import share_of_temporal
from .fused import kernels_for
from .layout import in_turn, side_by_side, states_of, tokens_of
from .linear import run_half, run_linear
from .moments import group_norm, layer_norm
from .split import Split, Whole
from .wrapped import bias_plus, check_attention, is_plain

if TYPE_CHECKING:
    from ..contracts import Windows

# Attends over frames: queries, keys and values as (P, N, T, D).
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
# Returns a piece of the computation as it is to be run.
Ready = Callable[[Any], Any]


class Strategies(Protocol):
    """What the temporal blocks ask the strategies for."""

    def code(self, frames: int, channels: int, device: torch.device) -> Tensor:
        """Return the temporal code of each frame of a video, (T, C) in float32."""

    def shared(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """Return what an earlier call of the same step made, or make it."""

    def local_windows(self, frames: int) -> Windows | None:
        """Return windows that each count from zero, if there are such."""

    def whole_frames(self, frames: int) -> bool:
        """Return whether temporal self-attention needs all pixels at a time."""

    def attend(
        self, q_PNFD: Tensor, k_PNFD: Tensor, v_PNFD: Tensor, rows: int | None = None, columns: int | None = None
    ) -> Tensor:
        """Return what temporal self-attention gives; rows and columns are those of a frame."""


class Transformer:
    """Runs diffusers' ``TransformerSpatioTemporalModel`` with its own parameters."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.share = share_of_temporal(module.time_mixer)
        for block in (*module.transformer_blocks, *module.temporal_transformer_blocks):
            check_attention(block.attn1, "a self-attention layer of the UNet")
            check_attention(block.attn2, "a cross-attention layer of the UNet")

    def __call__(self, states_FCYX: Tensor, token_VK: Tensor, strategies: Strategies, split: Split) -> None:
        """Add to the states, in place, what the transformer makes of them; there is a token for each video."""
        each = states_FCYX[0, 0].numel() * block_bytes(self.module.inner_dim, states_FCYX.element_size())
        tokens_FPC, size = self._tokens(states_FCYX, split, each), states_FCYX.shape[2:]
        for spatial, temporal in zip(
            self.module.transformer_blocks, self.module.temporal_transformer_blocks, strict=True
        ):
            bias_VC = token_bias(spatial, token_VK)
            for chunk in split.over_frames(len(tokens_FPC), each):
                split.ready(spatial_block)(spatial, tokens_FPC[chunk], bias_VC)
            self._temporal(temporal, tokens_FPC, token_VK, strategies, split, size)
        for chunk in split.over_frames(len(tokens_FPC), each):
            split.ready(_add_tokens)(self.module, tokens_FPC[chunk], states_FCYX[chunk])

    def _tokens(self, states_FCYX: Tensor, split: Split, each: int) -> Tensor:
        whole = Whole(len(states_FCYX))
        for chunk in split.over_frames(len(states_FCYX), each):
            whole.put(chunk, split.ready(_tokens)(self.module, states_FCYX[chunk]))
        return whole.states

    def _temporal(
        self,
        block: Any,
        tokens_FPC: Tensor,
        token_VK: Tensor,
        strategies: Strategies,
        split: Split,
        size: Sequence[int | None] = (None, None),
    ) -> None:
        """Blend what the temporal block makes of the tokens into them, in place; window by window where asked."""
        frames, videos = split.frames_of(tokens_FPC), split.videos
        bias_VC, windows = token_bias(block, token_VK), strategies.local_windows(frames)
        all_pixels = strategies.whole_frames(frames)
        attend: Attend = strategies.attend
        if all_pixels or videos == 1:  # else as many pixels as a frame has may be halves of two videos
            attend = partial(_each_by_itself, videos, partial(strategies.attend, rows=size[0], columns=size[1]))

        def made_of(part_FPC: Tensor) -> Tensor:
            return temporal_block(block, part_FPC, code_TC, bias_VC, attend, split.ready)

        def whole(_: int, part_FPC: Tensor) -> None:
            part_FPC.lerp_(made_of(part_FPC), self.share)

        def by_window(_: int, part_FPC: Tensor) -> None:
            assert windows is not None
            part_TVPC = part_FPC.unflatten(0, (-1, videos))
            exact = torch.promote_types(part_FPC.dtype, torch.float32)
            fused_TVPC = torch.zeros_like(part_TVPC, dtype=exact)
            for start, weights_T in zip(windows.starts, windows.weights_WF.to(part_FPC.device, exact), strict=True):
                inside = windows.inside(start)
                made_FPC = made_of(part_TVPC[inside].flatten(0, 1))
                fused_TVPC[inside] += weights_T[inside, None, None, None] * made_FPC.unflatten(0, (-1, videos))
            part_FPC.lerp_(fused_TVPC.flatten(0, 1).to(part_FPC.dtype), self.share)

        code_TC = self._code(windows.size if windows else frames, tokens_FPC, strategies)
        each = block_bytes(self.module.inner_dim, tokens_FPC.element_size())
        split.over_pixels(by_window if windows else whole, tokens_FPC, each, whole=all_pixels)

    def _code(self, frames: int, tokens_FPC: Tensor, strategies: Strategies) -> Tensor:
        def placed() -> Tensor:
            code_TC = strategies.code(frames, self.module.in_channels, tokens_FPC.device)
            placed_TC: Tensor = self.module.time_pos_embed(code_TC.to(tokens_FPC.dtype))
            return placed_TC

        return strategies.shared((self.module, frames), placed)


def _tokens(module: Any, states_FCYX: Tensor) -> Tensor:
    return run_linear(module.proj_in, tokens_of(group_norm(states_FCYX, module.norm, silu=False)))


def _add_tokens(module: Any, tokens_FPC: Tensor, states_FCYX: Tensor) -> None:
    states_FCYX += states_of(run_linear(module.proj_out, tokens_FPC), states_FCYX.shape[2:])


def as_it_is(piece: Any) -> Any:
    """Return a piece as it is."""
    return piece


def token_bias(block: Any, token_VK: Tensor) -> Tensor:
    """Return what cross-attention to a single token gives, the same for every query of a video, (V, C).

    The softmax over one key is 1, so the result is the value, through the output projection.
    """
    attention = block.attn2
    biased_VC: Tensor = attention.to_out[0](attention.to_v(token_VK))
    return biased_VC


def spatial_block(block: Any, tokens_FPC: Tensor, bias_VC: Tensor) -> None:
    """Run diffusers' ``BasicTransformerBlock`` on some frames, in place; the bias is its cross-attention's result."""
    tokens_FPC += _attend_within_frames(block, tokens_FPC, bias_VC)
    tokens_FPC += feed_forward(block.ff, block.norm3, tokens_FPC)


def temporal_block(
    block: Any, tokens_FPC: Tensor, code_TC: Tensor, bias_VC: Tensor, attend: Attend, ready: Ready = as_it_is
) -> Tensor:
    """Return what diffusers' ``TemporalBasicTransformerBlock`` gives for some pixels of all frames of V videos."""
    code_FC = code_TC.repeat_interleave(len(bias_VC), 0)
    states_FPC = ready(_plus)(tokens_FPC + code_FC[:, None], block.ff_in, block.norm_in, block.is_res)
    states_FPC += _attend_over_frames(block, states_FPC, bias_VC, attend, ready)
    made_FPC: Tensor = ready(_plus)(states_FPC, block.ff, block.norm3, block.is_res)
    return made_FPC


def _plus(states_FPC: Tensor, layers: Any, norm: nn.LayerNorm, residual: bool) -> Tensor:
    """Return what a feed-forward makes of the states, added to them, in place, where it is a residual."""
    made_FPC = feed_forward(layers, norm, states_FPC)
    return states_FPC.add_(made_FPC) if residual else made_FPC


# Each of these is a function of its own so that its tensors are gone before the next one needs room.
def _attend_within_frames(block: Any, tokens_FPC: Tensor, bias_VC: Tensor) -> Tensor:
    q_FNPD, k_FNPD, v_FNPD = (each.transpose(1, 2) for each in _heads(block, tokens_FPC))
    seen_FNPD = functional.scaled_dot_product_attention(q_FNPD, k_FNPD, v_FNPD)
    return _project_out(block.attn1, seen_FNPD.transpose(1, 2).flatten(2), bias_VC)


def _attend_over_frames(block: Any, states_FPC: Tensor, bias_VC: Tensor, attend: Attend, ready: Ready) -> Tensor:
    videos = len(bias_VC)
    q_PNTD, k_PNTD, v_PNTD = (
        side_by_side(each, videos).permute(1, 2, 0, 3) for each in ready(_heads)(block, states_FPC)
    )
    seen_TPND = attend(q_PNTD, k_PNTD, v_PNTD).permute(2, 0, 1, 3)
    made_FPC: Tensor = ready(_project_out)(block.attn1, in_turn(seen_TPND, videos).flatten(2), bias_VC)
    return made_FPC


def _each_by_itself(videos: int, attend: Attend, *qkv_PNTD: Tensor) -> Tensor:
    """Attend to each video by itself where pixels are whole frames, of which there are several then."""
    if videos == 1:
        return attend(*qkv_PNTD)
    return torch.cat([attend(*each) for each in zip(*(states.chunk(videos) for states in qkv_PNTD), strict=True)])


def _heads(block: Any, states_XYC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values of self-attention, (…, N, D)."""
    attention, normed_XYC = block.attn1, layer_norm(states_XYC, block.norm1)
    q, k, v = (
        run_linear(project, normed_XYC).unflatten(-1, (attention.heads, -1))
        for project in (attention.to_q, attention.to_k, attention.to_v)
    )
    return q, k, v


def _project_out(attention: Any, seen_FPC: Tensor, bias_VC: Tensor) -> Tensor:
    """Return the output projection plus a bias for each video; that of a single one its own takes in."""
    linear: nn.Linear = attention.to_out[0]
    if is_plain(linear) and len(bias_VC) == 1:
        return run_linear(linear, seen_FPC, bias_plus(linear, bias_VC[0]))
    made_FPC: Tensor = run_linear(linear, seen_FPC).unflatten(0, (-1, len(bias_VC))) + bias_VC[:, None]
    return made_FPC.flatten(0, 1)


def feed_forward(layers: Any, norm: nn.LayerNorm, states_XYC: Tensor) -> Tensor:
    """Return what diffusers' ``FeedForward`` with a GEGLU makes of the norm.

    Hidden states and gate come from the two halves of one layer, run one after the other, so that each is in one
    piece and their product takes the gate's place.
    """
    gated, _, project = layers.net
    if is_plain(gated.proj):
        return run_linear(project, _opened(gated.proj, layer_norm(states_XYC, norm)))
    hidden, gate = gated.proj(layer_norm(states_XYC, norm)).chunk(2, dim=-1)
    return run_linear(project, functional.gelu(gate).mul_(hidden))


def _opened(layer: nn.Linear, normed_XYC: Tensor) -> Tensor:
    """Return hidden states times GELU of their gate, both from a plain layer, in the place of the gate."""
    gate, hidden = (run_half(layer, normed_XYC, half) for half in (1, 0))
    if kernels := kernels_for(gate):
        opened: Tensor = kernels.gated_(gate, hidden)
        return opened
    return torch.ops.aten.gelu_(gate).mul_(hidden)  # type: ignore[no-any-return]


def block_bytes(channels: int, number: int) -> int:
    """Return how much one token takes in a block beside itself, at ``number`` bytes a number.

    The feed-forward takes states, their norm, four times as many channels of hidden states, as many of the gate, and
    the result; attention whose queries, keys and values have factors takes a little more.
    """
    return number * channels * 14
