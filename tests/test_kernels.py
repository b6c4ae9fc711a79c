"""Kernels of Triton for a GPU: what they compute, seen without one, and where they serve."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

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
    assert re.search(r"^5 passed", done.stdout, re.MULTILINE), done.stdout[-3000:]


def test_on_a_cpu_pytorch_serves():
    assert fused.kernels_for(torch.zeros(2, 3, 4)) is None


@linux
def test_where_triton_does_not_run_it_is_said_once_and_pytorch_serves(caplog):
    fused._kernels.cache_clear()
    for _ in range(2):
        assert fused._kernels(torch.device("meta")) is None
    said = [record.getMessage().split(":")[0] for record in caplog.records]
    assert said == ["kernels of Triton do not run here, PyTorch's operators do"]
    fused._kernels.cache_clear()


def test_without_triton_nothing_is_said(caplog, monkeypatch):
    fused._kernels.cache_clear()
    monkeypatch.setattr(fused, "find_spec", lambda _: None)
    assert fused._kernels(torch.device("meta")) is None
    assert not caplog.records
    fused._kernels.cache_clear()
