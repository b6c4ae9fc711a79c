"""SVD in a single file of the original layout, against the same weights in a folder, and the keys of the full size."""

from __future__ import annotations

import json
import re
import sys
import weakref
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from longtake import generate, load_model, read_facts
from longtake.core.checkpoint import Checkpoint
from longtake.core.conversion import empty_parts, load_single_file, sources_of
from longtake.core.errors import ModelError
from longtake.core.layout import of_no_use
from longtake.core.single_file import SingleFile, frames_by_name

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


@pytest.fixture(scope="module")
def pipeline(make_scheduler):
    """A pipeline of the reduced configuration, with random weights."""
    from diffusers import AutoencoderKLTemporalDecoder, StableVideoDiffusionPipeline, UNetSpatioTemporalConditionModel
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    made = StableVideoDiffusionPipeline(
        unet=UNetSpatioTemporalConditionModel(**REDUCED["unet"]).eval(),
        vae=AutoencoderKLTemporalDecoder(**REDUCED["vae"]).eval(),
        image_encoder=CLIPVisionModelWithProjection(CLIPVisionConfig(**REDUCED["image_encoder"])).eval(),
        scheduler=make_scheduler(),
        feature_extractor=CLIPImageProcessor(),
    )
    for part in (made.unet, made.vae, made.image_encoder):
        for parameter in part.parameters():  # also those that begin as zeros and ones: nothing may be mixed up
            parameter.data += 0.05 * torch.randn_like(parameter)
    return made


@pytest.fixture(scope="module")
def keys(pipeline):
    return Original.of(pipeline.unet, pipeline.vae, pipeline.image_encoder)


@pytest.fixture(scope="module")
def files(pipeline, keys, tmp_path_factory):
    """A folder with the same model as a folder and as a single file."""
    place = tmp_path_factory.mktemp("models")
    pipeline.save_pretrained(place / "folder")
    save(keys, place / "svd_xt.safetensors")
    return place


@pytest.fixture(scope="module")
def single(files):
    return load_model(str(files / "svd_xt.safetensors"), device="cpu", trained=4)


def states(model):
    parts = ("unet", "vae", "image_encoder")
    return {f"{part}.{key}": value for part in parts for key, value in getattr(model, part).state_dict().items()}


def moved(model):
    """Bring weights out of the mapped file: where they begin in memory decides about the last bit of a sum."""
    for part in (model.pipeline.unet, model.pipeline.vae, model.pipeline.image_encoder):
        for weight in part.parameters():
            weight.data = weight.data.clone()
    return model


def test_a_single_file_is_the_same_model_as_the_folder(files, pipeline, single, picture):
    theirs, mine = states(pipeline), states(single.pipeline)
    assert theirs.keys() == mine.keys()
    assert all(torch.equal(theirs[key], mine[key]) for key in theirs)
    folder = load_model(str(files / "folder"), device="cpu")
    assert single.facts.name.endswith("svd_xt.safetensors")
    for name in ("trained", "unet", "vae_channels", "sample_size", "sigma_max", "top_bucket"):
        assert getattr(single.facts, name) == getattr(folder.facts, name)
    for part in ("unet", "vae", "scheduler"):
        one, other = (dict(getattr(each.pipeline, part).config) for each in (folder, single))
        named = [key for key in one if not key.startswith("_")]
        assert json.dumps([one[key] for key in named]) == json.dumps([other[key] for key in named])
    asked = {"frames": 6, "steps": 2, "seed": 1, "width": 32, "height": 24}
    one, other = (generate(picture, model=moved(model), **asked) for model in (folder, single))
    assert torch.equal(one.latents, other.latents)
    assert (one.frames == other.frames).all()
    assert one.latents.std() > 0.1


@pytest.mark.parametrize("stored", [torch.float32, torch.float16])
@pytest.mark.parametrize("asked", [torch.float32, torch.float16])
def test_the_precision_asked_for_is_loaded(keys, pipeline, tmp_path, stored, asked):
    path = save({key: weight.to(stored) for key, weight in keys.items()}, tmp_path / "svd.safetensors")
    model = load_model(str(path), dtype=asked, device="cpu", trained=4)
    theirs, mine = states(pipeline), states(model.pipeline)
    assert {weight.dtype for weight in mine.values()} == {asked}
    assert all(torch.equal(theirs[key].to(stored).to(asked), mine[key]) for key in theirs)


def test_weights_are_converted_one_after_another(files, monkeypatch):
    """Never two weights in the precision of the file at a time: each is brought to its own before the next is read."""
    held, most = [], []
    taken = sys.modules["longtake.core.conversion"]._taken

    def watched(*arguments):
        weight = taken(*arguments).double()  # a copy, which lives as long as somebody holds it
        held[:] = [reference for reference in held if reference() is not None]
        held.append(weakref.ref(weight))
        most.append(len(held))
        return weight

    monkeypatch.setattr("longtake.core.conversion._taken", watched)
    load_model(str(files / "svd_xt.safetensors"), dtype="float16", device="cpu", trained=4)
    assert len(most) > 300
    assert max(most) <= 2


def test_a_file_of_another_tool_is_read_as_well(pipeline, keys, single, tmp_path, picture):
    """ComfyUI saves one VAE, whose encoder has no quant_conv, and the image encoder with the names of transformers."""
    saved = {key: weight for key, weight in keys.items() if not key.startswith("conditioner.")}
    saved |= {
        key.replace(IMAGE_VAE, VAE): weight for key, weight in keys.items() if key.startswith(f"{IMAGE_VAE}.encoder.")
    }
    saved |= {f"{CLIP}.visual.{key}": weight for key, weight in pipeline.image_encoder.state_dict().items()}
    saved[f"{CLIP}.visual.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    model = load_model(str(save(saved, tmp_path / "mine.safetensors")), device="cpu", trained=4)
    theirs, mine = states(single.pipeline), states(model.pipeline)
    differing = {key for key in theirs if not torch.equal(theirs[key], mine[key])}
    assert differing == {"vae.quant_conv.weight", "vae.quant_conv.bias"}
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        plain = pipeline.vae.encoder(pixels)
        assert torch.equal(model.pipeline.vae.encode(pixels).latent_dist.parameters, plain)
    quant = {f"{VAE}.quant_conv.{key}": value for key, value in pipeline.vae.quant_conv.state_dict().items()}
    model = load_model(str(save(saved | quant, tmp_path / "other.safetensors")), device="cpu", trained=4)
    assert torch.equal(model.pipeline.vae.quant_conv.weight, pipeline.vae.quant_conv.weight)


@pytest.fixture(scope="module")
def full():
    """The empty parts of the published SVD-XT."""
    return empty_parts(PUBLISHED)


@pytest.fixture(scope="module")
def full_shapes(full):
    return {key: tuple(weight.shape) for key, weight in Original.of(**full).items()}


def test_every_key_of_the_full_size_has_its_place(full, full_shapes):
    file = SingleFile.of(Checkpoint("svd_xt.safetensors", Path("svd_xt.safetensors"), full_shapes))
    configs = file.configs(25)
    assert {part: configs[part] for part in PUBLISHED} == PUBLISHED
    sources = {part: sources_of(file, part, module) for part, module in full.items()}
    for part, module in full.items():
        assert sources[part].keys() == module.state_dict().keys()
    used = [source for named in sources.values() for source in named.values()]
    whole = [source.key for source in used if source.third is None]
    thirds = [(source.key, source.third) for source in used if source.third is not None]
    assert len(set(whole)) == len(whole)
    assert len(set(thirds)) == len(thirds) == 3 * len({key for key, _ in thirds})
    left = full_shapes.keys() - {source.key for source in used}
    assert all(of_no_use(key, file.encoder) for key in left)
    assert not any(of_no_use(source.key, file.encoder) for source in used)
    assert {part: len(named) for part, named in sources.items()} == {"unet": 1428, "vae": 374, "image_encoder": 520}
    assert file.parameters == 1_524_623_082


def test_the_keys_of_the_full_size_are_those_that_are_published(full_shapes):
    known = {
        f"{UNET}.time_embed.0.weight": (1280, 320),
        f"{UNET}.label_emb.0.0.weight": (1280, 768),
        f"{UNET}.input_blocks.0.0.weight": (320, 8, 3, 3),
        f"{UNET}.input_blocks.1.0.emb_layers.1.weight": (320, 1280),
        f"{UNET}.input_blocks.1.0.time_stack.in_layers.2.weight": (320, 320, 3, 1, 1),
        f"{UNET}.input_blocks.1.0.time_mixer.mix_factor": (1,),
        f"{UNET}.input_blocks.1.1.proj_in.weight": (320, 320),
        f"{UNET}.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
        f"{UNET}.input_blocks.1.1.time_stack.0.ff_in.net.0.proj.weight": (2560, 320),
        f"{UNET}.input_blocks.1.1.time_pos_embed.0.weight": (1280, 320),
        f"{UNET}.input_blocks.3.0.op.weight": (320, 320, 3, 3),
        f"{UNET}.input_blocks.11.0.out_layers.3.weight": (1280, 1280, 3, 3),
        f"{UNET}.middle_block.1.time_stack.0.attn1.to_out.0.bias": (1280,),
        f"{UNET}.output_blocks.0.0.skip_connection.weight": (1280, 2560, 1, 1),
        f"{UNET}.output_blocks.2.1.conv.weight": (1280, 1280, 3, 3),
        f"{UNET}.output_blocks.8.2.conv.weight": (640, 640, 3, 3),
        f"{UNET}.output_blocks.11.1.time_mixer.mix_factor": (1,),
        f"{UNET}.out.2.weight": (4, 320, 3, 3),
        f"{VAE}.decoder.conv_out.time_mix_conv.weight": (3, 3, 3, 1, 1),
        f"{VAE}.decoder.mid.attn_1.q.weight": (512, 512, 1, 1),
        f"{VAE}.decoder.up.3.block.0.mix_factor": (1,),
        f"{VAE}.decoder.up.0.block.0.nin_shortcut.weight": (128, 256, 1, 1),
        f"{VAE}.decoder.up.1.upsample.conv.weight": (256, 256, 3, 3),
        f"{IMAGE_VAE}.encoder.down.0.downsample.conv.weight": (128, 128, 3, 3),
        f"{IMAGE_VAE}.quant_conv.weight": (8, 8, 1, 1),
        f"{CLIP}.visual.class_embedding": (1280,),
        f"{CLIP}.visual.positional_embedding": (257, 1280),
        f"{CLIP}.visual.conv1.weight": (1280, 3, 14, 14),
        f"{CLIP}.visual.transformer.resblocks.31.attn.in_proj_weight": (3840, 1280),
        f"{CLIP}.visual.transformer.resblocks.31.mlp.c_fc.weight": (5120, 1280),
        f"{CLIP}.visual.proj": (1280, 1024),
    }
    assert {key: full_shapes.get(key) for key in known} == known
    # The published file of single precision has 9.56 GB, that of half precision 4.78.
    numbers = sum(torch.Size(shape).numel() for shape in full_shapes.values())
    assert round(4 * numbers / 1e9, 2) == 9.56
    assert round(2 * numbers / 1e9, 2) == 4.78


def hollow(shapes, path):
    """Write a file whose weights are a hole: as large as a real one, but taking no room."""
    header, end = {}, 0
    for key, shape in shapes.items():
        begin, end = end, end + 2 * torch.Size(shape).numel()
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}
    data = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(data).to_bytes(8, "little") + data)
        file.truncate(8 + len(data) + end)
    return path


def test_a_full_size_file_is_planned_from_its_head(full_shapes, tmp_path, cli, caplog):
    path = hollow(full_shapes, tmp_path / "svd_xt_1_1.safetensors")
    facts, known = read_facts(str(path)), read_facts(XT)
    assert facts == replace(known, name=str(path), guessed=True)
    assert 'taken as 25, because its name has "xt"; --trained says otherwise' in caplog.text
    asked = ("--frames", "100", "--device", "cpu", "--seed", "1", "--memory", "20GiB")
    planned = cli("plan", "--model", path.name, "-o", "plan.png", *asked)
    assert (tmp_path / "plan.png").stat().st_size > 1000
    assert f"note: {path.name} does not say how many frames it was trained on: taken as 25" in planned.stderr
    told = cli("config", "--model", path.name, "--trained", "14", "--json", *asked)
    assert "does not say" not in told.stderr
    told = json.loads(told.stdout)
    assert (told["model"], told["trained"], told["positional"]["name"]) == (path.name, 14, "linear")


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("svd.safetensors", 14),
        ("svd_xt.safetensors", 25),
        ("SVD-XT-1-1.fp16.safetensors", 25),
        ("svdxt.safetensors", 25),
        ("stable-video-diffusion-img2vid-xt.safetensors", 25),
        ("xt_mine.safetensors", 25),
        ("next.safetensors", 14),
        ("context_xtra.safetensors", 14),
    ],
)
def test_the_name_tells_the_frames(name, frames):
    assert frames_by_name(Path(name)) == frames


def test_frames_that_are_known_are_not_asked_for_otherwise(files, single, tiny_model, picture):
    known = "but model '.*' is known to be trained on 4 frames; leave it out"
    with pytest.raises(ModelError, match=f"trained=14 was asked for, {known}"):
        read_facts(str(files / "folder"), 14)
    with pytest.raises(ModelError, match=known):
        generate(picture, model=tiny_model, trained=14, frames=3, steps=1, width=32, height=24)
    assert read_facts(str(files / "folder"), 4) == read_facts(str(files / "folder"))
    with pytest.raises(ModelError, match="known to be trained on 25 frames"):
        read_facts(XT, 14)


def test_a_run_is_made_again_from_its_record_anywhere(files, single, picture, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(files)
    picture.save(tmp_path / "start.png")
    asked = {"device": "cpu", "frames": 3, "steps": 1, "seed": 1, "width": 32, "height": 24, "trained": 4}
    made = generate(tmp_path / "start.png", model="svd_xt.safetensors", output=tmp_path / "out.npy", **asked)
    record = json.loads((tmp_path / "out.npy.json").read_text())
    assert record["config"]["model"] == str(files / "svd_xt.safetensors")
    assert "--trained 4" in record["command"]
    assert not caplog.records
    monkeypatch.chdir(tmp_path)
    assert torch.equal(generate(**{**record["config"]}).latents, made.latents)
    del asked["trained"]
    guessed = generate(tmp_path / "start.png", model=str(files / "svd_xt.safetensors"), **asked)
    assert guessed.config.trained == 25
    assert generate(tmp_path / "start.png", model=single, trained=4, **asked).config.trained == 4
    assert len([each for each in caplog.messages if "does not say how many frames" in each]) == 1


def test_missing_unexpected_and_other_weights_are_named(keys):
    def refusal(changed):
        """What is said of a file, which is not there: that it would not be read at all."""
        shapes = {key: tuple(weight.shape) for key, weight in changed.items()}
        file = SingleFile.of(Checkpoint("svd.safetensors", Path("nowhere"), shapes))
        with pytest.raises(ModelError) as refused:
            load_single_file(file, 4, torch.float32, torch.device("cpu"))
        return str(refused.value)

    gone = [f"{UNET}.out.0.bias", *(f"{UNET}.middle_block.1.time_stack.0.attn1.to_{each}.weight" for each in "qkv")]
    said = refusal({key: weight for key, weight in keys.items() if key not in gone})
    assert re.search(r"svd.safetensors' is no whole SVD; missing keys: 4 \(.*, .*, .* and 1 more\)$", said)
    assert any(key in said for key in gone)
    said = refusal(keys | {f"{UNET}.mine": torch.zeros(1), "scaled_fp8": torch.zeros(1)})
    assert said.endswith(f"is no whole SVD; unexpected keys: 2 ({UNET}.mine, scaled_fp8)")
    changed = {key.replace("visual.ln_pre", "visual.ln_before"): weight for key, weight in keys.items()}
    said = refusal(changed)
    assert f"missing keys: 2 ({CLIP}.visual.ln_pre.weight, {CLIP}.visual.ln_pre.bias)" in said
    assert f"unexpected keys: 2 ({CLIP}.visual.ln_before" in said
    said = refusal({key: weight for key, weight in keys.items() if not key.startswith(f"{UNET}.middle_block.0.")})
    assert "missing keys: 21 (" in said
    said = refusal({key: weight for key, weight in keys.items() if key != f"{IMAGE_VAE}.quant_conv.weight"})
    assert said.endswith(f"missing keys: 1 ({IMAGE_VAE}.quant_conv.weight)")
    said = refusal(keys | {f"{UNET}.out.0.bias": torch.zeros(65)})
    assert said.endswith(f"is no SVD: {UNET}.out.0.bias should be (64,), got (65,)")
    said = refusal(keys | {f"{UNET}.middle_block.1.proj_in.weight": torch.zeros(128, 128, 3, 3)})
    assert said.endswith("should be (128, 128), got (128, 128, 3, 3)")


@pytest.mark.parametrize(
    ("key", "shape", "said"),
    [
        (
            f"{UNET}.label_emb.0.0.weight",
            (1280, 1280),
            "is told 1280 numbers beside the image, which is no multiple of",
        ),
        (f"{UNET}.label_emb.0.0.weight", None, f"is no whole SVD: it has no {UNET}.label_emb.0.0.weight"),
        (f"{UNET}.input_blocks.1.0.out_layers.3.weight", (300, 300, 3, 3), "its UNet is 300 channels wide, and every"),
        (
            f"{CLIP}.visual.conv1.weight",
            (1000, 3, 14, 14),
            "its image encoder is 1000 channels wide, and every head of",
        ),
        (f"{UNET}.input_blocks.1.0.op.weight", (3,), "its UNet has no residual blocks"),
    ],
)
def test_what_is_built_like_an_svd_and_is_none_is_refused(full_shapes, key, shape, said):
    shapes = {name: full_shapes[name] for name in full_shapes if name != key} | ({key: shape} if shape else {})
    with pytest.raises(ModelError, match=re.escape(said)):
        SingleFile.of(Checkpoint("mine", Path("mine"), shapes)).configs(25)


def test_a_single_file_has_no_variants(files):
    with pytest.raises(ModelError, match="variant='fp16' was asked for, but '.*svd_xt.safetensors' is a single file"):
        load_model(str(files / "svd_xt.safetensors"), variant="fp16", device="cpu", trained=4)
