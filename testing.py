"""For tests of plugins: the contract of each kind of strategy as a check, and what checks need.

With longtake installed, pytest also has the fixtures ``tiny_svd``, ``perfect_denoiser`` and ``long_spans``.
"""

from .core.testing import (
    PerfectDenoiser,
    check_attention,
    check_context,
    check_guidance,
    check_motion,
    check_noise,
    check_positional,
    check_sampling,
    check_sigmas,
    check_strategy,
    example_options,
    spans,
)

__all__ = [
    "PerfectDenoiser",
    "check_attention",
    "check_context",
    "check_guidance",
    "check_motion",
    "check_noise",
    "check_positional",
    "check_sampling",
    "check_sigmas",
    "check_strategy",
    "example_options",
    "spans",
]
