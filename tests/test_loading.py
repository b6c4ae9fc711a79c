"""What loading a model does to the process around it, which is nothing: other loads, other threads, bars, warnings."""

from __future__ import annotations

import logging
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import huggingface_hub.utils as hub
import pytest
import torch
from diffusers.utils import logging as of_diffusers
from original_layout import Original, reduced_parts, save
from transformers.utils import logging as of_transformers

from longtake import generate, load_model
from longtake.core import model
from longtake.core.errors import ModelError
from longtake.core.loading import LIBRARIES, loading


def state():
    """Return whatever of the libraries' settings a load changes."""
    levels = [logging.getLogger(name).level for name in LIBRARIES]
    bars = [library.is_progress_bar_enabled() for library in (of_diffusers, of_transformers)]
    return levels, bars, hub.are_progress_bars_disabled(), list(warnings.filters), torch.get_default_dtype()


@pytest.fixture
def settings():
    """What may be changed, and is put back."""
    levels, (diffusers, transformers), hub_off, *_ = state()
    yield
    for name, level in zip(LIBRARIES, levels, strict=True):
        logging.getLogger(name).setLevel(level)
    for library, on in ((of_diffusers, diffusers), (of_transformers, transformers)):
        (library.enable_progress_bar if on else library.disable_progress_bar)()
    (hub.disable_progress_bars if hub_off else hub.enable_progress_bars)()


@pytest.mark.parametrize("on", [True, False])
def test_nothing_is_shown_and_what_the_user_had_set_stays(tiny_folder, settings, capfd, on):
    for library in (of_diffusers, of_transformers):
        (library.enable_progress_bar if on else library.disable_progress_bar)()
        library.set_verbosity_info() if on else library.set_verbosity_error()
    (hub.enable_progress_bars if on else hub.disable_progress_bars)()
    before = state()
    load_model(str(tiny_folder), device="cpu", dtype="float16")  # of which diffusers warns on a CPU
    generate("example", model=str(tiny_folder), frames=2, steps=1, width=32, height=24)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(tiny_folder), device="cpu", variant="other")
    assert capfd.readouterr() == ("", "")
    assert state() == before
    with loading():
        assert hub.are_progress_bars_disabled() != on  # those of downloads are as the user has them
        assert not of_diffusers.is_progress_bar_enabled()
        assert not of_transformers.is_progress_bar_enabled()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_two_loads_at_once_wait_for_each_other(tiny_folder, tmp_path, monkeypatch, kind):
    name, asked = tiny_folder, {"device": "cpu"}
    if kind == "file":
        name, asked = (
            save(Original.of(**reduced_parts()), tmp_path / "svd.safetensors"),
            {"device": "cpu", "trained": 4},
        )
    both, outside, inside = threading.Barrier(2), threading.Barrier(2), []
    where = "_load_pipeline" if kind == "folder" else "load_single_file"
    stock, read = getattr(model, where), model.read_facts

    def alone(*given, **more):
        inside.append(threading.get_ident())
        with pytest.raises(threading.BrokenBarrierError):
            both.wait(0.5)  # the other one, who has set out, does not come in
        both.reset()
        made = stock(*given, **more)
        assert inside.pop() == threading.get_ident()
        return made

    def together(*given):
        outside.wait(30)
        return read(*given)

    monkeypatch.setattr(model, where, alone)
    monkeypatch.setattr(model, "read_facts", together)
    with ThreadPoolExecutor(2) as pool:
        loaded = [each.result() for each in [pool.submit(load_model, name, **asked) for _ in range(2)]]
    first, second = (each.pipeline.unet.state_dict() for each in loaded)
    assert all(torch.equal(weight, second[key]) and not weight.is_meta for key, weight in first.items())


def test_torchs_default_precision_is_left_alone_since_it_is_that_of_other_threads(tiny_folder, monkeypatch):
    changed, stock = [], torch.set_default_dtype
    monkeypatch.setattr(torch, "set_default_dtype", lambda dtype: (changed.append(dtype), stock(dtype)))
    loaded = load_model(str(tiny_folder), device="cpu", dtype="float16").pipeline
    assert changed == []
    parts = (loaded.unet, loaded.vae, loaded.image_encoder)
    assert {weight.dtype for part in parts for weight in part.parameters()} == {torch.float16}
    with loading(), ThreadPoolExecutor(1) as pool:
        pool.submit(torch.set_default_dtype, torch.float32).result()  # of another thread, which may
    assert changed == [torch.float32]
