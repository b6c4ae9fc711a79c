"""What strategies are told while ComfyUI samples: which step this is, and how large the latents are.

ComfyUI's sampler knows neither strategies nor steps. It calls the UNet with a sigma, and says in
``transformer_options["sample_sigmas"]`` which sigmas it passes through. A function around the model, one for each
patched clone, reads both before the UNet is called and forgets them after it, also after an interrupt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import torch

from ...core.blame import blaming
from ...core.contracts import AttentionStrategy, PositionalStrategy
from ...core.errors import LongtakeError
from ...core.manager import load_plugins
from ...core.modifiers import unmodified
from ...core.plan import progress_of
from ...core.seams import Seams

UNTOLD = (
    "longtake does not know at which step the UNet is called: another node has taken the place of its function around "
    "the model (set_model_unet_function_wrapper), or calls the UNet by itself; put longtake's nodes after that one"
)


class Uncopied:
    """What a copy of a model shares with the model: ``copy.copy`` and ``copy.deepcopy`` return the object itself.

    ``ModelPatcher.clone`` of some versions of ComfyUI copies ``model_options`` deeply, and so do other node packs,
    while object patches stay the same modules. A copy of what tells the step would tell it to nobody.
    """

    def __copy__(self) -> Self:
        """Return the object itself."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return the object itself."""
        return self


class ToldSeams(Uncopied, Seams):
    """The strategies of one clone of a model; of clones of clones each has its own, with that before it as the outer.

    Attributes:
        told: whether the UNet is being called, so that progress and step are those of this call.
        videos: in a batch: conditional and unconditional branch, for example.
        size: latent rows and columns.

    """

    def __init__(
        self,
        trained: int,
        positional: PositionalStrategy | None = None,
        attention: AttentionStrategy | None = None,
        outer: ToldSeams | None = None,
    ) -> None:
        super().__init__(trained, positional, attention, outer)
        self.told = False
        self.videos = 1
        self.size = (0, 0)

    def all(self) -> Iterator[ToldSeams]:
        """Yield these, those before them, and so on."""
        yield self
        if isinstance(self._outer, ToldSeams):
            yield from self._outer.all()

    def check_told(self) -> None:
        """Refuse to guess the step.

        Raises:
            LongtakeError: nobody has told it, with what may have come between.

        """
        if not all(seams.told for seams in self.all()):
            raise LongtakeError(UNTOLD)

    def acting_at(self, progress: float) -> tuple[PositionalStrategy | None, AttentionStrategy | None]:
        """Return the strategies that act at this progress, None where there is none; for a plan, with nothing told."""
        positional: list[PositionalStrategy] = []
        attention: list[AttentionStrategy] = []
        for seams in self.all():
            if seams._positional and seams._positional.active(progress):
                positional.append(seams._positional)
            if seams._attention and seams._attention.active(progress):
                attention.append(seams._attention)
        return next(iter(positional), None), next(iter(attention), None)

    def leaves_attention_alone(self, frames: int) -> bool:
        """Return whether temporal self-attention over so many frames is what it is without longtake."""
        positional, acting = self.positional(frames), self.attention(frames)
        if positional and positional[0].temperature(positional[1]) != 1:
            return False
        if acting is None:
            return True
        strategy, span = acting
        if not unmodified(strategy, span):
            return False
        # Where there is nothing to stretch, strategies change nothing; that is their contract.
        plain = type(strategy).attend is AttentionStrategy.attend
        return frames <= span.trained or (plain and strategy.windows(span) is None and strategy.mask(span) is None)

    def size_of(self, pixels: int) -> tuple[int, int] | None:
        """Return rows and columns of a frame of so many pixels, at the level of the UNet that has such."""
        rows, columns = self.size
        while rows * columns > pixels:
            rows, columns = -(-rows // 2), -(-columns // 2)
        return (rows, columns) if rows * columns == pixels else None


class Telling(Uncopied):
    """ComfyUI's function around the model: tells the seams of a clone the step, then calls what was there before.

    Args:
        seams: of the clone.
        before: the function that another node has put around the model, if any.

    """

    def __init__(self, seams: ToldSeams, before: Callable[..., Any] | None) -> None:
        self.seams = seams
        self.before = before

    def __call__(self, apply_model: Callable[..., Any], args: Mapping[str, Any]) -> Any:
        """Return what the model predicts."""
        seams, (frames, _, *size) = self.seams, args["input"].shape
        seams.progress, seams.step = place(args["timestep"], args["c"].get("transformer_options", {}))
        seams.videos, seams.size = max(1, len(args.get("cond_or_uncond", ()))), (size[0], size[1])
        if frames % seams.videos:
            seams.videos = 1
        seams.told = True
        try:
            with blaming(load_plugins, at=f" at step {seams.step + 1}"):
                if self.before is not None:
                    return self.before(apply_model, args)
                return apply_model(args["input"], args["timestep"], **args["c"])
        finally:
            seams.told = False


def place(sigma: torch.Tensor, transformer_options: Mapping[str, Any]) -> tuple[float, int]:
    """Return progress and number of the step whose sigma is nearest.

    Raises:
        LongtakeError: ComfyUI does not say which sigmas it passes through.

    """
    sigmas_S1 = transformer_options.get("sample_sigmas")
    if sigmas_S1 is None or len(sigmas_S1) < 2:
        raise LongtakeError(
            "this ComfyUI, or the node that samples, does not say through which sigmas it goes "
            "(transformer_options['sample_sigmas']), so that longtake cannot know the step; update it, or sample with "
            "ComfyUI's own nodes"
        )
    now = float(sigma.flatten()[0])
    step = int((sigmas_S1[:-1].cpu().double() - now).abs().argmin())
    return progress_of(step, len(sigmas_S1) - 1), step
