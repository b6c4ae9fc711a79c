"""The nodes, and what ComfyUI asks a node pack for: classes and display names by identifier."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from ...core.contracts import Span, Strategy
from ...core.manager import load_plugins
from ...core.registry import Registry
from .defaults import asked, conditioned
from .node import LATENT, MODEL, TRAINED, Node, options_node, runs_in_comfyui
from .patches import patched
from .preview import PlanPreview
from .sampling import ComfyNoise, ComfySampler, guided

logger = logging.getLogger("longtake")

KINDS = ("positional", "attention", "noise", "guidance", "sampling")  # what has a place in ComfyUI's sampling
FACTOR = {"default": 1.0, "min": 0.0, "max": 100.0, "step": 0.01, "round": False}


class Positional(Node):
    """Where each frame stands on the trained time line."""

    TITLE = "Longtake positions"
    DESCRIPTION = "Places the frames of a long video on the time line that the model was trained on."
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs."""
        required = {"model": MODEL, **cls.choice("positional", "linear"), "trained_frames": TRAINED}
        return {"required": required, "optional": cls.options("positional")}

    def make(self, model: Any, positional: str, trained_frames: int, options: Strategy | None = None) -> tuple[Any]:
        """Return the patched clone."""
        return (patched(model, trained_frames, positional=self.chosen("positional", positional, options)),)


class Attention(Node):
    """Which frames see which in temporal self-attention."""

    TITLE = "Longtake temporal attention"
    DESCRIPTION = (
        "Decides which frames see which in temporal self-attention, and scales what they see. A factor of 1 is none."
    )
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs; the factors are the modifiers that every attention strategy has."""
        fields = cls.registry.classes["attention"]["full"].model_fields
        factors = {
            name: ("FLOAT", FACTOR | {"tooltip": f"{fields[name].description} 1 leaves what connected options say."})
            for name in ("key_scale", "query_scale", "value_scale", "temperature")
        }
        required = {"model": MODEL, **cls.choice("attention", "full"), **factors, "trained_frames": TRAINED}
        return {"required": required, "optional": cls.options("attention")}

    def make(
        self, model: Any, attention: str, trained_frames: int, options: Strategy | None = None, **factors: float
    ) -> tuple[Any]:
        """Return the patched clone."""
        strategy = self.chosen("attention", attention, options)
        changed = {name: factor for name, factor in factors.items() if factor != 1}
        if changed:
            strategy = self.registry.build("attention", strategy.dump() | changed)
        return (patched(model, trained_frames, attention=strategy),)


class Noise(Node):
    """What the video starts from."""

    TITLE = "Longtake noise"
    DESCRIPTION = "Noise for SamplerCustomAdvanced, such as that of the first window shuffled along the video; seeded."
    RETURN_TYPES = ("NOISE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs."""
        seed = {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}
        required = {"noise_seed": ("INT", seed), **cls.choice("noise", "freenoise"), "trained_frames": TRAINED}
        return {"required": required, "optional": cls.options("noise")}

    def make(
        self, noise_seed: int, noise: str, trained_frames: int, options: Strategy | None = None
    ) -> tuple[ComfyNoise]:
        """Return the noise."""
        return (ComfyNoise(noise_seed, self.chosen("noise", noise, options), trained_frames),)


class Guidance(Node):
    """How strongly each frame is guided."""

    TITLE = "Longtake guidance over frames"
    DESCRIPTION = "Guides each frame by a scale of its own, which takes the place of the sampler's cfg."
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs."""
        required = {"model": MODEL, **cls.choice("guidance", "linear"), "trained_frames": TRAINED}
        return {"required": required, "optional": cls.options("guidance")}

    def make(self, model: Any, guidance: str, trained_frames: int, options: Strategy | None = None) -> tuple[Any]:
        """Return the clone."""
        return (guided(model, self.chosen("guidance", guidance, options), trained_frames),)


class Sampling(Node):
    """Whether the video is denoised once or again and again."""

    TITLE = "Longtake sampling (FreeInit)"
    DESCRIPTION = "Lets a sampler denoise again, from noise that has the low frequencies of the last result."
    RETURN_TYPES = ("SAMPLER",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs."""
        return {
            "required": {"sampler": ("SAMPLER", {}), **cls.choice("sampling", "freeinit")},
            "optional": cls.options("sampling"),
        }

    def make(self, sampler: Any, sampling: str, options: Strategy | None = None) -> tuple[ComfySampler]:
        """Return the sampler that calls the given one."""
        return (ComfySampler(sampler, self.chosen("sampling", sampling, options)),)


class Loop(Node):
    """A video that ends where it begins."""

    TITLE = "Longtake loop"
    DESCRIPTION = (
        "Closes positions, attention and guidance into a ring, so that the video can be shown again and again."
    )
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs."""
        required = {"model": MODEL, "latent": LATENT, "trained_frames": TRAINED}
        return {"required": required, "optional": cls.options("positional", "attention", "guidance")}

    def make(self, model: Any, latent: dict[str, Any], trained_frames: int, **options: Strategy) -> tuple[Any]:
        """Return the patched clone.

        Raises:
            ConfigError: there are no more frames than the model was trained on.

        """
        config = asked(self.registry, len(latent["samples"]), trained_frames, loop=True, **options)
        assert config.guidance, "the config is not resolved"
        closed = patched(model, trained_frames, config.positional, config.attention)
        return (guided(closed, config.guidance, trained_frames),)


class MakeItLong(Node):
    """All that longtake does by default, in one node."""

    TITLE = "Longtake: make it long"
    DESCRIPTION = (
        "Chooses what longtake chooses for the number of frames: positions, motion to make up for them, guidance over "
        "the frames. With no more frames than the model was trained on, that is SVD as it is."
    )
    RETURN_TYPES = ("MODEL", "CONDITIONING", "CONDITIONING")
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("model", "positive", "negative")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs."""
        loop = ("BOOLEAN", {"default": False, "tooltip": "Let the video end where it begins."})
        conditioning = ("CONDITIONING", {"tooltip": "Of SVD_img2vid_Conditioning; its motion bucket may be raised."})
        return {
            "required": {
                "model": MODEL,
                "positive": conditioning,
                "negative": conditioning,
                "latent": LATENT,
                "trained_frames": TRAINED,
                "loop": loop,
            }
        }

    def make(
        self, model: Any, positive: Any, negative: Any, latent: dict[str, Any], trained_frames: int, loop: bool
    ) -> tuple[Any, Any, Any]:
        """Return the patched clone, and conditioning with the motion that the length asks for."""
        frames = len(latent["samples"])
        config = asked(self.registry, frames, trained_frames, positive, loop=loop)
        assert config.guidance and config.motion, "the config is not resolved"
        long = guided(
            patched(model, trained_frames, config.positional, config.attention), config.guidance, trained_frames
        )
        span = Span(frames=frames, trained=trained_frames)
        return long, conditioned(positive, config.motion, span), conditioned(negative, config.motion, span)


NODES: dict[str, type[Node]] = {
    "LongtakeMakeItLong": MakeItLong,
    "LongtakePositional": Positional,
    "LongtakeAttention": Attention,
    "LongtakeNoise": Noise,
    "LongtakeGuidance": Guidance,
    "LongtakeSampling": Sampling,
    "LongtakeLoop": Loop,
    "LongtakePlan": PlanPreview,
}


def mappings(registry: Registry | None = None) -> tuple[dict[str, type], dict[str, str]]:
    """Return ComfyUI's NODE_CLASS_MAPPINGS and NODE_DISPLAY_NAME_MAPPINGS.

    Args:
        registry: of the strategies to offer; by default all of longtake and of the plugins installed beside ComfyUI.

    """
    if registry is None:
        registry = load_plugins().registry
        for plugin, reason in sorted(registry.broken.items()):
            logger.warning("plugin %r did not load (%s)", plugin, reason)
    nodes: dict[str, Any] = {name: type(name, (cls,), {"registry": registry}) for name, cls in NODES.items()}
    for kind in KINDS:
        for name, strategy in sorted(registry.classes[kind].items()):
            if runs_in_comfyui(strategy):
                nodes[f"Longtake_{kind}_{name}"] = options_node(registry, strategy)
    return nodes, {name: cls.TITLE for name, cls in nodes.items()}
