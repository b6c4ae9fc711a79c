"""longtake in a pipeline of diffusers: ``with longtake.apply(pipe, positional="yarn"): pipe(image, num_frames=100)``.

Three methods of the pipeline are wrapped. ``prepare_latents`` is where it says how long the video is, and draws noise.
``progress_bar`` is what it enters before its first step and leaves after the last one, also when a step fails: for that
time the engine stands in for the UNet's forward. Between the loops of two calls the UNet is as diffusers knows it, so
that offloading, adapters and weights may come and go, and each call merges the weights as they are then.
``decode_latents`` is given one video at a time.

A call also changes the pipeline's scheduler and attributes, from its first line on, so a whole call holds the model.
Python looks up ``__call__`` in the class alone; so the pipeline has a class of its own while longtake is applied.
"""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .blame import blaming
from .calls import decode_each, one_call_at_a_time
from .config import Config, load_config
from .defaults import resolve
from .errors import ConfigError, LongtakeError, ModelError, check_kind, did_you_mean
from .manager import Plugins, load_plugins
from .model import Model, facts_of
from .parts import held_parts
from .pipeline import PipelineCall, levels, noise_of_call

if TYPE_CHECKING:
    from diffusers import StableVideoDiffusionPipeline

    from .contracts import AttentionStrategy, GuidanceSchedule, MotionSchedule, NoiseSchedule, PositionalStrategy

    Asked = str | dict[str, Any] | None

NEEDED = ("prepare_latents", "progress_bar")
WRAPPED = (*NEEDED, "decode_latents")
OFFERED = ("positional", "attention", "noise", "guidance", "motion", "memory", "compile", "plugins")
# What acts in the UNet; without any of it a video that is not too long needs nothing but the pipeline itself.
INSIDE = ("positional", "attention", "guidance", "motion", "memory")
ITS_LOOP = (
    "it goes beyond the loop of the pipeline; longtake.generate(model=longtake.Model.of(pipe), ...) has a loop for it"
)
ITS_LOADING = "the pipeline is loaded already"
REFUSED = {
    "sigmas": "noise levels are the scheduler's: pass sigmas=[...] in the call, or change pipe.scheduler",
    "frames": "pass num_frames=... in the call",
    "trained": "pipe.unet.config.num_frames says it",
    "steps": "pass num_inference_steps=... in the call",
    "seed": "pass generator=torch.Generator().manual_seed(...) in the call",
    "motion_bucket": "pass motion_bucket_id=... in the call",
    "noise_aug": "pass noise_aug_strength=... in the call",
    "decode_chunk": "pass decode_chunk_size=... in the call",
    "decode_overlap": "the pipeline decodes by itself, in chunks that know nothing of each other (decode_chunk_size)",
    "speed": "name its parts: guidance={'name': 'linear', 'stop': 0.5}, and sigmas=[...] in the call",
    **dict.fromkeys(("image", "width", "height", "fps"), "pass it in the call"),
    **dict.fromkeys(("model", "variant", "dtype", "weights", "device"), ITS_LOADING),
    **dict.fromkeys(
        ("output_fps", "enlarge", "preview", "fit"), "files and pictures are left to who calls the pipeline"
    ),
    **dict.fromkeys(("context", "sampling", "reuse", "loop", "continues", "end_image", "end_frames"), ITS_LOOP),
}


def apply(
    pipe: StableVideoDiffusionPipeline,
    *,
    positional: PositionalStrategy | Asked = None,
    attention: AttentionStrategy | Asked = None,
    noise: NoiseSchedule | Asked = None,
    guidance: GuidanceSchedule | Asked = None,
    motion: MotionSchedule | Asked = None,
    memory: int | str | None = None,
    compile: bool = False,
    plugins: Plugins | None = None,
    **others: Any,
) -> Applied:
    """Let a pipeline of diffusers make long videos: from now on, or for the time of a ``with`` block.

    What is not said follows from the length that a call asks for. Up to the frames that the model was trained on the
    pipeline then runs as it is, bit for bit; beyond them positions are linear, and motion is compensated. Noise and
    guidance are the pipeline's own unless they are said.

    Several threads may call the pipeline: each call waits for the one before it. What is applied or removed while one
    goes on in another thread waits for its end, and counts for the calls after it.

    Args:
        pipe: that is changed, until :func:`remove` or the end of the block.
        positional: by name, as a mapping with a name and options, or as an object; the others likewise.
        attention: which frames see which.
        noise: what a call starts from that passes no ``latents``.
        guidance: in the place of the call's ``min_guidance_scale`` and ``max_guidance_scale``.
        motion: motion bucket and frame rate of each frame, from those that the call asks for.
        memory: of the device that a call may take while it denoises, such as ``"8GiB"``; by default what is free.
        compile: whether pieces of the UNet are compiled; they are where the UNet is.
        plugins: from :func:`longtake.load_plugins`; by default all that are installed.
        others: nothing; what longtake knows elsewhere is refused with the reason.

    Returns:
        what undoes it when its block is left; entering it gives the pipeline.

    Raises:
        LongtakeError: the pipeline is no SVD, or has longtake applied already; an option that does not exist or fit.

    """
    from diffusers import StableVideoDiffusionPipeline

    if not isinstance(pipe, StableVideoDiffusionPipeline):
        raise ModelError(f"longtake.apply takes a StableVideoDiffusionPipeline, got {type(pipe).__name__}")
    check_kind("plugins", plugins, Plugins, "what longtake.load_plugins gives")
    _refuse_second(pipe)
    _refuse(others)
    facts_of(pipe)  # what is no SVD is refused now
    plugins = plugins or load_plugins()
    asked = {
        "positional": positional,
        "attention": attention,
        "noise": noise,
        "guidance": guidance,
        "motion": motion,
        "memory": memory,
        "compile": compile,
    }
    said = {key: value for key, value in asked.items() if value is not None}
    config = load_config(said, plugins.registry)
    with held_parts(pipe):
        _refuse_second(pipe)  # another thread may have been faster
        return Applied(pipe, config, plugins)


def remove(pipe: StableVideoDiffusionPipeline) -> None:
    """Undo :func:`apply`: the pipeline is as it was before.

    Raises:
        LongtakeError: nothing is applied to it.

    """
    with held_parts(pipe):
        applied = _applied_to(pipe)
        if applied is None:
            raise LongtakeError("longtake is not applied to this pipeline, so there is nothing to remove")
        applied.remove()


class Applied(AbstractContextManager["StableVideoDiffusionPipeline"]):
    """What is applied to a pipeline, until its block is left or :func:`remove` is called."""

    def __init__(self, pipe: StableVideoDiffusionPipeline, config: Config, plugins: Plugins) -> None:
        self._pipe = pipe
        self._config = config
        self._plugins = plugins
        self._call: PipelineCall | None = None
        # Bound methods of this object, so that a copy of the pipeline has a copy of it, and nothing is kept elsewhere.
        self._own = {name: vars(pipe)[name] for name in WRAPPED if name in vars(pipe)}
        self._stock = {name: getattr(pipe, name) for name in WRAPPED}
        for name in WRAPPED:
            setattr(pipe, name, getattr(self, name))
        self._class = type(pipe)
        pipe.__class__ = one_call_at_a_time(self._class)

    def __enter__(self) -> StableVideoDiffusionPipeline:
        """Give the pipeline.

        Raises:
            LongtakeError: it has been removed already.

        """
        if _applied_to(self._pipe) is not self:
            raise LongtakeError("this has been removed from the pipeline; call longtake.apply again")
        return self._pipe

    def __exit__(self, *_: object) -> None:
        """Undo it, unless that has been done."""
        with held_parts(self._pipe):
            if _applied_to(self._pipe) is self:
                self.remove()

    def __repr__(self) -> str:
        """Say what is applied, for whoever sees it at the end of a notebook's cell."""
        said = {kind: strategy for kind in OFFERED if (strategy := getattr(self._config, kind, None))}
        shown = ", ".join(f"{kind} {getattr(value, 'name', value)}" for kind, value in said.items()) or "defaults"
        return f"<longtake applied: {shown}; longtake.remove(pipe) undoes it>"

    def remove(self) -> None:
        """Give the pipeline its own methods and class back."""
        self._check_in_place()
        for name in WRAPPED:
            if not _is_ours(self._pipe, name, self):
                continue  # replaced since, which only what is needed must not be
            if name in self._own:
                setattr(self._pipe, name, self._own[name])
            else:
                delattr(self._pipe, name)
        self._pipe.__class__ = self._class

    def prepare_latents(self, *args: Any, **kwargs: Any) -> Tensor:
        """Do what the pipeline does, once it is known how long the video is to be, from noise of the schedule."""
        self._check_in_place()
        stock = self._stock["prepare_latents"]
        bound = inspect.signature(stock).bind(*args, **kwargs)
        bound.apply_defaults()
        if "num_frames" not in bound.arguments:
            raise LongtakeError(
                f"longtake.apply reads the length of the video from prepare_latents, and that of "
                f"{type(self._pipe).__name__} has no argument num_frames; give it those that it has in diffusers"
            )
        with blaming(self._plugins):
            self._call = self._begin(bound.arguments)
            if self._config.noise and bound.arguments["latents"] is None:
                bound.arguments["latents"] = noise_of_call(self._pipe, self._config.noise, bound.arguments)
        latents_BFCYX: Tensor = stock(*bound.args, **bound.kwargs)
        return latents_BFCYX

    def progress_bar(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pipeline's progress bar; within that of a denoising the strategies are installed."""
        self._check_in_place()
        call, self._call = self._call, None
        bar = self._stock["progress_bar"](*args, **kwargs)
        return call.around(bar) if call else bar

    def decode_latents(self, latents: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Let the pipeline decode one video after another."""
        return decode_each(self._pipe, self._stock["decode_latents"], latents, *args, **kwargs)

    def _begin(self, asked: dict[str, Any]) -> PipelineCall | None:
        """Return what a call needs in its loop, given the arguments of ``prepare_latents``; None if nothing."""
        model, config = Model(self._pipe, facts_of(self._pipe)), self._config
        named = config.compile or any(getattr(config, kind) is not None for kind in INSIDE)
        if asked["num_frames"] <= model.facts.trained and not named:
            return None
        told = {
            "frames": asked["num_frames"],
            "width": asked["width"],
            "height": asked["height"],
            "steps": len(levels(self._pipe.scheduler)),
            "motion_bucket": 0.0,  # until the UNet is told
            "seed": 0,  # noise has its own generators
            "device": str(model.device),
            "dtype": str(model.dtype).removeprefix("torch."),
            "weights": model.weights,
        }
        resolved = resolve(config.model_copy(update=told), model.facts, self._plugins.registry)
        guided = config.guidance is not None
        return PipelineCall(self._pipe, resolved, model.facts, self._plugins, guided=guided)

    def _check_in_place(self) -> None:
        """See that both methods needed are ours: a call that came by one alone would do half of what is applied.

        Raises:
            LongtakeError: one of them has been replaced since.

        """
        for name in NEEDED:
            if not _is_ours(self._pipe, name, self):
                raise LongtakeError(
                    f"pipe.{name} has been replaced since longtake.apply, which needs it: put it back, and replace it "
                    "before longtake.apply"
                )


def _refuse_second(pipe: Any) -> None:
    if _applied_to(pipe):
        raise LongtakeError(
            "longtake is applied to this pipeline already; longtake.remove(pipe) first. Other settings at the same "
            "time need another pipeline of the same parts: type(pipe)(**pipe.components)"
        )


def _is_ours(pipe: Any, name: str, applied: Applied) -> bool:
    return getattr(vars(pipe).get(name), "__self__", None) is applied


def _applied_to(pipe: Any) -> Applied | None:
    """Return what is applied to a pipeline: its methods know."""
    for name in NEEDED:
        owner = getattr(getattr(pipe, name, None), "__self__", None)
        if isinstance(owner, Applied):
            return owner
    return None


def _refuse(others: dict[str, Any]) -> None:
    """Refuse what longtake can elsewhere, and what it does not know.

    Raises:
        ConfigError: there is any.

    """
    for name in others:
        if name in REFUSED:
            raise ConfigError(f"longtake.apply takes no {name}: {REFUSED[name]}")
        raise ConfigError(f"longtake.apply takes no {name}; known: {', '.join(OFFERED)}{did_you_mean(name, OFFERED)}")
