"""Nothing is worked out in float64 on a device: Macs have none there. See pretend_device.py for how that is seen."""

from __future__ import annotations

import pytest
import torch
from applied import SMALL, TOLERANCE
from comfy_compared import close
from comfy_model import TRAINED, ModelPatcher, SVD_img2vid
from comfy_stand_ins import sampled
from original_layout import Original, reduced_parts, save
from pretend_device import DEVICE, There, pretending
from torch.utils._pytree import tree_map

from longtake import Model, apply, generate, load_model
from longtake.core.engine import wrapped
from longtake.plugins.attention.freenoise import FreeNoiseWindows
from longtake.plugins.attention.spectral import Spectral
from longtake.plugins.comfy.patches import patched
from longtake.positional.dynamic import Dynamic
from longtake.positional.linear import Linear
from longtake.positional.yarn import Yarn

ASKED = {**SMALL, "frames": 9, "steps": 2, "seed": 1}
STRATEGIES = [
    {},
    {"positional": "yarn", "attention": "freenoise", "noise": "freenoise", "decode_chunk": 3},
]


@pytest.fixture
def there(monkeypatch):
    """The pretend device; its weights count as plain, so that the engine takes the ways that it takes elsewhere."""
    monkeypatch.setattr(wrapped, "PLAIN_WEIGHTS", (*wrapped.PLAIN_WEIGHTS, There))
    with pretending():
        yield DEVICE


# Between them every built-in strategy that has to do with tensors of the device.
OTHERS = [
    {"positional": "dynamic", "attention": "spectral", "context": "static", "noise": "progressive"},
    {"positional": "grouped", "attention": "decay", "sampling": "freeinit", "noise": "mixed"},
    {"positional": "riflex", "attention": "local-global", "sampling": "chain", "guidance": "triangle"},
    {"positional": "circular", "attention": "looped", "context": "looped", "loop": True},
    {"attention": {"name": "strided", "key_scale": [1, 0.9], "temperature": {"steps": [1, 1.1]}}, "context": "uniform"},
    {"guidance": "linear", "motion": {"name": "keyframes", "bucket": {0: 20, -1: 200}}, "reuse": 2, "sigmas": "ays"},
]


def moved(pipe, device):
    for part in (pipe.unet, pipe.vae, pipe.image_encoder):
        part.to(device)
    return pipe


@pytest.mark.parametrize("strategies", STRATEGIES)
def test_a_generation(pipe, image, there, strategies):
    expected = generate(image, model=Model.of(pipe), **ASKED, **strategies)
    model = Model.of(moved(pipe, there))
    assert model.device == there
    made = generate(image, model=model, **ASKED, **strategies)
    assert made.config.device == str(there)
    torch.testing.assert_close(made.latents, expected.latents, **TOLERANCE)
    assert abs(made.frames.astype(int) - expected.frames).max() <= 2


@pytest.mark.parametrize("strategies", OTHERS)
def test_strategies(pipe, image, there, strategies):
    made = generate(image, model=Model.of(moved(pipe, there)), **ASKED, **strategies)
    assert torch.isfinite(made.latents).all()


def test_a_pipeline(pipe, call_pipe, image, there):
    asked = {"positional": "yarn", "attention": "freenoise", "noise": "freenoise", "guidance": "triangle"}
    with apply(pipe, **asked):
        expected = call_pipe(pipe, image, 9, output_type="np")
    set_timesteps = pipe.scheduler.set_timesteps  # which makes a tensor of a list of the device's
    pipe.scheduler.set_timesteps = lambda steps, device, **more: set_timesteps(steps, device="cpu", **more)
    with apply(moved(pipe, there), **asked):
        made = call_pipe(pipe, image, 9, output_type="np")
    assert abs(made - expected).max() < 5e-3


@pytest.mark.parametrize("strategies", [(Linear(align="ends"), FreeNoiseWindows()), (Dynamic(of=Yarn()), Spectral())])
def test_patches_in_comfyui(pipe, there, strategies):
    model = ModelPatcher(SVD_img2vid(pipe.unet))
    expected = sampled(patched(model, TRAINED, *strategies), frames=9)
    model.model.to(there)

    def on_the_device(apply_model, args):
        given, c = (
            tree_map(lambda each: each.to(there) if isinstance(each, torch.Tensor) else each, args[key])
            for key in ("input", "c")
        )
        return apply_model(given, args["timestep"].to(there), **c).cpu()

    model.set_model_unet_function_wrapper(on_the_device)
    close(sampled(patched(model, TRAINED, *strategies), frames=9), expected)


def test_a_single_file(there, tmp_path):
    """Weights are brought to the device one by one; what is not in the file is made."""
    parts = reduced_parts()
    for part in parts.values():
        part.double()  # as some are stored
    path = save(Original.of(**parts), tmp_path / "svd.safetensors")
    loaded = load_model(path, device=there, dtype="float16", trained=4).pipeline
    for name, part in parts.items():
        weights = dict(getattr(loaded, name).named_parameters())
        for key, weight in part.named_parameters():
            assert weights[key].device == there
            assert torch.equal(weights[key].cpu(), weight.half())


def test_the_pretend_device_knows_no_float64(there):
    here = torch.ones(2, dtype=torch.float64)
    moved = here.to(there, torch.float32)
    assert moved.device == there
    assert (moved * 2).device == there
    assert moved.cpu().double().tolist() == [1.0, 1.0]
    for wrong in (lambda: here.to(there), moved.double, lambda: torch.ones(2, dtype=torch.float64, device=there)):
        with pytest.raises(TypeError, match="the pretend device has no float64"):
            wrong()
    with pytest.raises(AssertionError, match="on both sides"):
        moved + here
