"""What stands in the place of modules of a clone's UNet while ComfyUI samples with that clone.

A patched module holds the very dictionaries of children and weights that the stock one holds: names of weights stay
what they are, so that adapters, casting and offloading find everything where it was. The stock module itself is called
wherever a strategy has nothing to say.

Shape suffixes: N = batch x frames, F = frames, C = channels, P = batch x pixels, D = channels per head.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ...core.contracts import AttentionStrategy, PositionalStrategy
from ...core.embedding import embed, trained_frequencies
from ...core.errors import ModelError
from .told import Telling, ToldSeams

PIXELS = 8192  # attended over at a time, unless a strategy wants whole frames: kernels have their limits
UNET = "diffusion_model"


class Patched(nn.Module):
    """Stands for a stock module, with its children and weights.

    Args:
        stock: the module in whose place it stands.
        seams: of the clone.

    """

    stock: nn.Module
    seams: ToldSeams

    def __init__(self, stock: nn.Module, seams: ToldSeams) -> None:
        super().__init__()
        self._modules, self._parameters, self._buffers = stock._modules, stock._parameters, stock._buffers
        self.training = stock.training
        self.__dict__.update(stock=stock, seams=seams)  # not as a child

    def __getattr__(self, name: str) -> Any:
        """Return what the stock module has under that name, such as the number of heads."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            # While it is copied there is no stock module yet, and how that one is copied is not how this one is.
            if "stock" not in self.__dict__ or name.startswith("__"):
                raise
            return getattr(self.__dict__["stock"], name)


class Positions(Patched):
    """Stands for ``time_pos_embed``, the MLP that sees the sines and cosines of each frame's number."""

    def forward(self, code_NC: Tensor) -> Tensor:
        """Return what is added to each frame, (N, C): the stock MLP's answer to the code that the strategy wants.

        Where that is the plain code, the given one is handed on as it is. Where windows count from zero, nothing is
        added here, since each of them has its own.
        """
        self.seams.check_told()
        frames, channels, device = frames_of(code_NC), code_NC.shape[1], code_NC.device
        if self.seams.local_windows(frames):
            return torch.zeros_like(self.stock(code_NC))
        wanted_FC = self.seams.code(frames, channels, device)
        plain_FC = embed(torch.arange(frames, device=device), trained_frequencies(channels, device))
        if not torch.equal(wanted_FC, plain_FC):
            code_NC = wanted_FC.to(code_NC.dtype).repeat(len(code_NC) // frames, 1)
        added_NC: Tensor = self.stock(code_NC)
        return added_NC


class Block(Patched):
    """Stands for a block of ``time_stack``: runs it window by window where windows count from zero.

    Args:
        stock: the block.
        seams: of the clone.
        embed_positions: the stock ``time_pos_embed``.

    """

    def __init__(self, stock: nn.Module, seams: ToldSeams, embed_positions: nn.Module) -> None:
        super().__init__(stock, seams)
        self.__dict__["embed_positions"] = embed_positions

    def forward(self, states_PFC: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return what the stock block makes of the states, (P, F, C)."""
        made_PFC: Tensor
        windows = self.seams.local_windows(states_PFC.shape[1])
        if windows is None:
            made_PFC = self.stock(states_PFC, *args, **kwargs)
            return made_PFC
        code_FC = self.seams.code(windows.size, states_PFC.shape[2], states_PFC.device)
        placed_FC = self.embed_positions(code_FC.to(states_PFC.dtype))
        exact = torch.promote_types(states_PFC.dtype, torch.float32)
        fused_PFC = torch.zeros_like(states_PFC, dtype=exact)
        for start, weights_F in zip(windows.starts, windows.weights_WF.to(states_PFC.device, exact), strict=True):
            inside = windows.inside(start)
            made_PFC = self.stock(states_PFC[:, inside] + placed_FC, *args, **kwargs)
            fused_PFC[:, inside] += weights_F[inside, None] * made_PFC
        return fused_PFC.to(states_PFC.dtype)


class Attention(Patched):
    """Stands for ``attn1`` of a block of ``time_stack``: temporal self-attention."""

    def forward(
        self, states_PFC: Tensor, context: Tensor | None = None, value: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return what the strategies make of it, (P, F, C); ComfyUI's own attention where they leave it alone."""
        made_PFC: Tensor
        if self.seams.leaves_attention_alone(states_PFC.shape[1]):
            made_PFC = self.stock(states_PFC, context, value, *args, **kwargs)
            return made_PFC
        keys_PFC = states_PFC if context is None else context
        values_PFC = keys_PFC if value is None else value
        mask = args[0] if args else kwargs.get("mask")
        if mask is not None or keys_PFC.shape[1] != states_PFC.shape[1]:
            raise ModelError(
                "another node changes which frames temporal attention sees, so that longtake's strategy cannot act; "
                "leave one of them out"
            )
        q_PNFD, k_PNFD, v_PNFD = (
            project(each_PFC).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project, each_PFC in ((self.to_q, states_PFC), (self.to_k, keys_PFC), (self.to_v, values_PFC))
        )
        seen_PNFD = torch.empty_like(q_PNFD)
        for part, size in self._parts(len(q_PNFD), states_PFC.shape[1]):
            seen_PNFD[part] = self.seams.attend(q_PNFD[part], k_PNFD[part], v_PNFD[part], *size)
        made_PFC = self.to_out(seen_PNFD.transpose(1, 2).flatten(2))
        return made_PFC

    def _parts(self, pixels: int, frames: int) -> Iterator[tuple[slice, tuple[int, ...]]]:
        """Yield the pixels of one video after another, with rows and columns of its frames where those are whole."""
        each = pixels // self.seams.videos
        whole = self.seams.whole_frames(frames) or each <= PIXELS
        size = self.seams.size_of(each) if whole else None
        some = each if whole else PIXELS
        for start in range(0, pixels, some):
            yield slice(start, start + some), size or ()


def frames_of(code_NC: Tensor) -> int:
    """Return how many frames a video has, of which several follow one another: where the code begins again."""
    again = (code_NC[1:] == code_NC[0]).all(dim=1).nonzero()
    return int(again[0]) + 1 if len(again) else len(code_NC)


def patched(
    model: Any,
    trained: int,
    positional: PositionalStrategy | None = None,
    attention: AttentionStrategy | None = None,
) -> Any:
    """Return a clone of a ComfyUI model with strategies in it; those that it has already act where these do not.

    Args:
        model: a ``ModelPatcher`` with SVD; it is left as it is.
        trained: frames that the model was trained on.
        positional: strategy, if any.
        attention: likewise.

    Raises:
        ModelError: its UNet has no temporal blocks.

    """
    clone = model.clone()
    seams = ToldSeams(trained, positional, attention, seams_of(clone))
    for name in transformers(clone):
        stock = _stock(clone.get_model_object(f"{name}.time_pos_embed"))
        clone.add_object_patch(f"{name}.time_pos_embed", Positions(stock, seams))
        for number in range(len(clone.get_model_object(f"{name}.time_stack"))):
            block = f"{name}.time_stack.{number}"
            attn1 = _stock(clone.get_model_object(f"{block}.attn1"))
            if attention is not None or isinstance(clone.get_model_object(block), Block):
                clone.add_object_patch(block, Block(_stock(clone.get_model_object(block)), seams, stock))
            clone.add_object_patch(f"{block}.attn1", Attention(attn1, seams))
    clone.set_model_unet_function_wrapper(Telling(seams, clone.model_options.get("model_function_wrapper")))
    return clone


def seams_of(model: Any) -> ToldSeams | None:
    """Return the strategies that a model has already, if longtake has patched it."""
    placed = model.get_model_object(f"{transformers(model)[0]}.time_pos_embed")
    return placed.seams if isinstance(placed, Positions) else None


def transformers(model: Any) -> list[str]:
    """Return the names of the spatio-temporal transformers of a model.

    Raises:
        ModelError: there are none.

    """
    unet = model.get_model_object(UNET)
    found = [name for name, module in unet.named_modules() if hasattr(module, "time_pos_embed")]
    if not found:
        raise ModelError(
            f"longtake's nodes need Stable Video Diffusion, and this model, {type(model.model).__name__}, has no "
            "temporal blocks; load one with ComfyUI's Image Only Checkpoint Loader (img2vid model)"
        )
    return [f"{UNET}.{name}" for name in found]


def _stock(module: nn.Module) -> nn.Module:
    """Return the module in whose place a patched one stands, or that module itself."""
    return module.stock if isinstance(module, Patched) else module
