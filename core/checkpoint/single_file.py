"""SVD in a single file of the original layout: how it is built, and the configs that no such file states."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from .contents import Checkpoint
from .layout import IMAGE_VAE, UNET, VAE, VISUAL, Place, clip_places, source_of, unet_places, vae_places

if TYPE_CHECKING:
    from pathlib import Path

FRAMES, FRAMES_XT = 14, 25
XT = re.compile(r"(^|[^a-z]|svd|vid)xt(?![a-z])")
UNET_HEAD = 64  # channels of a head, in UNets of every width
CLIP_HEAD = 80
CONDITIONS = 3  # frame rate, motion bucket, augmentation: numbers that the UNet is told
SAMPLE_SIZE = 96  # latents; so says the published config
VAE_SAMPLE_SIZE = 768
SCALING = 0.18215
SCHEDULER: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "interpolation_type": "linear",
    "use_karras_sigmas": True,
    "sigma_min": 0.002,
    "sigma_max": 700.0,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
}


def frames_by_name(path: Path) -> int:
    """Return the frames that a model was trained on, which weights do not tell: 25 where its name has "xt", or 14."""
    return FRAMES_XT if XT.search(path.stem.lower()) else FRAMES


@dataclass(frozen=True, slots=True)
class SingleFile:
    """A checkpoint as the parts of an SVD.

    Attributes:
        checkpoint: the file.
        layers: residual blocks of a level of the UNet.
        attended: whether a level of the UNet has transformers.
        vae_levels: of the VAE.
        vae_layers: residual blocks of a level of the VAE.
        encoder: what the keys of the VAE that encodes the image begin with.
        clip_layers: of the image encoder.
        converted: whether the image encoder has the names of transformers already, as other tools save it.

    """

    checkpoint: Checkpoint
    layers: int
    attended: tuple[bool, ...]
    vae_levels: int
    vae_layers: int
    encoder: str
    clip_layers: int
    converted: bool

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> SingleFile:
        """Return what the keys say of the structure.

        Raises:
            ModelError: it is not that of an SVD.

        """
        blocks = checkpoint.count(rf"{re.escape(UNET)}input_blocks\.(\d+)\.")
        smaller = [n for n in range(blocks) if checkpoint.under(f"{UNET}input_blocks.{n}.0.op.")]
        layers = (smaller[0] if smaller else blocks) - 1
        if layers < 1:
            raise ModelError(f"checkpoint {checkpoint.name!r} is no whole SVD: its UNet has no residual blocks")
        firsts = range(1, blocks, layers + 1)
        encoders = (re.match(rf"{IMAGE_VAE}(?=encoder\.)", key) for key in checkpoint.shapes)
        encoder = next((found[0] for found in encoders if found), VAE)
        down = re.escape(f"{encoder}encoder.down.")
        converted = bool(checkpoint.under(f"{VISUAL}vision_model."))
        clip_layer = "vision_model.encoder.layers." if converted else "transformer.resblocks."
        return cls(
            checkpoint,
            layers,
            tuple(bool(checkpoint.under(f"{UNET}input_blocks.{first}.1.")) for first in firsts),
            vae_levels=checkpoint.count(rf"{down}(\d+)\."),
            vae_layers=checkpoint.count(rf"{down}0\.block\.(\d+)\."),
            encoder=encoder,
            clip_layers=checkpoint.count(rf"{re.escape(VISUAL + clip_layer)}(\d+)\."),
            converted=converted,
        )

    @property
    def parameters(self) -> tuple[int, int]:
        """How many numbers the weights of UNet and VAE are."""
        unet, vae = (
            sum(math.prod(self.checkpoint.shapes[key]) for key in self.checkpoint.under(part)) for part in (UNET, VAE)
        )
        return unet, vae

    @property
    def places(self) -> dict[str, list[Place]]:
        """Where the blocks of each part are."""
        return {
            "unet": list(unet_places(self.layers, self.attended)),
            "vae": list(vae_places(self.vae_levels, self.vae_layers, self.encoder)),
            "image_encoder": list(clip_places(self.clip_layers, converted=self.converted)),
        }

    def configs(self, trained: int) -> dict[str, dict[str, Any]]:
        """Return the configs of the parts: what the shapes tell, and what is the same in every SVD.

        Raises:
            ModelError: the shapes are not those of an SVD.

        """
        return {
            "unet": self._unet_config(trained),
            "vae": self._vae_config(),
            "image_encoder": self._clip_config(),
            "scheduler": SCHEDULER,
        }

    def _unet_config(self, trained: int) -> dict[str, Any]:
        shape, places = self.checkpoint.shape, self.places["unet"]
        levels = range(len(self.attended))
        widths = tuple(
            shape(source_of(f"down_blocks.{level}.resnets.0.spatial_res_block.conv2.weight", places).key)[0]
            for level in levels
        )
        conditions = shape(f"{UNET}label_emb.0.0.weight")[1]
        if conditions % CONDITIONS:
            raise ModelError(
                f"checkpoint {self.checkpoint.name!r} is no SVD, though it is built like one: it is told {conditions}"
                f" numbers beside the image, which is no multiple of the {CONDITIONS} conditions of SVD"
            )
        kinds = [f"{'CrossAttn' if attended else ''}{{}}BlockSpatioTemporal" for attended in self.attended]
        return {
            "sample_size": SAMPLE_SIZE,
            "in_channels": shape(f"{UNET}input_blocks.0.0.weight")[1],
            "out_channels": shape(f"{UNET}out.2.weight")[0],
            "block_out_channels": widths,
            "down_block_types": tuple(kind.format("Down") for kind in kinds),
            "up_block_types": tuple(kind.format("Up") for kind in reversed(kinds)),
            "layers_per_block": self.layers,
            "cross_attention_dim": shape(f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight")[1],
            "addition_time_embed_dim": conditions // CONDITIONS,
            "projection_class_embeddings_input_dim": conditions,
            "num_attention_heads": tuple(self._heads(width, UNET_HEAD, "UNet") for width in widths),
            "num_frames": trained,
        }

    def _vae_config(self) -> dict[str, Any]:
        shape = self.checkpoint.shape
        down = f"{self.encoder}encoder.down"
        widths = tuple(shape(f"{down}.{level}.block.0.conv2.weight")[0] for level in range(self.vae_levels))
        return {
            "block_out_channels": widths,
            "down_block_types": ("DownEncoderBlock2D",) * self.vae_levels,
            "layers_per_block": self.vae_layers,
            "latent_channels": shape(f"{VAE}decoder.conv_in.weight")[1],
            "sample_size": VAE_SAMPLE_SIZE,
            "scaling_factor": SCALING,
            "force_upcast": True,
        }

    def _clip_config(self) -> dict[str, Any]:
        places = self.places["image_encoder"]

        def shape(key: str) -> tuple[int, ...]:
            return self.checkpoint.shape(source_of(key, places).key)

        patches = shape("vision_model.embeddings.patch_embedding.weight")
        width, patch = patches[0], patches[-1]
        positions = shape("vision_model.embeddings.position_embedding.weight")[0]
        return {
            "hidden_size": width,
            "intermediate_size": shape("vision_model.encoder.layers.0.mlp.fc1.weight")[0],
            "num_hidden_layers": self.clip_layers,
            "num_attention_heads": self._heads(width, CLIP_HEAD, "image encoder"),
            "projection_dim": shape("visual_projection.weight")[0 if self.converted else 1],
            "patch_size": patch,
            "image_size": patch * math.isqrt(positions - 1),
            "hidden_act": "gelu",
        }

    def _heads(self, width: int, head: int, part: str) -> int:
        if width % head:
            raise ModelError(
                f"checkpoint {self.checkpoint.name!r} is no SVD: its {part} is {width} channels wide, and every head of"
                f" SVD's has {head}"
            )
        return width // head
