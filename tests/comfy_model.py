"""Stand-ins for ComfyUI's model: its interfaces, for exactly the calls that longtake's nodes make or answer.

Written from how ComfyUI behaves; docs/comfyui.md lists what they stand for, so that it can be checked on a real
installation. The UNet has the weights of a tiny one of diffusers, and its spatio-temporal transformers are called the
way ComfyUI calls its own; so whatever comes out can be compared with longtake's seams on the same weights.

Shape suffixes: N = batch x frames, F = frames, P = batch x pixels, C = channels, Y, X = rows, columns, B = batch.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

TRAINED, FRAMES = 4, 9  # of the tiny model, and of a long video
ROWS, COLUMNS = 6, 8  # of its latents
SCALING = 0.18215  # between latents as they lie in a workflow and as the UNet sees them


# --- patching ---------------------------------------------------------------------------------------------------------


def get_attr(root, path):
    for part in path.split("."):
        root = getattr(root, part)
    return root


def set_attr(root, path, value):
    """Put a value at a dotted path and return what was there."""
    *way, last = path.split(".")
    parent = get_attr(root, ".".join(way)) if way else root
    before = getattr(parent, last)
    setattr(parent, last, value)
    return before


def nested_copy(value):
    """Copy dictionaries and lists within one another, and nothing else."""
    if isinstance(value, dict):
        return {key: nested_copy(each) for key, each in value.items()}
    return [nested_copy(each) for each in value] if isinstance(value, list) else value


class ModelPatcher:
    """A model with patches that are applied when it is loaded; clones share the model and the backups."""

    copied = staticmethod(nested_copy)  # how a clone gets its own options

    def __init__(self, model):
        self.model = model
        self.object_patches, self.object_patches_backup = {}, {}
        self.patches, self.backup = {}, {}
        self.model_options = {"transformer_options": {}}

    def clone(self):
        new = type(self)(self.model)
        new.object_patches, new.patches = dict(self.object_patches), dict(self.patches)
        new.object_patches_backup, new.backup = self.object_patches_backup, self.backup
        new.model_options = self.copied(self.model_options)
        return new

    def add_object_patch(self, name, value):
        self.object_patches[name] = value

    def get_model_object(self, name):
        """Return what will be at that path: this clone's patch, else the stock object, even while a clone is loaded."""
        if name in self.object_patches:
            return self.object_patches[name]
        if name in self.object_patches_backup:
            return self.object_patches_backup[name]
        return get_attr(self.model, name)

    def add_patches(self, patches):
        """Add to weights by their names, as a LoRA does; return which names the model has."""
        known = [name for name in patches if name in self.model.state_dict()]
        self.patches |= {name: patches[name] for name in known}
        return known

    def patch_model(self):
        for name, value in self.object_patches.items():
            before = set_attr(self.model, name, value)
            self.object_patches_backup.setdefault(name, before)
        for name, change in self.patches.items():
            weight = get_attr(self.model, name)
            self.backup.setdefault(name, weight)
            set_attr(self.model, name, nn.Parameter(weight + change, requires_grad=False))

    def unpatch_model(self):
        for name, weight in self.backup.items():
            set_attr(self.model, name, weight)
        self.backup.clear()
        for name, value in self.object_patches_backup.items():
            set_attr(self.model, name, value)
        self.object_patches_backup.clear()

    def set_model_unet_function_wrapper(self, function):
        self.model_options["model_function_wrapper"] = function

    def set_model_sampler_cfg_function(self, function, disable_cfg1_optimization=False):
        self.model_options["sampler_cfg_function"] = function
        if disable_cfg1_optimization:
            self.model_options["disable_cfg1_optimization"] = True

    def set_model_sampler_post_cfg_function(self, function, disable_cfg1_optimization=False):
        before = self.model_options.get("sampler_post_cfg_function", [])
        self.model_options["sampler_post_cfg_function"] = [*before, function]
        if disable_cfg1_optimization:
            self.model_options["disable_cfg1_optimization"] = True


class DeepPatcher(ModelPatcher):
    """That of ComfyUI 0.3.64, whose clones copy everything that lies in their options."""

    copied = staticmethod(copy.deepcopy)


PATCHERS = [ModelPatcher, DeepPatcher]


def load(patcher):
    """Load a clone for sampling: what another has patched is undone first. It stays until the next one is loaded."""
    patcher.unpatch_model()
    patcher.patch_model()
    return patcher.model


# --- the UNet ---------------------------------------------------------------------------------------------------------


class CrossAttention(nn.Module):
    def __init__(self, of):
        super().__init__()
        self.heads = of.heads
        self.to_q, self.to_k, self.to_v = of.to_q, of.to_k, of.to_v
        self.to_out = nn.Sequential(of.to_out[0], nn.Dropout(0.0))

    def forward(self, x, context=None, value=None, mask=None, transformer_options=None):
        context = x if context is None else context
        projected = (self.to_q(x), self.to_k(context), self.to_v(context if value is None else value))
        q, k, v = (each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in projected)
        return self.to_out(scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """A spatial block, or one of the time stack, which has a feed-forward before it."""

    def __init__(self, of):
        super().__init__()
        self.norm1, self.norm2, self.norm3, self.ff = of.norm1, of.norm2, of.norm3, of.ff
        self.attn1, self.attn2 = CrossAttention(of.attn1), CrossAttention(of.attn2)
        if hasattr(of, "ff_in"):
            self.norm_in, self.ff_in = of.norm_in, of.ff_in

    def forward(self, x, context=None, transformer_options=None):
        if hasattr(self, "ff_in"):
            x = x + self.ff_in(self.norm_in(x))
        x = x + self.attn1(self.norm1(x), context=None, value=None, transformer_options=transformer_options)
        x = x + self.attn2(self.norm2(x), context=context, transformer_options=transformer_options)
        return x + self.ff(self.norm3(x))


class SpatialVideoTransformer(nn.Module):
    def __init__(self, of):
        super().__init__()
        self.in_channels = of.in_channels
        self.norm, self.proj_in, self.proj_out = of.norm, of.proj_in, of.proj_out
        self.transformer_blocks = nn.ModuleList(map(TransformerBlock, of.transformer_blocks))
        self.time_stack = nn.ModuleList(map(TransformerBlock, of.temporal_transformer_blocks))
        placing = of.time_pos_embed
        self.time_pos_embed = nn.Sequential(placing.linear_1, nn.SiLU(), placing.linear_2)
        self.time_mixer = of.time_mixer

    def forward(self, x_NCYX, context, timesteps, image_only_indicator, transformer_options=None):
        count, _, rows, columns = x_NCYX.shape
        videos = count // timesteps
        time_context = context[::timesteps].repeat_interleave(rows * columns, dim=0)
        x = self.proj_in(self.norm(x_NCYX).flatten(2).transpose(1, 2))
        numbers = torch.arange(timesteps).repeat(videos)
        half = self.in_channels // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(0, half, dtype=torch.float32) / half)
        angles = numbers[:, None].float() * frequencies[None]
        code = torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1).to(x)
        placed = self.time_pos_embed(code)[:, None]
        for block, mix_block in zip(self.transformer_blocks, self.time_stack, strict=True):
            x = block(x, context=context, transformer_options=transformer_options)
            mixed = (x + placed).unflatten(0, (videos, timesteps)).transpose(1, 2).flatten(0, 1)
            mixed = mix_block(mixed, context=time_context, transformer_options=transformer_options)
            mixed = mixed.unflatten(0, (videos, -1)).transpose(1, 2).flatten(0, 1)
            x = self.time_mixer(x_spatial=x, x_temporal=mixed, image_only_indicator=image_only_indicator)
        return self.proj_out(x).transpose(1, 2).unflatten(2, (rows, columns)) + x_NCYX


class Hosted(nn.Module):
    """Stands in diffusers' UNet where a transformer was, and calls the one that ComfyUI would."""

    def __init__(self, transformer):
        super().__init__()
        self.inside = (transformer,)  # not as a child: it stands in the blocks of VideoUnet
        self.options = {}

    def forward(self, x, encoder_hidden_states=None, image_only_indicator=None, return_dict=True):
        frames = image_only_indicator.shape[-1]
        return (self.inside[0](x, encoder_hidden_states, frames, image_only_indicator, self.options),)


class VideoResBlock(nn.Module):
    """The other module that has a time stack, but no attention in it."""

    def __init__(self):
        super().__init__()
        self.time_stack = nn.Identity()


class VideoUnet(nn.Module):
    """ComfyUI's layout: ``input_blocks.N.1``, ``middle_block.1`` and ``output_blocks.N.1`` are transformers."""

    def __init__(self, unet):
        super().__init__()
        self.rest = copy.deepcopy(unet)
        host = self.rest
        self.input_blocks = nn.ModuleList(self._hosted(host.down_blocks))
        self.middle_block = next(iter(self._hosted([host.mid_block])))
        self.output_blocks = nn.ModuleList(self._hosted(host.up_blocks))

    @staticmethod
    def _hosted(blocks):
        made = []
        for block in blocks:
            for number, transformer in enumerate(getattr(block, "attentions", ())):
                made.append(nn.ModuleList([VideoResBlock(), SpatialVideoTransformer(transformer)]))
                block.attentions[number] = Hosted(made[-1][1])
        return made

    def forward(self, x_NCYX, timesteps, context, y=None, num_video_frames=None, transformer_options=None):
        for module in self.rest.modules():
            if isinstance(module, Hosted):
                module.options = transformer_options
        made = self.rest(
            x_NCYX.unflatten(0, (-1, num_video_frames)),
            timesteps[::num_video_frames],
            encoder_hidden_states=context[::num_video_frames],
            added_time_ids=y[::num_video_frames],
            return_dict=False,
        )[0]
        return made.flatten(0, 1)


class ModelSampling:
    sigma_min, sigma_max = 0.002, 700.0

    def noise_scaling(self, sigma, noise, latent_image, max_denoise=False):
        return noise * (torch.sqrt(1 + sigma**2) if max_denoise else sigma) + latent_image

    def inverse_noise_scaling(self, sigma, latent):
        return latent


class SVD_img2vid(nn.Module):
    """The model that a patcher holds."""

    def __init__(self, unet):
        super().__init__()
        self.diffusion_model = VideoUnet(unet)
        self.model_sampling = ModelSampling()

    def apply_model(self, x_NCYX, t_N, c_concat=None, c_crossattn=None, transformer_options=None, **conds):
        sigma = t_N.view(-1, 1, 1, 1)
        seen = torch.cat([x_NCYX / (sigma**2 + 1).sqrt(), c_concat], dim=1)
        out = self.diffusion_model(
            seen, t_N.log() / 4, context=c_crossattn, transformer_options=transformer_options, **conds
        )
        return x_NCYX / (sigma**2 + 1) - out * sigma / (sigma**2 + 1).sqrt()
