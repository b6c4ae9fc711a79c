"""One call of a pipeline of diffusers, seen from its UNet: the pipeline's own loop runs, the strategies are asked.

The step is known by the timestep that the UNet is called with, motion bucket and frame rate by what it is told of them.

Shape suffixes: B = videos of a call, F = frames, C = latent channels, Y, X = latent rows, columns, K = channels of the
image embedding, S = steps.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .answers import check_tensor
from .blame import blaming
from .budget.denoising import Frugal, fit_memory
from .contracts import NoiseSchedule, Span
from .denoiser import guide
from .engine.split import Split
from .engine.wrapped import is_compiled, weights_come_and_go
from .errors import ConfigError, LongtakeError
from .motion import warn_if_too_fast
from .plan import make_plan, noise_sources
from .seams import installed

if TYPE_CHECKING:
    from .config import Config
    from .facts import ModelFacts
    from .manager import Plugins

Generators = torch.Generator | Sequence[torch.Generator] | None


def levels(scheduler: Any) -> Tensor:
    """Return the timesteps that a scheduler passes through, (S,) on the CPU; of a second-order one, each once."""
    levels_S: Tensor = torch.unique_consecutive(torch.as_tensor(scheduler.timesteps).float().cpu())
    return levels_S


class PipelineCall:
    """Stands in for the UNet's forward while the loop of a pipeline runs.

    Args:
        pipe: that is called.
        config: resolved, but for frame rate and motion bucket, which the pipeline tells its UNet.
        facts: of the model.
        plugins: that are to blame where a strategy of theirs fails.
        guided: whether the config decides guidance, rather than the pipeline.

    Raises:
        LongtakeError: a strategy gives something that it must not.

    """

    def __init__(self, pipe: Any, config: Config, facts: ModelFacts, plugins: Plugins, *, guided: bool) -> None:
        self.plan = make_plan(config, facts)  # now, so that what is wrong is said before anything is computed
        self._pipe = pipe
        self._plugins = plugins
        self._config = config
        self._facts = facts
        self._guided = guided
        self._levels_S = levels(pipe.scheduler)
        self._told: tuple[float, float] | None = None

    @contextmanager
    def around(self, bar: AbstractContextManager[Any]) -> Iterator[Any]:
        """Install the strategies for the time of the loop, which is that of its progress bar, and give the bar."""
        unet, device = self._pipe.unet, torch.device(self._pipe._execution_device)
        here = next(unet.parameters()).device.type == device.type
        facts = self._facts.without_weights() if weights_come_and_go(unet) else self._facts
        memory = fit_memory(self._config, facts, weights_loaded=here)
        # What is compiled are the engine's own pieces: the graph of the stock UNet is not what runs.
        split = Split(compiled=self._config.compile or is_compiled(unet))
        strategies = self._config.positional, self._config.attention
        with installed(unet, *strategies, trained=self._facts.trained, split=split) as self._seams, bar as shown:
            self._frugal = Frugal(self._seams.engine, memory, device)
            self._forward, unet.forward = unet.forward, self
            yield shown

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        added_time_ids: Tensor,
        return_dict: bool = True,
    ) -> Any:
        """Return the UNet's output, (B, F, C, Y, X); half of the videos are unconditional where the pipeline guides."""
        step = int((self._levels_S - float(torch.as_tensor(timestep).flatten()[0])).abs().argmin())
        with blaming(self._plugins, at=f" at step {step + 1} of {len(self._levels_S)}"):
            self._tell(added_time_ids)
            output_BFCYX = self._run(step, sample, timestep, encoder_hidden_states, added_time_ids)
        if not return_dict:
            return (output_BFCYX,)
        from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionOutput

        return UNetSpatioTemporalConditionOutput(output_BFCYX)

    def _run(
        self, step: int, sample: Tensor, timestep: Tensor | float, tokens_B1K: Tensor, added_time_ids: Tensor
    ) -> Tensor:
        """Return what the pipeline is to see of the UNet at a step."""
        self._seams.progress, self._seams.step = self.plan.progress(step), step
        self._seams.moment = object()  # of this call, whose videos may be run one after another
        ids_F3 = self.plan.time_ids(step, float(added_time_ids[0, 2])).to(added_time_ids)
        predict = partial(self._predict, sample, timestep, tokens_B1K, ids_F3)
        scales_F = self.plan.guidance_SF[step] if self._guided else None
        made_BFCYX: Tensor = self._frugal(lambda: self._decide(predict, len(sample), scales_F), f"step {step + 1}")
        return made_BFCYX

    def _predict(
        self, sample: Tensor, timestep: Tensor | float, tokens_B1K: Tensor, ids_F3: Tensor, videos: slice
    ) -> Tensor:
        """Return what the engine gives for some of the videos of a call."""
        ids_BF3 = ids_F3.expand(len(sample[videos]), -1, -1)
        self._seams.time_ids_BF3 = ids_BF3
        made_BFCYX: Tensor = self._forward(
            sample[videos], timestep, tokens_B1K[videos], ids_BF3[:, 0], return_dict=False
        )[0]
        return made_BFCYX

    def _decide(self, predict: partial[Tensor], videos: int, scales_F: Tensor | None) -> Tensor:
        """Return what the pipeline is to see: both predictions, or twice the one that our guidance makes of them.

        The pipeline guides by scales of its own, worked out within its call: u + scale (c - u). Where u and c are the
        same that is u, to the last bit, whatever its scale. So its attributes need not be touched.
        """
        if scales_F is None:
            return predict(slice(videos))
        if bool((scales_F == 1).all()):
            made_BFCYX = predict(slice(videos // 2, videos))
        else:
            unconditional_BFCYX, conditional_BFCYX = predict(slice(videos)).chunk(2)
            made_BFCYX = guide(unconditional_BFCYX, conditional_BFCYX, scales_F)
        return torch.cat([made_BFCYX, made_BFCYX])

    def _tell(self, ids_B3: Tensor) -> None:
        """Plan with the frame rate and the motion bucket that the pipeline tells its UNet; once, unless they change.

        Raises:
            LongtakeError: videos of one call are told different ones, or guidance is asked for twice.

        """
        if not bool((ids_B3 == ids_B3[:1]).all()):
            raise LongtakeError("longtake.apply needs the same fps, motion bucket and augmentation for all videos")
        rate, bucket, _ = ids_B3[0].tolist()
        if self._told == (rate, bucket):
            return
        if self._guided:
            self._check_guidance()
        self._config = self._config.model_copy(update={"fps": rate + 1, "motion_bucket": bucket})
        self.plan = make_plan(self._config, self._facts)
        warn_if_too_fast(self._config, self._facts)
        self._told = rate, bucket

    def _check_guidance(self) -> None:
        """Refuse scales in the call beside a schedule: one of them would be passed over.

        The usual ones are over 1, so where they are left the pipeline asks for the unconditional branch as well.
        """
        assert self._config.guidance is not None
        calls = (inspect.signature(cls.__call__).parameters for cls in type(self._pipe).__mro__)
        known = next(parameters for parameters in calls if "max_guidance_scale" in parameters)
        first, last = (known[name].default for name in ("min_guidance_scale", "max_guidance_scale"))
        asked_F = self._pipe.guidance_scale[0].flatten()
        if not torch.equal(asked_F, torch.linspace(first, last, len(asked_F)).to(asked_F)):
            raise ConfigError(
                f"guidance {self._config.guidance.name!r} is applied to this pipeline, but the call asks for "
                f"{asked_F[0]:g} to {asked_F[-1]:g} by itself; leave min_guidance_scale and max_guidance_scale out of "
                "the call, or guidance out of longtake.apply"
            )


def noise_of_call(pipe: Any, schedule: NoiseSchedule, asked: dict[str, Any]) -> Tensor | None:
    """Return the noise of a call, given the arguments of ``prepare_latents``.

    None where the pipeline is to draw it, or to say that generators do not fit.
    """
    generator, batch, frames = asked["generator"], asked["batch_size"], asked["num_frames"]
    if isinstance(generator, list) and len(generator) != batch:
        return None
    rows, columns = (asked[side] // pipe.vae_scale_factor for side in ("height", "width"))
    shape_BFCYX = (batch, frames, asked["num_channels_latents"] // 2, rows, columns)
    span = Span(frames=frames, trained=pipe.unet.config.num_frames)
    if _is_stock_noise(schedule, span, generator):
        return None  # drawn in its own precision and on its own device, where the same seed gives other numbers
    return noise_for(schedule, span, shape_BFCYX, generator).to(asked["device"], asked["dtype"])


def _is_stock_noise(schedule: NoiseSchedule, span: Span, generators: Generators) -> bool:
    """Whether a schedule gives each frame fresh noise, drawn in order: what a pipeline does by itself."""
    if type(schedule).noise is not NoiseSchedule.noise:
        return False
    frames_F = torch.arange(span.frames)
    sources = (noise_sources(schedule, span, known.initial_seed()) for known in _known(generators))
    return all(bool((sources_F == frames_F).all()) for sources_F in sources)


def noise_for(schedule: NoiseSchedule, span: Span, shape_BFCYX: Sequence[int], generators: Generators) -> Tensor:
    """Return noise of unit variance, (B, F, C, Y, X) in float32 on the CPU.

    Which frames share noise is drawn with the seed of a generator, as in longtake's own loop, and the noise from its
    state: from one generator for all videos, or from one for each.
    """
    several = _known(generators)
    each = shape_BFCYX[0] // len(several)
    made = []
    for known in several:
        sources_F = noise_sources(schedule, span, known.initial_seed())
        shape = (each, *shape_BFCYX[1:])
        made.append(check_tensor(schedule, "noise", schedule.noise(shape, sources_F, _on_cpu(known)), shape))
    return torch.cat(made)


def _known(generators: Generators) -> list[torch.Generator]:
    several = generators if isinstance(generators, Sequence) else [generators]
    return [generator or torch.default_generator for generator in several]


def _on_cpu(generator: torch.Generator) -> torch.Generator:
    """Return a generator for the CPU, on which schedules draw; one of another device seeds it."""
    if generator.device.type == "cpu":
        return generator
    seed = torch.randint(2**63 - 1, (1,), generator=generator, device=generator.device)
    return torch.Generator().manual_seed(int(seed))
