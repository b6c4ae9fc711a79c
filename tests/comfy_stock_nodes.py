"""Stand-ins for ComfyUI's own nodes that the example workflows use: inputs, widgets, outputs, and what they do."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from comfy_model import ModelPatcher, SVD_img2vid
from comfy_stand_ins import Euler, Guider, karras, prepare_noise


def stock(returns, required, function, optional=None):
    """Return a node class of ComfyUI's form."""
    inputs = {"required": required} | ({"optional": optional} if optional else {})
    return type("Stock", (), {
        "INPUT_TYPES": classmethod(lambda cls: inputs), "RETURN_TYPES": returns, "FUNCTION": "run",
        "run": lambda self, **given: function(**given),
    })  # fmt: skip


def any_of(*names):
    return {name: (name.upper(), {}) for name in names}


def text(*names):
    return {name: ("STRING", {"default": ""}) for name in names}


def number(kind, *names):
    return {name: (kind, {"default": 0}) for name in names}


def stock_nodes(unet, shown, patcher=ModelPatcher):
    """Return ComfyUI's own nodes that the example workflows use; what they would show or save goes into a list."""

    def conditioning(clip_vision, init_image, vae, width, height, video_frames, **told):
        told = {
            "motion_bucket_id": told["motion_bucket_id"],
            "fps": told["fps"],
            "augmentation_level": told["augmentation_level"],
        }
        generator = torch.Generator().manual_seed(3)
        embedding = torch.randn(1, 1, 16, generator=generator)
        image = torch.randn(1, 4, height // 8, width // 8, generator=generator)
        return (
            [[embedding, told | {"concat_latent_image": image}]],
            [[torch.zeros_like(embedding), told | {"concat_latent_image": torch.zeros_like(image)}]],
            {"samples": torch.zeros(video_frames, 4, height // 8, width // 8)},
        )

    def guider(model, cfg, positive, negative):
        made = Guider(model)
        made.set_conds(positive, negative)
        made.set_cfg(cfg)
        return (made,)

    def linear_guidance(model, min_cfg):
        def guide(args):
            scales = torch.linspace(min_cfg, args["cond_scale"], len(args["cond"])).view(-1, 1, 1, 1)
            return args["uncond"] + scales * (args["cond"] - args["uncond"])

        clone = model.clone()
        clone.set_model_sampler_cfg_function(guide)
        return (clone,)

    def sample(noise, guider, sampler, sigmas, latent_image):
        latents = latent_image["samples"]
        made = guider.sample(noise.generate_noise(latent_image), latents, sampler, sigmas, seed=noise.seed)
        return {"samples": made}, {"samples": made}

    def show(images, **_):
        shown.append(images)
        return ()

    def random_noise(noise_seed):
        return (
            SimpleNamespace(
                seed=noise_seed, generate_noise=lambda latent: prepare_noise(latent["samples"], noise_seed)
            ),
        )

    seed = {"noise_seed": ("INT", {"default": 0, "control_after_generate": True})}
    return {
        "ImageOnlyCheckpointLoader": stock(
            ("MODEL", "CLIP_VISION", "VAE"), text("ckpt_name"),
            lambda ckpt_name: (patcher(SVD_img2vid(unet)), "clip vision", "vae"),
        ),
        "LoadImage": stock(
            ("IMAGE", "MASK"), {"image": (["example.png"], {"image_upload": True})}, lambda image: ("image", "mask")
        ),
        "SVD_img2vid_Conditioning": stock(
            ("CONDITIONING", "CONDITIONING", "LATENT"),
            any_of("clip_vision") | {"init_image": ("IMAGE",)} | any_of("vae")
            | number("INT", "width", "height", "video_frames", "motion_bucket_id", "fps")
            | number("FLOAT", "augmentation_level"),
            conditioning,
        ),
        "VideoLinearCFGGuidance": stock(("MODEL",), any_of("model") | number("FLOAT", "min_cfg"), linear_guidance),
        "CFGGuider": stock(
            ("GUIDER",),
            any_of("model") | dict.fromkeys(("positive", "negative"), ("CONDITIONING",)) | number("FLOAT", "cfg"),
            guider,
        ),
        "KSamplerSelect": stock(("SAMPLER",), {"sampler_name": (["euler"],)}, lambda sampler_name: (Euler(),)),
        "BasicScheduler": stock(
            ("SIGMAS",),
            any_of("model") | {"scheduler": (["karras"],)} | number("INT", "steps") | number("FLOAT", "denoise"),
            lambda model, scheduler, steps, denoise: (karras(steps),),
        ),
        "RandomNoise": stock(("NOISE",), seed, random_noise),
        "SamplerCustomAdvanced": stock(
            ("LATENT", "LATENT"), any_of("noise", "guider", "sampler", "sigmas") | {"latent_image": ("LATENT",)}, sample
        ),
        "VAEDecode": stock(
            ("IMAGE",), {"samples": ("LATENT",)} | any_of("vae"), lambda samples, vae: (samples["samples"],)
        ),
        "SaveAnimatedWEBP": stock(
            (),
            {"images": ("IMAGE",)} | text("filename_prefix") | number("FLOAT", "fps")
            | {"lossless": ("BOOLEAN", {}), "quality": ("INT", {}), "method": (["default"],)},
            show,
        ),
        "PreviewImage": stock((), {"images": ("IMAGE",)}, show),
    }  # fmt: skip
