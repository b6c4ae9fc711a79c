"""SVD in the original layout, written from its documentation and not from longtake's mapping: the oracle for that."""

from __future__ import annotations

import re
from itertools import count

import torch
from safetensors.torch import save_file

UNET, VAE, IMAGE_VAE = "model.diffusion_model", "first_stage_model", "conditioner.embedders.3.encoder"
CLIP = "conditioner.embedders.0.open_clip.model"
XT = "stabilityai/stable-video-diffusion-img2vid-xt"
# Of the image encoder's other half, which reads text: what is left of it in the published files.
TEXT = {
    "token_embedding.weight": (49408, 1024),
    "positional_embedding": (77, 1024),
    "text_projection": (1024, 1024),
    "ln_final.weight": (1024,),
    "ln_final.bias": (1024,),
    "logit_scale": (),
}
PUBLISHED = {
    "unet": {
        "sample_size": 96,
        "in_channels": 8,
        "out_channels": 4,
        "block_out_channels": (320, 640, 1280, 1280),
        "down_block_types": ("CrossAttnDownBlockSpatioTemporal",) * 3 + ("DownBlockSpatioTemporal",),
        "up_block_types": ("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * 3,
        "layers_per_block": 2,
        "cross_attention_dim": 1024,
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 768,
        "num_attention_heads": (5, 10, 20, 20),
        "num_frames": 25,
    },
    "vae": {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
        "sample_size": 768,
        "scaling_factor": 0.18215,
        "force_upcast": True,
    },
    "image_encoder": {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "projection_dim": 1024,
        "patch_size": 14,
        "image_size": 224,
        "hidden_act": "gelu",
    },
}
REDUCED = {
    "unet": PUBLISHED["unet"]
    | {
        "block_out_channels": (64, 128),
        "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        "layers_per_block": 1,
        "cross_attention_dim": 16,
        "addition_time_embed_dim": 16,
        "projection_class_embeddings_input_dim": 48,
        "num_attention_heads": (1, 2),
        "num_frames": 4,
    },
    "vae": PUBLISHED["vae"] | {"block_out_channels": (32, 64, 64), "down_block_types": ("DownEncoderBlock2D",) * 3},
    "image_encoder": PUBLISHED["image_encoder"]
    | {"hidden_size": 80, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 1}
    | {"projection_dim": 16, "patch_size": 112},
}


def layers_of(level):
    """Return the residual blocks of a level, each with its transformer where there are any."""
    return zip(level.resnets, *([level.attentions] if hasattr(level, "attentions") else []), strict=True)


class Original(dict):
    """A checkpoint as generative-models and OpenCLIP would name it, built up as their constructors build up modules."""

    def put(self, prefix, module):
        self.update({f"{prefix}.{name}": weight for name, weight in module.state_dict().items()})

    def res_block(self, prefix, block):  # ResBlock: Sequential(norm, SiLU, conv), and so on
        self.put(f"{prefix}.in_layers.0", block.norm1)
        self.put(f"{prefix}.in_layers.2", block.conv1)
        self.put(f"{prefix}.out_layers.0", block.norm2)
        self.put(f"{prefix}.out_layers.3", block.conv2)
        if block.time_emb_proj is not None:
            self.put(f"{prefix}.emb_layers.1", block.time_emb_proj)
        if block.conv_shortcut is not None:
            self.put(f"{prefix}.skip_connection", block.conv_shortcut)

    def video_res_block(self, prefix, block):
        self.res_block(prefix, block.spatial_res_block)
        self.res_block(f"{prefix}.time_stack", block.temporal_res_block)
        self.put(f"{prefix}.time_mixer", block.time_mixer)

    def video_transformer(self, prefix, module):
        for name in ("norm", "proj_in", "proj_out", "transformer_blocks", "time_mixer"):
            self.put(f"{prefix}.{name}", getattr(module, name))
        self.put(f"{prefix}.time_stack", module.temporal_transformer_blocks)
        self.put(f"{prefix}.time_pos_embed.0", module.time_pos_embed.linear_1)
        self.put(f"{prefix}.time_pos_embed.2", module.time_pos_embed.linear_2)

    def unet(self, unet):  # VideoUNet
        for name, embedding in (("time_embed", unet.time_embedding), ("label_emb.0", unet.add_embedding)):
            self.put(f"{UNET}.{name}.0", embedding.linear_1)
            self.put(f"{UNET}.{name}.2", embedding.linear_2)
        self.put(f"{UNET}.input_blocks.0.0", unet.conv_in)
        number = count(1)
        for level in unet.down_blocks:
            for resnet, *rest in layers_of(level):
                here = f"{UNET}.input_blocks.{next(number)}"
                self.video_res_block(f"{here}.0", resnet)
                for attention in rest:
                    self.video_transformer(f"{here}.1", attention)
            for downsampler in level.downsamplers or ():
                self.put(f"{UNET}.input_blocks.{next(number)}.0.op", downsampler.conv)
        self.video_res_block(f"{UNET}.middle_block.0", unet.mid_block.resnets[0])
        self.video_transformer(f"{UNET}.middle_block.1", unet.mid_block.attentions[0])
        self.video_res_block(f"{UNET}.middle_block.2", unet.mid_block.resnets[1])
        number = count()
        for level in unet.up_blocks:
            for resnet, *rest in layers_of(level):
                here = f"{UNET}.output_blocks.{next(number)}"
                self.video_res_block(f"{here}.0", resnet)
                for attention in rest:
                    self.video_transformer(f"{here}.1", attention)
            for upsampler in level.upsamplers or ():
                self.put(f"{here}.{1 + len(rest)}.conv", upsampler.conv)
        self.put(f"{UNET}.out.0", unet.conv_norm_out)
        self.put(f"{UNET}.out.2", unet.conv_out)

    def image_res_block(self, prefix, block):  # ResnetBlock
        for name in ("norm1", "conv1", "norm2", "conv2"):
            self.put(f"{prefix}.{name}", getattr(block, name))
        if block.conv_shortcut is not None:
            self.put(f"{prefix}.nin_shortcut", block.conv_shortcut)

    def image_attention(self, prefix, attention):  # AttnBlock: 1x1 convolutions
        self.put(f"{prefix}.norm", attention.group_norm)
        layers = {"q": attention.to_q, "k": attention.to_k, "v": attention.to_v, "proj_out": attention.to_out[0]}
        for name, layer in layers.items():
            self[f"{prefix}.{name}.weight"] = layer.weight[:, :, None, None]
            self[f"{prefix}.{name}.bias"] = layer.bias

    def encoder(self, prefix, encoder):
        for level, block in enumerate(encoder.down_blocks):
            for number, resnet in enumerate(block.resnets):
                self.image_res_block(f"{prefix}.down.{level}.block.{number}", resnet)
            for downsampler in block.downsamplers or ():
                self.put(f"{prefix}.down.{level}.downsample.conv", downsampler.conv)
        self.middle(prefix, encoder, self.image_res_block)

    def decoder(self, prefix, decoder):  # VideoDecoder with time_mode="conv-only"
        def block_of(prefix, block):
            self.image_res_block(prefix, block.spatial_res_block)
            self.res_block(f"{prefix}.time_stack", block.temporal_res_block)
            self[f"{prefix}.mix_factor"] = block.time_mixer.mix_factor

        for level, block in enumerate(reversed(decoder.up_blocks)):
            for number, resnet in enumerate(block.resnets):
                block_of(f"{prefix}.up.{level}.block.{number}", resnet)
            for upsampler in block.upsamplers or ():
                self.put(f"{prefix}.up.{level}.upsample.conv", upsampler.conv)
        self.middle(prefix, decoder, block_of)
        self.put(f"{prefix}.conv_out.time_mix_conv", decoder.time_conv_out)

    def middle(self, prefix, side, block_of):
        block_of(f"{prefix}.mid.block_1", side.mid_block.resnets[0])
        self.image_attention(f"{prefix}.mid.attn_1", side.mid_block.attentions[0])
        block_of(f"{prefix}.mid.block_2", side.mid_block.resnets[1])
        for theirs, ours in (("conv_in", "conv_in"), ("norm_out", "conv_norm_out"), ("conv_out", "conv_out")):
            self.put(f"{prefix}.{theirs}", getattr(side, ours))

    def image_encoder(self, clip):  # OpenCLIP's VisionTransformer
        inner, prefix = clip.vision_model, f"{CLIP}.visual"
        self[f"{prefix}.class_embedding"] = inner.embeddings.class_embedding
        self[f"{prefix}.positional_embedding"] = inner.embeddings.position_embedding.weight
        self[f"{prefix}.proj"] = clip.visual_projection.weight.T
        self.put(f"{prefix}.conv1", inner.embeddings.patch_embedding)
        self.put(f"{prefix}.ln_pre", inner.pre_layrnorm)
        self.put(f"{prefix}.ln_post", inner.post_layernorm)
        for number, layer in enumerate(inner.encoder.layers):
            here, heads = f"{prefix}.transformer.resblocks.{number}", layer.self_attn
            three = (heads.q_proj, heads.k_proj, heads.v_proj)
            self[f"{here}.attn.in_proj_weight"] = torch.cat([part.weight for part in three])
            self[f"{here}.attn.in_proj_bias"] = torch.cat([part.bias for part in three])
            self.put(f"{here}.attn.out_proj", heads.out_proj)
            self.put(f"{here}.ln_1", layer.layer_norm1)
            self.put(f"{here}.ln_2", layer.layer_norm2)
            self.put(f"{here}.mlp.c_fc", layer.mlp.fc1)
            self.put(f"{here}.mlp.c_proj", layer.mlp.fc2)

    @classmethod
    def of(cls, unet, vae, image_encoder):
        """As published: the image has a VAE of its own, whose decoder is of no use, like the other encoder."""
        keys = cls()
        keys.unet(unet)
        keys.image_encoder(image_encoder)
        keys.decoder(f"{VAE}.decoder", vae.decoder)
        keys.encoder(f"{VAE}.encoder", vae.encoder)
        used = set(keys)
        keys.encoder(f"{IMAGE_VAE}.encoder", vae.encoder)
        keys.put(f"{IMAGE_VAE}.quant_conv", vae.quant_conv)
        for key in sorted(used):  # the one that is not trained over time, of which nothing but the keys matters
            if key.startswith(f"{VAE}.decoder.") and not re.search(r"time_stack|mix_factor|time_mix", key):
                keys[key.replace(VAE, IMAGE_VAE)] = torch.empty_like(keys[key])
            elif key.startswith(f"{VAE}.encoder."):
                keys[key] = torch.full_like(keys[key], 7.0)
        device = unet.device
        keys[f"{IMAGE_VAE}.post_quant_conv.weight"] = torch.zeros(4, 4, 1, 1, device=device)
        keys[f"{IMAGE_VAE}.post_quant_conv.bias"] = torch.zeros(4, device=device)
        for name, shape in TEXT.items():
            keys[f"{CLIP}.{name}"] = torch.zeros(
                [min(size, 77) for size in shape] if device.type == "cpu" else shape, device=device
            )
        return keys


def save(keys, path):
    # A copy of each, because safetensors refuses tensors that share their memory.
    save_file({key: weight.detach().contiguous().clone() for key, weight in keys.items()}, path)
    return path


def reduced_parts():
    """Return the parts of a model of the reduced configuration, with random weights, by name."""
    from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return {
        "unet": UNetSpatioTemporalConditionModel(**REDUCED["unet"]).eval(),
        "vae": AutoencoderKLTemporalDecoder(**REDUCED["vae"]).eval(),
        "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**REDUCED["image_encoder"])).eval(),
    }
