"""Fixtures of pytest for authors of plugins; pytest finds them wherever longtake is installed.

Everything is imported when a fixture is asked for, so that tests of other things do not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torch import Tensor

    from .contracts import Span
    from .model import Model
    from .testing import PerfectDenoiser


@pytest.fixture(scope="session")
def tiny_svd() -> Model:
    """Return an SVD of a few thousand random weights, as if trained on 4 frames; its videos are noise, made at once."""
    from .model import Model
    from .tiny import tiny_pipeline

    return Model.of(tiny_pipeline())


@pytest.fixture(scope="session")
def perfect_denoiser() -> Callable[[Tensor], PerfectDenoiser]:
    """Return what makes a denoiser that knows the answer: with it the loop makes that, whatever the noise."""
    from .testing import PerfectDenoiser

    return PerfectDenoiser


@pytest.fixture(scope="session")
def long_spans() -> list[Span]:
    """Return spans longer than the trained length, awkward ones, at the beginning, within and at the end."""
    from .testing import TRAINED, spans

    return [span for trained in TRAINED for span in spans(trained, stretched=True)]
