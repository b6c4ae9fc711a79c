"""What the parts of a pipeline have to be: refused is whatever of theirs would be passed over in silence.

longtake has a loop of its own, and runs the blocks of UNet and decoder by itself. So a scheduler that takes other
steps, or a class that computes something else, would count for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from .engine.wrapped import has_another_forward
from .errors import ModelError
from .forward import Forward
from .holding import holding

PARTS = ("unet", "vae", "image_encoder")  # in the order in which they are held
EULER = "EulerDiscreteScheduler"
STEPPING = ("step", "set_timesteps", "scale_model_input")
# Setting of the scheduler → what longtake's loop does, and what diffusers takes where it is not stated.
FOLLOWED = {
    "prediction_type": ("v_prediction", "epsilon"),
    "timestep_type": ("continuous", "discrete"),
    "use_karras_sigmas": (True, False),
    "final_sigmas_type": ("zero", "zero"),
}


def held_parts(pipeline: Any) -> AbstractContextManager[None]:
    """Keep other threads from the parts of a pipeline for the time of a block."""
    parts = (getattr(pipeline, part, None) for part in PARTS)
    return holding(*(part for part in parts if part is not None))


def check_scheduler_class(scheduler: Any, name: str) -> None:
    """See that a scheduler takes the steps that longtake's loop takes.

    Raises:
        ModelError: it is no Euler scheduler, has methods of its own, or settings that would be passed over.

    """
    from diffusers import EulerDiscreteScheduler

    cls = type(scheduler)
    config = dict(scheduler.config) | {"_class_name": cls.__name__}
    if isinstance(scheduler, EulerDiscreteScheduler):
        own = [method for method in STEPPING if getattr(cls, method) is not getattr(EulerDiscreteScheduler, method)]
        own += [method for method in STEPPING if method in vars(scheduler)]
        if own:
            raise ModelError(_ignored(name, f"{cls.__name__} with its own {own[0]}"))
        config["_class_name"] = EULER
    check_scheduler(config, name)


def check_scheduler(config: Mapping[str, Any], name: str) -> None:
    """See that a scheduler's config asks for the steps that longtake's loop takes.

    Raises:
        ModelError: it is of another class, or has settings that would be passed over.

    """
    cls = config.get("_class_name", EULER)
    if cls != EULER:
        raise ModelError(_ignored(name, cls))
    for setting, (followed, usual) in FOLLOWED.items():
        if config.get(setting, usual) != followed:
            raise ModelError(_ignored(name, f"{EULER} with {setting}={config.get(setting, usual)!r}"))


def _ignored(name: str, scheduler: str) -> str:
    settings = ", ".join(f"{setting}={followed!r}" for setting, (followed, _) in FOLLOWED.items())
    return (
        f"model {name!r}: longtake.generate uses its own Euler loop and would ignore this scheduler ({scheduler}). "
        f"Set an {EULER} with {settings}, or use longtake.apply, which runs the pipeline's scheduler"
    )


def check_unet(unet: Any) -> None:
    """See that a UNet is SVD's, and computes what that of diffusers does.

    Raises:
        ModelError: it is of another class, or of one with a forward of its own; its forward has been replaced.

    """
    from diffusers import UNetSpatioTemporalConditionModel

    plain = getattr(unet, "_orig_mod", unet)  # within what torch.compile gives
    if not isinstance(plain, UNetSpatioTemporalConditionModel):
        raise ModelError(
            f"strategies go into an UNetSpatioTemporalConditionModel of diffusers, got {type(unet).__name__}; of a "
            "pipeline it is pipe.unet"
        )
    if type(plain).forward is not UNetSpatioTemporalConditionModel.forward:
        raise ModelError(
            f"the UNet's class {type(plain).__name__} has a forward of its own, which longtake would pass over: it "
            "runs the blocks of UNetSpatioTemporalConditionModel by itself; use a UNet of that class"
        )
    with holding(unet):  # what longtake itself puts there for another thread is gone when it is our turn
        for module in (plain, unet):
            if not isinstance(vars(module).get("forward"), Forward) and has_another_forward(module):
                raise ModelError(
                    "the UNet's forward has been replaced, and longtake would pass that over: put it back, or replace "
                    "it within the block of longtake.installed"
                )


def check_vae(vae: Any) -> None:
    """See that a VAE is SVD's, and decodes as that of diffusers does.

    Raises:
        ModelError: it is of another class, or decodes in a way of its own.

    """
    from diffusers import AutoencoderKLTemporalDecoder
    from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import TemporalDecoder

    plain = getattr(vae, "_orig_mod", vae)
    if not isinstance(plain, AutoencoderKLTemporalDecoder):
        raise ModelError(
            f"longtake decodes with an AutoencoderKLTemporalDecoder of diffusers, got {type(vae).__name__}"
        )
    decoder = getattr(plain.decoder, "_orig_mod", plain.decoder)
    decode = vars(plain).get("decode", plain.decode)
    decode = getattr(decode, "_torchdynamo_orig_callable", decode)  # compiled it computes the same
    stock = getattr(decode, "__func__", None) is AutoencoderKLTemporalDecoder.decode
    own_decoder = type(decoder).forward is not TemporalDecoder.forward or has_another_forward(decoder)
    if not stock or own_decoder:
        what = f"decoder {type(decoder).__name__}" if own_decoder else f"class {type(plain).__name__}"
        raise ModelError(
            f"the VAE's {what} decodes in a way of its own, which longtake would pass over: it runs the blocks of "
            "TemporalDecoder by itself; use the VAE of SVD. longtake.apply leaves decoding to the pipeline"
        )
