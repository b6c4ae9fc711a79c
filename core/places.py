"""Where the files of a model are: in the package, in a folder, or on the model hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .checkpoint.contents import path_of
from .checkpoint.folder import read_config, seems_folder
from .config import EMBEDDED
from .errors import ModelError, first_line


def embedded_model() -> Path:
    """Return the folder of the small model that ships with longtake."""
    return Path(__file__).parent / "embedded"


def folder_of(name: str) -> Path | None:
    """Return the local folder that a name means, or None for a name on the hub.

    Raises:
        ModelError: it can be neither.

    """
    if name == EMBEDDED:
        return embedded_model()
    path = path_of(name)
    if path.is_dir():
        return path
    if name.count("/") != 1 or name.startswith((".", "~", "/")) or name.endswith("/"):
        raise ModelError(
            f"model folder {name!r} does not exist; give a diffusers folder, a single .safetensors file, a "
            f"name on the model hub such as stabilityai/stable-video-diffusion-img2vid-xt, or {EMBEDDED!r}"
        )
    return None


def read_json(name: str, file: str) -> dict[str, Any]:
    """Return the settings in a file of a model's folder or repository.

    Raises:
        ModelError: it is not there, or holds none.

    """
    folder = folder_of(name)
    path = folder / file if folder else hub_file(name, file)
    if folder and not path.exists() and not path.is_symlink():
        raise ModelError(
            f"model folder {name!r} is no SVD in diffusers' layout: it has no {file}{seems_folder(folder)}"
        )
    try:
        return read_config(path)
    except ValueError as fault:
        raise ModelError(f"model {name!r}: {file} {fault}") from None


def hub_file(name: str, file: str) -> Path:
    """Return where a file of a repository on the hub is in its cache, fetched if need be.

    Raises:
        ModelError: it cannot be had; the message says how to fetch it.

    """
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, file))
    except Exception as error:  # the hub's client raises its own, the HTTP library's and OSError
        raise ModelError(
            f"model {name!r} is no local folder and could not be downloaded from the model hub: {first_line(error)}"
            f"{hub_hint(name)}"
        ) from None


def hub_hint(name: str) -> str:
    """Return what to do where a name on the hub cannot be had, in lines of their own."""
    from huggingface_hub import constants

    offline = "HF_HUB_OFFLINE forbids the network; without it" if constants.HF_HUB_OFFLINE else "with a network"
    return (
        f"\nit is looked for in the hub's cache, {constants.HF_HUB_CACHE}, first; {offline}, this fetches it:"
        f" hf download {name}\nif the model is gated, accept its licence on its page and log in with: hf auth login"
    )
