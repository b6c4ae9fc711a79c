"""The record beside an output: what was asked, with what it was made, and the command that makes it again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .config import STRATEGY_KINDS, Config
from .errors import OutputError
from .video import sidecar_path

if TYPE_CHECKING:
    from .run import Run

PACKAGES = ("torch", "diffusers", "transformers", "numpy", "pillow", "imageio", "av")


def record(run: Run, plugins: dict[str, str]) -> dict[str, Any]:
    """Return all that is needed to make a run again and to know what it was made with.

    Args:
        run: finished.
        plugins: name → version of the third-party plugins that were loaded.

    """
    source = run.config.image
    path = Path(source) if source else None
    return {
        "longtake_version": version("longtake"),
        "command": command(run.config, run.output, plugins) if run.output else None,
        "config": run.config.dump(),
        "seed": run.config.seed,
        "image_sha256": hashlib.sha256(path.read_bytes()).hexdigest() if path and path.is_file() else None,
        "seconds": {part: round(seconds, 3) for part, seconds in run.timings.items()},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "plugins": plugins,
        "machine": {"system": platform.platform(), "device": device_name(run.model.device)}
        | {"threads": torch.get_num_threads()},
    }


def device_name(device: torch.device) -> str:
    """Return what a person calls a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine() if device.type == "cpu" else device.type


def write_record(output: Path, data: dict[str, Any]) -> Path:
    """Write a record beside an output, whole or not at all, and return where."""
    path = sidecar_path(output)
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    try:
        part.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)
    return path


def command(config: Config, output: Path, plugins: dict[str, str]) -> str | None:
    """Return the command line that makes a run again from any folder, or None if its image was never a file."""
    if config.image is None:
        return None
    absolute = {"image": config.image, "preview": config.preview}
    if Path(config.model).is_dir():
        absolute["model"] = config.model
    plain = config.dump() | {key: os.path.abspath(path) for key, path in absolute.items() if path}
    words = ["longtake", "generate", plain.pop("image"), "--output", os.path.abspath(output), "--overwrite"]
    if not plugins:
        words.append("--no-plugins")
    for key, value in plain.items():
        if value is None:
            continue
        option = "--" + key.replace("_", "-")
        if key in STRATEGY_KINDS:
            words += [option, value["name"]]
            for setting in _settings(key, value):
                words += ["--set", setting]
        else:
            words += [option, str(value)]
    return shlex.join(words)


def _settings(path: str, options: dict[str, Any]) -> list[str]:
    """Return ``path.option=value`` for every option of a strategy, those of a strategy inside it too."""
    settings = []
    for key, value in options.items():
        if key == "name":
            continue
        if isinstance(value, dict) and "name" in value:
            settings += [f"{path}.{key}={value['name']}", *_settings(f"{path}.{key}", value)]
        else:
            settings.append(f"{path}.{key}={json.dumps(value)}")
    return settings
