"""The plan as a picture: what longtake's nodes, and the sampler's own choices, will do to a video."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...core.cli.plan_picture import draw
from ...core.errors import LongtakeError
from ...core.plan import make_plan, noise_sources, progress_of
from .defaults import asked, facts_for
from .node import LATENT, Node
from .patches import seams_of
from .sampling import ComfyNoise, FramewiseGuidance

if TYPE_CHECKING:
    from ...core.config import Config
    from ...core.plan import Plan


class PlanPreview(Node):
    """What will be done to a video, as a picture; nothing is computed with the model."""

    TITLE = "Longtake plan"
    DESCRIPTION = "Draws what longtake's nodes will do: positions, frequencies, attention, noise, guidance."
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs."""
        steps = {"default": 25, "min": 1, "max": 1000, "tooltip": "Steps of the sampler, unless sigmas are connected."}
        step = {"default": 1, "min": 1, "max": 1000, "tooltip": "Step of which positions and attention are drawn."}
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "As it goes to the sampler."}),
                "latent": LATENT,
                "steps": ("INT", steps),
                "shown_step": ("INT", step),
            },
            "optional": {
                "noise": ("NOISE", {"tooltip": "Of a Longtake noise node; by default every frame has its own."}),
                "sigmas": ("SIGMAS", {"tooltip": "Noise levels of the sampler; by default those of SVD's scheduler."}),
                "positive": ("CONDITIONING", {"tooltip": "Which knows motion bucket and fps."}),
            },
        }

    def make(
        self,
        model: Any,
        latent: dict[str, Any],
        steps: int,
        shown_step: int,
        noise: Any = None,
        sigmas: Tensor | None = None,
        positive: Any = None,
    ) -> tuple[Tensor]:
        """Return the picture as ComfyUI's IMAGE, (1, H, W, 3) in 0 … 1."""
        steps = steps if sigmas is None else len(sigmas) - 1
        shown = min(shown_step, steps) - 1
        seams, guidance = seams_of(model), _guidance_of(model)
        positional, attention = seams.acting_at(progress_of(shown, steps)) if seams else (None, None)
        ours = noise if isinstance(noise, ComfyNoise) else None
        trained = next((each.trained for each in (seams, guidance, ours) if each is not None), 25)
        build = self.registry.build
        config = asked(
            self.registry,
            len(latent["samples"]),
            trained,
            positive,
            steps=steps,
            positional=positional or build("positional", "none"),
            attention=attention or build("attention", "full"),
            noise=ours.schedule if ours else build("noise", "independent"),
            guidance=guidance.schedule if guidance else build("guidance", {"name": "constant", "scale": 1}),
            motion=build("motion", "constant"),
        )
        plan = make_plan(config, facts_for(trained), shown_step=shown)
        if ours:
            plan = replace(plan, noise_sources_F=noise_sources(ours.schedule, plan.span, ours.seed))
        if sigmas is not None:
            if not bool(sigmas.isfinite().all()):
                raise LongtakeError("the sigmas that are connected are not all finite, so they cannot be drawn")
            plan = replace(plan, sigmas_S1=sigmas.detach().float().cpu())
        return (_picture(plan, config),)


def _guidance_of(model: Any) -> FramewiseGuidance | None:
    """Return the guidance that a model has from longtake: the last one counts."""
    functions = model.model_options.get("sampler_post_cfg_function", [])
    return next((each for each in reversed(functions) if isinstance(each, FramewiseGuidance)), None)


def _picture(plan: Plan, config: Config) -> Tensor:
    from PIL import Image

    with TemporaryDirectory() as folder:
        path = Path(folder) / "plan.png"
        draw(plan, config, path)
        with Image.open(path) as image:
            pixels_HW3 = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels_HW3)[None]
