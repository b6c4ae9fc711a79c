"""The small model: its world tells the truth, its training can be resumed, its card agrees with its log."""

import csv
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import longtake
from longtake.plugins.proving import commands
from longtake.plugins.proving.architecture import Architecture
from longtake.plugins.proving.check import compare, generate
from longtake.plugins.proving.clips import Clips
from longtake.plugins.proving.export import export
from longtake.plugins.proving.fit import Stage, fit, read_log
from longtake.plugins.proving.recipe import Recipe
from longtake.plugins.proving.train import draw_conditions, draw_sigmas, train
from longtake.plugins.proving.worlds import FASTEST, HELD_OUT_SEED, SIDE, SLOWEST, comet, coverage, follow, render

EMBEDDED = Path(longtake.__file__).parent / "core" / "embedded"
SEEDS = st.integers(0, 2 * HELD_OUT_SEED)
SPEEDS = st.floats(SLOWEST, FASTEST)
FRAMES_14 = np.arange(14, dtype=np.float64)


# The world


@given(seed=SEEDS, frames=st.integers(1, 5), size=st.sampled_from([16, 32, 64]))
def test_a_seed_is_one_video(seed, frames, size):
    times_F = np.arange(frames, dtype=np.float64)
    video_FHW3 = render(comet(seed), times_F, size)
    assert comet(seed) == comet(seed)
    assert video_FHW3.shape == (frames, size, size, 3)
    assert video_FHW3.min() >= 0
    assert video_FHW3.max() <= 1
    np.testing.assert_array_equal(video_FHW3, render(comet(seed), times_F, size))


@given(seed=SEEDS, speed=SPEEDS)
def test_the_pixels_move_as_the_truth_and_the_motion_bucket_say(seed, speed):
    scene = comet(seed, speed)
    motion = follow(scene, render(scene, FRAMES_14))
    np.testing.assert_allclose(motion.path_F2, FRAMES_14[:, None] * np.array(scene.velocity), atol=0.05)
    np.testing.assert_allclose(np.hypot(*motion.velocity) * 100, scene.motion_bucket, atol=0.5)
    np.testing.assert_allclose(motion.area_F, motion.area_F[0], rtol=0.02)


@given(seed=SEEDS, time=st.floats(0, 1e4))
def test_the_head_is_where_the_truth_says_and_the_tail_is_behind_it(seed, time):
    scene = comet(seed)
    cover_HW = coverage(scene, np.array([time]))[0]
    heading_2 = np.array(scene.velocity) / scene.speed

    def covered(along: float) -> float:
        x, y = np.floor(scene.positions(np.array([time]))[0] + along * heading_2).astype(int) % SIDE
        return cover_HW[y, x]

    assert covered(0) > 0.9
    assert covered(scene.radius + 2.5) < 0.05
    assert covered(-scene.radius - 2) > 0.15


@given(seed=SEEDS, pixels=st.tuples(st.integers(-99, 99), st.integers(-99, 99)))
def test_the_world_is_a_torus(seed, pixels):
    scene = comet(seed)
    moved = replace(scene, start=(scene.start[0] + pixels[0], scene.start[1] + pixels[1]))
    rolled_FHW = np.roll(coverage(scene, FRAMES_14), (pixels[1], pixels[0]), axis=(1, 2))
    np.testing.assert_allclose(coverage(moved, FRAMES_14), rolled_FHW, atol=1e-9)


@given(seed=SEEDS)
def test_a_large_picture_shrinks_to_the_small_one(seed):
    large_HW3 = render(comet(seed), np.zeros(1), 8 * SIDE)[0]
    shrunk_HW3 = large_HW3.reshape(SIDE, 8, SIDE, 8, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(shrunk_HW3, render(comet(seed), np.zeros(1))[0], atol=0.12)


@given(seed=SEEDS, speed=SPEEDS)
def test_comparing_finds_a_video_that_stands_still_or_flies_backwards(seed, speed):
    scene = comet(seed, speed)
    still = compare(scene, render(scene, np.zeros(14)))
    back = compare(scene, render(scene, -FRAMES_14))
    perfect = compare(scene, render(scene, FRAMES_14))
    np.testing.assert_allclose([still.speed_ratio, back.speed_ratio, perfect.speed_ratio], [0, -1, 1], atol=0.03)
    assert back.direction_error > 170
    assert perfect.direction_error < 3
    assert perfect.faintest > 0.95


# The training


@given(batch=st.integers(1, 16), seed=st.integers(0, 1000))
def test_noise_levels_come_one_from_each_stratum(batch, seed):
    sigma_B = draw_sigmas(batch, torch.Generator().manual_seed(seed))
    uniform_B = torch.distributions.Normal(1.0, 1.6).cdf(sigma_B.log())
    place_B = uniform_B * batch - torch.arange(batch)
    assert place_B.min() > -0.01
    assert place_B.max() < 1.01
    assert (sigma_B < 400).all()


class Halves(nn.Module):
    """Stands for a VAE whose latents are the red channel at half the size."""

    def encode(self, images_BRHW):
        latents = images_BRHW[:, :1, ::2, ::2]
        return type("Encoded", (), {"latent_dist": type("Distribution", (), {"mode": lambda _: latents})()})()


def test_both_conditions_are_dropped_together_and_every_frame_gets_the_image():
    clips = Clips(torch.zeros(9, 3, 1, 2, 2), torch.ones(9, 3, 4, 4), torch.ones(9, 1, 5), 10.0 * torch.arange(9))
    chosen_B = torch.arange(9).repeat(40)
    images, contexts, ids = draw_conditions(Halves(), clips, chosen_B, torch.Generator().manual_seed(0))
    with_image_B = images.abs().amax(dim=(1, 2, 3, 4)) > 0
    assert images.shape == (360, 3, 1, 2, 2)
    assert (images == images[:, :1]).all()
    assert torch.equal(with_image_B, contexts.amax(dim=(1, 2)) > 0)
    assert 0.85 < with_image_B.float().mean() < 0.95
    assert torch.equal(ids[:, 1], clips.buckets_N[chosen_B])
    assert set(ids[:, 0].tolist()) == {4, 5, 6, 7, 8, 9}  # fps - 1


def _stage(model, steps, stop_at=None):
    def loss(step):
        if step == stop_at:
            raise KeyboardInterrupt
        inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        return (model(inputs) - inputs.sum(dim=1, keepdim=True)).square().mean()

    return Stage("line", model, loss, steps, learning_rate=0.1, warmup=3)


@given(stop_at=st.integers(1, 11), log_every=st.integers(1, 4))
@settings(max_examples=10)
def test_a_resumed_training_is_the_same_training(tmp_path_factory, stop_at, log_every):
    models, logs = [], []
    for stops in ((None,), (stop_at, None)):
        folder = tmp_path_factory.mktemp("fit")
        for stop in stops:
            torch.manual_seed(0)
            model = nn.Linear(3, 1)
            try:
                fit(_stage(model, 12, stop), folder, save_every=0, log_every=log_every)
            except KeyboardInterrupt:
                assert stop == stop_at
        models.append(model)
        logs.append([row[:3] for row in read_log(folder / "line.csv")])
    torch.testing.assert_close(models[0].weight, models[1].weight, atol=0, rtol=0)
    assert logs[0] == logs[1]
    assert logs[0][-1][1] == 12


def test_training_makes_a_folder_that_the_stock_pipeline_loads(tmp_path):
    from diffusers import StableVideoDiffusionPipeline

    architecture = Architecture(frames=2, unet_channels=(32, 32))
    recipe = Recipe(
        clips=2, vae_steps=1, vae_batch=2, decoder_steps=1, decoder_batch=1, unet_steps=2, unet_batch=2, save_every=1e9
    )
    pipeline = train(recipe, tmp_path / "work", architecture)
    again = train(recipe, tmp_path / "work", architecture)  # finds everything done
    for name, value in pipeline.unet.state_dict().items():
        torch.testing.assert_close(value, again.unet.state_dict()[name], atol=0, rtol=0)
    with pytest.raises(longtake.LongtakeError, match="clips=2, not 3"):
        train(replace(recipe, clips=3), tmp_path / "work", architecture)
    export(pipeline, recipe, tmp_path / "work", tmp_path / "out", cases=2)
    loaded = StableVideoDiffusionPipeline.from_pretrained(tmp_path / "out")
    assert (tmp_path / "work" / "sheet-00002.png").exists()
    assert loaded.unet.config.num_frames == 2
    assert "2 frames" in (tmp_path / "out" / "card.md").read_text()


def test_the_command_is_offered_without_loading_models():
    cli = click.Group()
    commands.longtake_register_commands(cli)
    assert "train" in cli.commands["prove"].commands
    listing = "import sys, longtake.plugins.proving.commands; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", listing], check=False).returncode == 0


# What is embedded


@pytest.fixture(scope="module")
def embedded():
    from diffusers import StableVideoDiffusionPipeline

    pipeline = StableVideoDiffusionPipeline.from_pretrained(EMBEDDED)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_the_embedded_model_is_small():
    assert sum(path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file()) < 12e6


def test_the_embedded_model_has_the_classes_and_the_scheduler_of_svd(embedded):
    assert type(embedded.unet).__name__ == "UNetSpatioTemporalConditionModel"
    assert type(embedded.vae).__name__ == "AutoencoderKLTemporalDecoder"
    assert type(embedded.image_encoder).__name__ == "CLIPVisionModelWithProjection"
    assert embedded.unet.config.num_frames == 14
    assert embedded.unet.config.in_channels == 2 * embedded.vae.config.latent_channels
    assert not embedded.vae.config.force_upcast
    config = embedded.scheduler.config
    assert (config.prediction_type, config.timestep_type, config.timestep_spacing) == (
        "v_prediction",
        "continuous",
        "leading",
    )
    assert config.use_karras_sigmas
    assert (config.sigma_min, config.sigma_max) == (0.002, 80.0)


def test_the_embedded_model_moves_as_told(embedded):
    scene = comet(HELD_OUT_SEED + 4, speed=0.6)
    case = compare(scene, generate(embedded, scene, seed=0, steps=12, guidance=1.0))
    assert 0.6 < case.speed_ratio < 1.4
    assert case.direction_error < 30
    assert case.faintest > 0.4


def test_the_embedded_decoder_mixes_in_time(embedded):
    latents = torch.randn(4, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = embedded.vae.decode(latents, num_frames=4).sample
        alone = embedded.vae.decode(latents, num_frames=1).sample
    assert (together - alone).abs().max() > 0.05


def test_the_card_says_what_the_log_says():
    with (EMBEDDED / "training.csv").open(newline="") as file:
        last = {row["stage"]: row for row in csv.DictReader(file)}
    card = (EMBEDDED / "card.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (vae|decoder|unet) \| (\d+) \| ([\d.]+) \| (\d+) \|$", card, flags=re.MULTILINE)
    assert [line[0] for line in lines] == list(last)
    for stage, steps, loss, seconds in lines:
        assert int(steps) == int(last[stage]["step"])
        assert float(loss) == float(last[stage]["loss"])
        assert float(seconds) == round(float(last[stage]["seconds"]))
