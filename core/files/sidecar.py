"""The record beside an output: what was asked, with what it was made, and the command that makes it again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..config import EMBEDDED, STRATEGY_KINDS, Config
from ..contracts import Strategy
from ..documents import on_one_line
from .sources import strategy_files
from .video import sidecar_path
from .whole import whole_file

if TYPE_CHECKING:
    from ..run import Run

PACKAGES = ("torch", "diffusers", "transformers", "numpy", "pillow", "imageio", "av")


def record(run: Run, plugins: dict[str, str]) -> dict[str, Any]:
    """Return all that is needed to make a run again and to know what it was made with.

    Args:
        run: finished.
        plugins: name → version of the third-party plugins that were loaded.

    """
    config = with_absolute_paths(run.config)
    return {
        "longtake_version": version("longtake"),
        "command": command(config, run.output, plugins) if run.output else None,
        "config": config.dump(),
        "seed": config.seed,
        "sha256": run.sha256,
        "seconds": {part: round(seconds, 3) for part, seconds in run.timings.items()},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "plugins": plugins,
        "machine": {"system": platform.platform(), "device": device_name(run.model.device)}
        | {"threads": torch.get_num_threads()},
    }


def digests(config: Config) -> dict[str, str]:
    """Return the SHA-256 of each file that a video is made from, apart from the model, by absolute path."""
    named = [config.image, config.end_image, config.continues]
    named += [str(path) for kind in STRATEGY_KINDS for path in strategy_files(getattr(config, kind))]
    found = {}
    for path in filter(None, named):
        with suppress(OSError):  # whatever reads it will say so
            if os.path.exists(path):
                found[os.path.abspath(path)] = digest(Path(path))
    return found


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the files of a folder, one after another by their names."""
    parts = sorted(path.iterdir()) if path.is_dir() else [path]
    total = hashlib.sha256()
    for part in parts:
        if part.is_file():
            total.update(part.read_bytes())
    return total.hexdigest()


def device_name(device: torch.device) -> str:
    """Return what a person calls a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine() if device.type == "cpu" else device.type


def write_record(output: Path, data: dict[str, Any]) -> Path:
    """Write a record beside an output, whole or not at all, and return where."""
    path = sidecar_path(output)
    with whole_file(path, f"{path}, the record of {output} (which is written)") as part:
        text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
        # Names of files need not be UTF-8: what is not becomes an escape of JSON, which reads back as it was.
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def with_absolute_paths(config: Config) -> Config:
    """Return the config as it means the same from any folder."""
    paths = {key: getattr(config, key) for key in ("image", "preview", "end_image", "continues")}
    if config.model != EMBEDDED and Path(config.model).exists():
        paths["model"] = config.model
    absolute: dict[str, Any] = {key: os.path.abspath(path) for key, path in paths.items() if path}
    for kind in STRATEGY_KINDS:
        absolute[kind] = _absolute(getattr(config, kind))
    return config.model_copy(update=absolute)


def _absolute(value: Any) -> Any:
    """Return an option of a strategy with the paths in it, at any depth, as they mean the same from any folder."""
    if isinstance(value, Path):
        return Path(os.path.abspath(value))
    if isinstance(value, Strategy) and any(strategy_files(value)):
        return value.model_copy(update={key: _absolute(each) for key, each in value})
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(map(_absolute, value))
    return {key: _absolute(each) for key, each in value.items()} if isinstance(value, dict) else value


def command(config: Config, output: Path, plugins: dict[str, str]) -> str | None:
    """Return the command line that makes a run again, or None if its image was never a file."""
    if config.image is None and config.continues is None:
        return None
    words = [
        "longtake",
        "generate",
        *([config.image] if config.image else []),
        "--output",
        os.path.abspath(output),
        "--overwrite",
    ]
    if not plugins:
        words.append("--no-plugins")
    if config.device == "cpu":  # sums over another number of threads are rounded otherwise
        words += ["--threads", str(torch.get_num_threads())]
    for key, value in config.dump().items():
        if value is None or key == "image":
            continue
        option = "--" + key.replace("_", "-")
        if key in STRATEGY_KINDS:
            words += [option, value["name"]]
            for setting in _settings(key, value):
                words += ["--set", setting]
        elif isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        else:
            words.append(f"{option}={value}" if str(value).startswith("-") else option)
            words += [] if str(value).startswith("-") else [str(value)]
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
            settings.append(f"{path}.{key}={on_one_line(value)}")
    return settings
