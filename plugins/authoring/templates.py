"""What a new package begins with: for each kind a small strategy that works, with one option.

``{Class}`` and ``{name}`` stand for the names of class and strategy.
"""

from __future__ import annotations

POSITIONAL = '''
import longtake


class {Class}(longtake.PositionalStrategy):
    """Go through the trained positions more slowly, by a power of the stretch."""

    name = "{name}"
    strength: float = Field(default=1.0, ge=0, le=2, description="Power of the stretch; 0 changes nothing.")

    def positions(self, frames_F, span):
        """Return a position for each frame, (F,); with nothing to stretch, as they are."""
        if span.stretch == 1:
            return frames_F
        return frames_F / span.stretch**self.strength
'''

ATTENTION = '''
import torch

import longtake


class {Class}(longtake.AttentionStrategy):
    """Let each frame see its neighbours, and everyone the first frame."""

    name = "{name}"
    radius: int = Field(default=7, ge=1, description="Neighbours seen on each side.")

    def mask(self, span):
        """Return (F, F), True where the row's frame sees the column's; None where all see all."""
        if span.frames <= span.trained:
            return None
        frames_F = torch.arange(span.frames)
        return ((frames_F[:, None] - frames_F[None, :]).abs() <= self.radius) | (frames_F == 0)
'''

NOISE = '''
import torch

import longtake


class {Class}(longtake.NoiseSchedule):
    """Let all frames start from the same few frames of noise, there and back."""

    name = "{name}"
    fresh: int = Field(default=14, ge=2, description="Frames of noise that are drawn.")

    def sources(self, span, generator):
        """Return which frame of fresh noise each frame starts from, (F,)."""
        turn_F = torch.arange(span.frames) % (2 * self.fresh - 2)
        return turn_F.minimum(2 * self.fresh - 2 - turn_F)
'''

GUIDANCE = '''
import torch

import longtake


class {Class}(longtake.GuidanceSchedule):
    """Guide ever more from the first frame to the last, slowly at first."""

    name = "{name}"
    most: float = Field(default=3.0, ge=1, description="Scale at the last frame.")

    def scales(self, span):
        """Return one scale for each frame, (F,); 1 is no guidance."""
        return 1 + (self.most - 1) * torch.linspace(0, 1, span.frames) ** 2
'''

SIGMAS = '''
import math

import torch

import longtake


class {Class}(longtake.SigmaSchedule):
    """Fall by the same factor in every step, down to the lowest level that is wanted."""

    name = "{name}"
    lowest: float = Field(default=0.01, gt=0, lt=1, description="The last level before 0.")

    def sigmas(self, steps, sigma_min, sigma_max):
        """Return falling noise levels and a final 0, (steps + 1,)."""
        levels_S = torch.logspace(math.log10(sigma_max), math.log10(max(self.lowest, sigma_min)), steps)
        return torch.cat([levels_S, torch.zeros(1)])
'''

MOTION = '''
import torch

import longtake


class {Class}(longtake.MotionSchedule):
    """Ask for more motion towards the end."""

    name = "{name}"
    last: float = Field(default=2.0, ge=0, le=10, description="Times the motion bucket at the last frame.")

    def buckets(self, motion_bucket, span):
        """Return the motion bucket of each frame, (F,)."""
        return motion_bucket * torch.linspace(1, self.last, span.frames)
'''

CONTEXT = '''
import longtake
from longtake.core.windows import fused_weights, window_starts


class {Class}(longtake.ContextStrategy):
    """Let the UNet see windows of the trained length that share some frames."""

    name = "{name}"
    shared: float = Field(default=0.5, gt=0, lt=1, description="Share of a window that the next one has too.")

    def windows(self, span):
        """Return overlapping windows whose weights sum to one in each frame; None = all frames together."""
        if span.frames <= span.trained:
            return None
        stride = max(1, round(span.trained * (1 - self.shared)))
        starts = window_starts(span.frames, span.trained, stride)
        return longtake.Windows(span.trained, starts, fused_weights(span.frames, span.trained, starts))
'''

SAMPLING = '''
import torch

import longtake


class {Class}(longtake.SamplingStrategy):
    """Denoise several times from other noise, and take the mean."""

    name = "{name}"
    times: int = Field(default=2, ge=1, le=10, description="How often.")

    def frames_denoised(self, span):
        """Return all frames, as often as they are denoised."""
        return self.times * span.frames

    def sample(self, sampler, noise_BFCYX):
        """Return the latents of the whole video."""
        others = [sampler(sampler.fresh(noise_BFCYX)) for _ in range(self.times - 1)]
        return torch.stack([sampler(noise_BFCYX), *others]).mean(0)
'''

STRATEGIES = {
    "positional": POSITIONAL,
    "attention": ATTENTION,
    "context": CONTEXT,
    "sampling": SAMPLING,
    "noise": NOISE,
    "guidance": GUIDANCE,
    "sigmas": SIGMAS,
    "motion": MOTION,
}

MODULE = '''"""{summary}"""
{imports}

@longtake.hookimpl
def longtake_register_strategies(register):
    """Offer the strategy to configs."""
    register({Class})
'''

PYPROJECT = """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{package}"
version = "0.1.0"
description = "{summary}"
readme = "README.md"
requires-python = ">=3.11"
# The versions of longtake that this supports; with another one it is not loaded, and longtake says why.
dependencies = ["longtake>={version}"]

[project.optional-dependencies]
dev = ["pytest>=8"]

[project.entry-points.longtake]
{name} = "{module}"

[tool.setuptools]
py-modules = ["{module}"]
"""

TEST = '''"""The strategy does what longtake asks of one, and a video can be made with it."""

import torch

import longtake
from longtake.testing import check_strategy
from {module} import {Class}


def test_it_does_what_is_asked_of_its_kind():
    check_strategy({Class}())


def test_a_video_is_made_with_it(tiny_svd):
    strategy = longtake.load_plugins().registry.build("{kind}", "{name}")
    assert isinstance(strategy, {Class})
    made = longtake.generate("example", model=tiny_svd, frames=9, width=32, height=24, steps=2, seed=1, {kind}=strategy)
    assert made.frames.shape == (9, 24, 32, 3)
    assert torch.isfinite(made.latents).all()
'''

README = """# {package}

{summary}

A plugin of longtake: its {kind} strategy `{name}`.

In the environment where longtake is installed:

```bash
python -m pip install -e '.[dev]'
longtake strategies --kind {kind}
longtake plan --frames 56 --{kind} {name} -o plan.png
longtake generate example --frames 56 --{kind} {name} -o out.mp4
python -m pytest
```
"""
