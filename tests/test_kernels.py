"""Kernels of Triton for a GPU: what they compute, seen without one, and where they serve."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from longtake.core.engine import fused

linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no Triton for other systems")


@linux
def test_what_kernels_compute_is_what_pytorch_does():
    path = Path(__file__).with_name("kernels_interpreted.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert re.search(r"^7 passed", done.stdout, re.MULTILINE), done.stdout[-3000:]


def test_on_a_cpu_pytorch_serves():
    assert fused.kernels_for(torch.zeros(2, 3, 4)) is None


def stand_in(**other) -> SimpleNamespace:
    """Return what looks like states on a GPU."""
    known = {"is_cuda": True, "dtype": torch.float16, "device": torch.device("cuda:0"), "shape": (2, 5, 8)}
    return SimpleNamespace(**known | {"stride": lambda _: 1} | other)


def test_kernels_serve_on_a_gpu_what_they_are_made_for(monkeypatch):
    asked = []
    monkeypatch.setattr(fused, "_kernels", lambda *what: asked.append(what) or fused)
    assert fused.kernels_for(stand_in()) is fused
    assert asked == [(torch.device("cuda:0"), torch.float16)]
    for other in (
        {"is_cuda": False},
        {"dtype": torch.float64},
        {"stride": lambda _: 2},
        {"shape": (2, fused.MOST_PIXELS + 1, 8)},
    ):
        assert fused.kernels_for(stand_in(**other)) is None
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert fused.kernels_for(stand_in()) is None


@linux
def test_where_triton_does_not_run_it_is_said_once_and_pytorch_serves(caplog, monkeypatch):
    from longtake.core.engine import kernels

    def refuse(device, dtype):
        raise RuntimeError("no C compiler")

    monkeypatch.setattr(kernels, "probe", refuse)
    fused._kernels.cache_clear()
    for _ in range(2):
        assert fused._kernels(torch.device("cuda:0"), torch.float16) is None
    assert [record.getMessage() for record in caplog.records] == [
        "kernels of Triton do not run on cuda:0 in torch.float16, PyTorch's operators do: no C compiler"
    ]
    fused._kernels.cache_clear()


def test_without_triton_nothing_is_said(caplog, monkeypatch):
    fused._kernels.cache_clear()
    monkeypatch.setattr(fused, "find_spec", lambda _: None)
    assert fused._kernels(torch.device("cuda:0"), torch.float16) is None
    assert not caplog.records
    fused._kernels.cache_clear()
