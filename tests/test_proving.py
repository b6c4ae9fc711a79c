"""The small model: its training can be resumed, its card agrees with its log."""

import csv
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import longtake
from longtake.core.places import embedded_model
from longtake.plugins.proving import commands
from longtake.plugins.proving.architecture import Architecture, scheduler
from longtake.plugins.proving.check import measure_pipeline
from longtake.plugins.proving.clips import KINDS, Clips
from longtake.plugins.proving.export import export
from longtake.plugins.proving.fit import Stage, fit, read_log
from longtake.plugins.proving.machine import commit, machine
from longtake.plugins.proving.recipe import Recipe
from longtake.plugins.proving.train import draw_conditions, draw_sigmas, train

EMBEDDED = Path(longtake.__file__).parent / "core" / "embedded"

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

    device = torch.device("cpu")

    def encode(self, images_BRHW):
        latents = images_BRHW[:, :1, ::2, ::2]
        return type("Encoded", (), {"latent_dist": type("Distribution", (), {"mode": lambda _: latents})()})()


def test_both_conditions_are_dropped_together_and_every_frame_gets_the_image():
    rates, buckets = torch.arange(5.0, 14.0), 10.0 * torch.arange(9)
    clips = Clips(torch.zeros(9, 3, 1, 2, 2), torch.ones(9, 3, 4, 4), torch.ones(9, 1, 5), rates, buckets)
    chosen_B = torch.arange(9).repeat(40)
    images, contexts, ids = draw_conditions(Halves(), clips, chosen_B, torch.Generator().manual_seed(0))
    with_image_B = images.abs().amax(dim=(1, 2, 3, 4)) > 0
    assert images.shape == (360, 3, 1, 2, 2)
    assert (images == images[:, :1]).all()
    assert torch.equal(with_image_B, contexts.amax(dim=(1, 2)) > 0)
    assert 0.85 < with_image_B.float().mean() < 0.95
    assert torch.equal(ids[:, 1], clips.buckets_N[chosen_B])
    assert torch.equal(ids[:, 0], clips.rates_N[chosen_B] - 1)


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


@pytest.mark.slow
@pytest.mark.parametrize("size", [40])  # not the usual one
def test_training_makes_a_folder_that_the_stock_pipeline_loads(tmp_path, size):
    from diffusers import StableVideoDiffusionPipeline

    architecture = Architecture(frames=5, latent_size=size // 4, unet_channels=(32, 32), heads=(1, 1))
    recipe = Recipe(
        clips=2,
        vae_steps=1,
        vae_batch=2,
        decoder_steps=1,
        decoder_batch=1,
        unet_steps=2,
        unet_batch=2,
        size=size,
        save_every=1e9,
    )
    pipeline = train(recipe, tmp_path / "work", architecture)
    again = train(recipe, tmp_path / "work", architecture)  # finds everything done
    for name, value in pipeline.unet.state_dict().items():
        torch.testing.assert_close(value, again.unet.state_dict()[name], atol=0, rtol=0)
    with pytest.raises(longtake.LongtakeError, match="clips=2, not 3"):
        train(replace(recipe, clips=3), tmp_path / "work", architecture)
    export(pipeline, recipe, tmp_path / "work", tmp_path / "out", cases=1)
    loaded = StableVideoDiffusionPipeline.from_pretrained(tmp_path / "out")
    assert (tmp_path / "work" / "sheet-00002.png").exists()
    assert loaded.unet.config.num_frames == 5
    assert loaded.vae.config.sample_size == size
    card = (tmp_path / "out" / "card.md").read_text()
    assert "5 frames" in card
    assert f"Made from\ncommit {commit()}, {machine()}." in card


@pytest.mark.parametrize("size", [16, 33])
def test_a_size_that_does_not_fit_the_architecture_is_refused(size):
    with pytest.raises(longtake.LongtakeError, match=f"size must be a multiple of 8 from 32 on, got {size}"):
        Recipe(size=size)


def test_the_command_is_offered_without_loading_models():
    cli = click.Group()
    commands.longtake_register_commands(cli)
    assert "train" in cli.commands["prove"].commands
    listing = "import sys, longtake.plugins.proving.commands; sys.exit('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", listing], check=False).returncode == 0


# What is embedded


@pytest.fixture(scope="module")
def embedded():
    from diffusers import StableVideoDiffusionPipeline

    pipeline = StableVideoDiffusionPipeline.from_pretrained(EMBEDDED)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_the_embedded_model_is_small():
    assert sum(path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file()) < 14e6


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


def test_the_embedded_model_moves_as_told_in_every_world(embedded):
    """Of two held-out clips of each world, measured as the card measures, in the steps of the table."""
    cases = measure_pipeline(embedded, cases=2, steps=8, guidance=1.0)
    assert {case.clip.world.kind for case in cases} == set(KINDS)
    assert sum(case.score.valid for case in cases) >= 8
    assert all(case.score.persistence == 1 for case in cases)
    assert np.mean([case.score.error for case in cases]) < 1


def test_the_embedded_decoder_mixes_in_time(embedded):
    latents = torch.randn(4, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = embedded.vae.decode(latents, num_frames=4).sample
        alone = embedded.vae.decode(latents, num_frames=1).sample
    assert (together - alone).abs().max() > 0.05


def test_a_card_is_measured_again_and_the_rest_of_it_stays(tmp_path, monkeypatch):
    folder = shutil.copytree(EMBEDDED, tmp_path / "model")
    (folder / "card.md").write_text("# A model\n\nMade by hand.\n\n## Motion\n\nof another time\n")
    monkeypatch.setattr("longtake.plugins.proving.export.measure_pipeline", partial(measure_pipeline, steps=2))
    done = CliRunner().invoke(commands.prove, ["card", str(folder), "--cases", "1"])
    assert done.exit_code == 0, done.output
    card = (folder / "card.md").read_text()
    assert card.startswith("# A model\n\nMade by hand.\n\n## Motion\n\n1 held-out clips")
    assert f"`longtake prove card` at commit {commit()}, {machine()}." in card
    assert len(re.findall(r"^\| (1|3) \| (pan|zoom|orbit|comet|two) \| [01] of 1 \|", card, re.MULTILINE)) == 10
    assert "another time" not in card
    (folder / "card.md").unlink()
    with pytest.raises(longtake.LongtakeError, match=r"holds no model made by longtake prove train: it has no card.md"):
        raise CliRunner().invoke(commands.prove, ["card", str(folder)]).exception


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


def test_the_scheduler_is_that_of_the_models_folder_which_was_written_before():
    told = json.loads((embedded_model() / "scheduler" / "scheduler_config.json").read_text())
    known = dict(scheduler().config)
    assert {key: known[key] for key in told if not key.startswith("_")} == {
        key: value for key, value in told.items() if not key.startswith("_")
    }
