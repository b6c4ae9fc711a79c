"""What ComfyUI's samplers take from longtake: noise, guidance over the frames, and denoising more than once.

ComfyUI keeps a video's frames in the batch: latents are (F, C, Y, X).

Shape suffixes: B = batch, F = frames, C = latent channels, Y, X = latent rows, columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor

from ...core.answers import check_tensor
from ...core.blame import blaming
from ...core.contracts import GuidanceSchedule, NoiseSchedule, SamplingStrategy, Span
from ...core.denoiser import guide
from ...core.errors import ConfigError, LongtakeError
from ...core.manager import load_plugins
from ...core.plan import guidance_at, noise_sources
from .told import Uncopied, place


class ComfyNoise:
    """ComfyUI's NOISE: asked for the noise of some latents, with the seed that samplers want to know.

    Attributes:
        seed: of the noise, and of its shuffle.
        schedule: which frame of fresh noise each frame has.
        trained: frames that the model was trained on.

    """

    def __init__(self, seed: int, schedule: NoiseSchedule, trained: int) -> None:
        self.seed = seed
        self.schedule = schedule
        self.trained = trained

    def generate_noise(self, input_latent: Mapping[str, Any]) -> Tensor:
        """Return noise of unit variance on the CPU, (F, C, Y, X), like ComfyUI's own for the same seed.

        Of latents that are some frames of a longer video (``batch_index``), the noise of these frames.
        """
        latents_FCYX: Tensor = input_latent["samples"]
        places = input_latent.get("batch_index")
        frames = len(latents_FCYX) if places is None else max(places) + 1
        shape_BFCYX = (1, frames, *latents_FCYX.shape[1:])
        with blaming(load_plugins):
            sources_F = noise_sources(self.schedule, Span(frames=frames, trained=self.trained), self.seed)
            noise_BFCYX = self.schedule.noise(shape_BFCYX, sources_F, torch.Generator().manual_seed(self.seed))
            check_tensor(self.schedule, "noise", noise_BFCYX, shape_BFCYX)
        noise_FCYX = noise_BFCYX[0].to(latents_FCYX.dtype)
        return noise_FCYX if places is None else noise_FCYX[places]


class FramewiseGuidance(Uncopied):
    """ComfyUI's function after guidance: guides each frame by its own scale, whatever the sampler's cfg is.

    Attributes:
        schedule: the scale of each frame.
        trained: frames that the model was trained on.

    """

    def __init__(self, schedule: GuidanceSchedule, trained: int) -> None:
        self.schedule = schedule
        self.trained = trained

    def __call__(self, args: Mapping[str, Any]) -> Tensor:
        """Return the denoised latents, (F, C, Y, X).

        Raises:
            ConfigError: there is no negative conditioning to guide away from.

        """
        conditional_FCYX: Tensor = args["cond_denoised"]
        progress, step = place(args["sigma"], args["model_options"].get("transformer_options", {}))
        span = Span(frames=len(conditional_FCYX), trained=self.trained, progress=progress, step=step)
        with blaming(load_plugins, at=f" at step {step + 1}"):
            scales_F = guidance_at(self.schedule, span)
        if bool((scales_F == 1).all()):
            return conditional_FCYX
        if args.get("uncond") is None:
            raise ConfigError(
                "guidance over frames needs a negative conditioning; sample with a CFGGuider or a KSampler, not with a "
                "BasicGuider"
            )
        return guide(args["uncond_denoised"], conditional_FCYX, scales_F)


def guided(model: Any, schedule: GuidanceSchedule, trained: int) -> Any:
    """Return a clone of a ComfyUI model in which each frame has its own scale of guidance."""
    clone = model.clone()
    # The unconditional branch is needed even where the sampler's cfg is 1.
    clone.set_model_sampler_post_cfg_function(FramewiseGuidance(schedule, trained), disable_cfg1_optimization=True)
    return clone


class ComfySampler:
    """ComfyUI's SAMPLER: another one, called by a sampling strategy as often as that wants.

    Args:
        inner: the sampler that denoises.
        strategy: how often, and from what.

    """

    def __init__(self, inner: Any, strategy: SamplingStrategy) -> None:
        self.inner = inner
        self.strategy = strategy

    def __getattr__(self, name: str) -> Any:
        """Return what the sampler that denoises has under that name."""
        # While it is copied there is no inner sampler yet, and how that one is copied is not how this one is.
        if name == "inner" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """Return the latents, (F, C, Y, X), as the model sees them.

        Raises:
            ConfigError: it is to begin with something else than noise.

        """
        if denoise_mask is not None or (latent_image is not None and bool(latent_image.any())):
            raise ConfigError(
                f"sampling {self.strategy.name!r} begins with noise; give it empty latents, without a mask"
            )

        def once(noise_FCYX: Tensor) -> Tensor:
            made_FCYX: Tensor = self.inner.sample(
                model_wrap, sigmas, dict(extra_args), callback, noise_FCYX, latent_image, denoise_mask, disable_pbar
            )
            return made_FCYX

        generator = torch.Generator().manual_seed(extra_args.get("seed") or 0)
        torch.randn(noise.shape, generator=generator)  # what ComfyUI has drawn from this seed already
        with blaming(load_plugins):
            times: Any = Times(self.strategy, once, generator)
            made_BFCYX = self.strategy.sample(times, noise[None])
            return check_tensor(self.strategy, "latents", made_BFCYX, noise[None].shape, noise)[0]


class Times:
    """What a sampling strategy works with in ComfyUI, in the place of :class:`longtake.core.sampler.Sampler`.

    Args:
        strategy: to be named where it asks for more than there is.
        once: denoises noise of unit variance, (F, C, Y, X).
        generator: of fresh noise.

    """

    def __init__(self, strategy: SamplingStrategy, once: Any, generator: torch.Generator) -> None:
        self._strategy = strategy
        self._once = once
        self._generator = generator

    def __call__(self, noise_BFCYX: Tensor, **parts: Any) -> Tensor:
        """Return the latents that are made of noise of unit variance, (B, F, C, Y, X)."""
        if parts:
            self._refuse()
        return torch.stack([self._once(noise_FCYX) for noise_FCYX in noise_BFCYX])

    def fresh(self, like_BFCYX: Tensor) -> Tensor:
        """Return fresh noise of unit variance; on the CPU drawn, so that it is the same on every device."""
        return torch.randn(like_BFCYX.shape, generator=self._generator, dtype=torch.float32).to(like_BFCYX)

    def __getattr__(self, name: str) -> Any:
        """Refuse whatever needs longtake's own loop: the run, plans of chunks.

        Raises:
            LongtakeError: always.

        """
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise LongtakeError(
            f"sampling {self._strategy.name!r} makes a video in parts, which needs longtake's own loop; in ComfyUI "
            "take 'freeinit' or 'joint', or run: longtake generate"
        )
