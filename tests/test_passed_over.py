"""What longtake's loop and engine would pass over in silence: refused, by Model.of, apply and installed."""

from __future__ import annotations

import copy
import functools
import json
import shutil

import accelerate.hooks
import diffusers
import pytest
import torch
from applied import TOLERANCE
from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler, UNetSpatioTemporalConditionModel

from longtake import Model, apply, decode, generate, installed, load_model, read_facts
from longtake.core.engine.decoder import DecoderEngine
from longtake.core.engine.split import Split
from longtake.core.errors import LongtakeError, ModelError
from longtake.core.parts import FOLLOWED
from longtake.core.tiny import svd_scheduler

SMALL = {"frames": 6, "steps": 2, "seed": 1, "height": 24, "width": 32}


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler"])
def test_other_schedulers_are_refused_with_the_reason(pipe, name):
    pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config)
    said = rf"would ignore this scheduler \({name}\)\. Set an EulerDiscreteScheduler with .*, or use longtake\.apply"
    with pytest.raises(ModelError, match=said):
        Model.of(pipe)


@pytest.mark.parametrize(
    "changes",
    [
        {"prediction_type": "epsilon"},
        {"timestep_type": "discrete"},
        {"use_karras_sigmas": False},
        {"use_karras_sigmas": False, "use_exponential_sigmas": True},
        {"final_sigmas_type": "sigma_min"},
    ],
)
def test_settings_of_the_scheduler_that_the_loop_does_not_follow_are_refused(pipe, changes):
    pipe.scheduler = svd_scheduler(**changes)
    setting, value = next((key, value) for key, value in changes.items() if key in FOLLOWED)
    with pytest.raises(ModelError, match=rf"this scheduler \(EulerDiscreteScheduler with {setting}={value!r}\)"):
        Model.of(pipe)
    with apply(pipe):
        pass  # where the scheduler is that of the pipeline's own loop


class Restyled(EulerDiscreteScheduler):
    pass


class Own(Restyled):
    def step(self, *given, **more):
        return super().step(*given, **more)


def test_schedulers_of_ones_own_are_refused_where_they_step_otherwise(pipe):
    config = pipe.scheduler.config
    pipe.scheduler = Restyled.from_config(config)
    Model.of(pipe)
    pipe.scheduler.set_timesteps = functools.partial(pipe.scheduler.set_timesteps)
    with pytest.raises(ModelError, match=r"this scheduler \(Restyled with its own set_timesteps\)"):
        Model.of(pipe)
    pipe.scheduler = Own.from_config(config)
    with pytest.raises(ModelError, match=r"this scheduler \(Own with its own step\)"):
        Model.of(pipe)


def test_a_folder_with_another_scheduler_is_refused_before_its_weights_are_read(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"_class_name": "LCMScheduler"}), encoding="utf-8")
    for tried in (read_facts, load_model):
        with pytest.raises(ModelError, match=r"would ignore this scheduler \(LCMScheduler\)"):
            tried(str(folder))


class Controlled(UNetSpatioTemporalConditionModel):
    def forward(self, *given, **more):
        return super().forward(*given, **more)


class Renamed(UNetSpatioTemporalConditionModel):
    pass


def all_refuse(pipe, said):
    """See that the three ways in refuse a UNet, and leave nothing behind."""
    with pytest.raises(ModelError, match=said):
        Model.of(pipe)
    with pytest.raises(ModelError, match=said):
        apply(pipe)
    with pytest.raises(ModelError, match=said), installed(pipe.unet):
        pass
    assert "prepare_latents" not in vars(pipe)


def test_a_unet_whose_class_has_its_own_forward_is_refused_by_name(pipe, call_pipe, image, long):
    pipe.unet.__class__ = Controlled
    all_refuse(pipe, "the UNet's class Controlled has a forward of its own, which longtake would pass over")
    pipe.unet.__class__ = Renamed
    with apply(pipe):
        torch.testing.assert_close(call_pipe(pipe, image), long, **TOLERANCE)
        pipe.unet.__class__ = Controlled  # by the time of a call it may be another one
        with pytest.raises(ModelError, match="class Controlled has a forward"):
            call_pipe(pipe, image)


def hooked(unet):
    accelerate.hooks.add_hook_to_module(unet, accelerate.hooks.ModelHook())


def offloaded(unet):
    cpu = torch.device("cpu")
    unet.enable_group_offload(onload_device=cpu, offload_device=cpu, offload_type="leaf_level")
    hooks = diffusers.hooks.HookRegistry.check_if_exists_or_initialize(unet)
    hooks.register_hook(diffusers.hooks.ModelHook(), "layer_execution_tracker")


@pytest.mark.parametrize("bring", [None, hooked, offloaded])
def test_a_forward_that_was_replaced_is_refused_also_beneath_what_brings_weights(pipe, image, long, bring):
    if bring:
        brought = copy.deepcopy(pipe)
        bring(brought.unet)
        assert "forward" in vars(brought.unet)
        latents = generate(image, model=Model.of(brought), **SMALL).latents
        torch.testing.assert_close(latents[None], long, **TOLERANCE)
    stock = pipe.unet.forward

    @functools.wraps(stock)
    def another(*given, **more):
        return stock(*given, **more)

    pipe.unet.forward = another
    if bring:
        bring(pipe.unet)
    all_refuse(pipe, "the UNet's forward has been replaced, and longtake would pass that over")


def test_within_a_block_of_its_own_a_pipeline_is_a_model(pipe, image, long):
    with installed(pipe.unet):
        latents = generate(image, model=Model.of(pipe), **SMALL).latents
    torch.testing.assert_close(latents[None], long, **TOLERANCE)


class Tiled(AutoencoderKLTemporalDecoder):
    def decode(self, *given, **more):
        return super().decode(*given, **more)


def test_a_vae_that_decodes_in_its_own_way_is_refused(pipe, call_pipe, image, long):
    stock = pipe.vae
    pipe.vae = diffusers.AutoencoderTiny()
    with pytest.raises(ModelError, match="AutoencoderKLTemporalDecoder of diffusers, got AutoencoderTiny|no complete"):
        Model.of(pipe)
    pipe.vae = stock
    stock.__class__ = Tiled
    with pytest.raises(ModelError, match="the VAE's class Tiled decodes in a way of its own, .*longtake.apply leaves"):
        Model.of(pipe)
    with apply(pipe):
        torch.testing.assert_close(call_pipe(pipe, image), long, **TOLERANCE)
    stock.__class__ = AutoencoderKLTemporalDecoder
    Model.of(pipe)
    stock.decoder.forward = lambda *given, **more: None
    with pytest.raises(ModelError, match="the VAE's decoder TemporalDecoder decodes in a way of its own"):
        Model.of(pipe)


def test_a_vae_that_is_compiled_is_none_of_its_own(pipe):
    pipe.vae.decode = torch.compile(pipe.vae.decode)
    Model.of(pipe)
    pipe.vae.decoder = torch.compile(pipe.vae.decoder)
    Model.of(pipe)


def test_hooks_around_blocks_of_the_decoder_are_refused_and_those_of_what_is_called_run(pipe):
    deeper = {"block_out_channels": (32, 64), "down_block_types": ("DownEncoderBlock2D",) * 2, "layers_per_block": 2}
    decoder, ran = AutoencoderKLTemporalDecoder(latent_channels=4, **deeper), []
    decoder.decoder.mid_block.attentions[0].register_forward_hook(lambda *_: ran.append(1))
    DecoderEngine(decoder).run(torch.randn(3, 4, 4, 5), Split())
    assert ran
    model, latents = Model.of(pipe), torch.randn(3, 4, 3, 4)
    pipe.vae.decoder.up_blocks[0].register_forward_hook(lambda *_: None)
    with pytest.raises(LongtakeError, match=r"there are forward hooks around the decoder's up_blocks.0 \(.*pass over"):
        list(decode(model, latents))


def test_what_is_no_pipeline_is_said():
    with pytest.raises(ModelError, match="a StableVideoDiffusionPipeline is needed, and int has no unet"):
        Model.of(3)


def test_a_scheduler_that_is_put_in_after_the_model_was_made_is_refused_too(pipe, image):
    model = Model.of(pipe)
    pipe.scheduler = diffusers.HeunDiscreteScheduler.from_config(pipe.scheduler.config)
    with pytest.raises(ModelError, match=r"would ignore this scheduler \(HeunDiscreteScheduler\)"):
        generate(image, model=model, frames=2, steps=1)
