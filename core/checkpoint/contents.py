"""A single file of weights: what is in it, read without its weights, and why it cannot be used where it cannot."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..errors import ModelError, first_line
from .layout import UNET, VAE, VISUAL

SAFE = ".safetensors"
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
HEADER_MOST = 100_000_000  # bytes, as in safetensors' own reader
NAMED = 3  # keys in an error, of however many

PARTS = {UNET: "the UNet", VAE: "the VAE", VISUAL: "the image encoder"}
# How keys look → what a file holds that has such keys and is no SVD; the first that fits.
SEEMS = {
    r"lora[_.]": "a LoRA, which changes a model and is none",
    r"control_model\.|controlnet": "a ControlNet",
    r"motion_modules\.": "a motion module for image models",
    r"^(down|mid|up)_block.*\.temporal_": "the UNet of an SVD in diffusers' layout, which belongs into a folder",
    r"^input_blocks\..*\.time_stack\.": "the UNet of an SVD by itself",
    r"^model\.diffusion_model\.input_blocks\.": "a Stable Diffusion for images",
    r"^(encoder|decoder)\.": "a VAE by itself",
    r"^vision_model\.|^visual\.": "an image encoder by itself",
}
# How a file begins that is no safetensors file → what it is.
BEGINNINGS = {
    b"version https://git-lfs": "is a pointer of Git LFS and not the file itself; fetch that with: git lfs pull",
    b"<": "is a web page, as one gets where a licence has to be accepted or one has to log in first; download it again",
    b"PK\x03\x04": "",
    b"\x80\x02": "",
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a file of weights says of itself.

    Attributes:
        name: as asked for.
        path: of the file.
        shapes: of its tensors, by key.

    """

    name: str
    path: Path
    shapes: dict[str, tuple[int, ...]]

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of a tensor that has to be there.

        Raises:
            ModelError: it is not.

        """
        if key not in self.shapes:
            raise ModelError(
                f"checkpoint {self.name!r} is no whole SVD: it has no {key}; whether more is missing shows once that is"
                " there"
            )
        return self.shapes[key]

    def under(self, prefix: str) -> list[str]:
        """Return the keys that begin so, in the order of the file."""
        return [key for key in self.shapes if key.startswith(prefix)]

    def count(self, pattern: str) -> int:
        """Return one more than the highest number that a pattern's group finds at the beginning of the keys."""
        found = (re.match(pattern, key) for key in self.shapes)
        return 1 + max((int(match[1]) for match in found if match), default=-1)


def checkpoint_file(name: str) -> Path | None:
    """Return the file that a name of a model means, or None where it means a folder or a name on the hub."""
    path = Path(name).expanduser()
    if path.is_dir():
        return None
    return path if path.is_file() or path.suffix.lower() in (SAFE, *PICKLES) else None


def open_checkpoint(name: str, path: Path) -> Checkpoint:
    """Read what a file holds, without its weights.

    Raises:
        ModelError: it is not there, no safetensors file, not whole, or holds something other than a whole SVD.

    """
    if not path.exists():
        raise ModelError(f"checkpoint {name!r} does not exist")
    if path.suffix.lower() in PICKLES:
        raise ModelError(f"checkpoint {name!r} {refusal_of_pickle(path)}")
    try:
        with safe_open(path, "np") as file:  # torch would ask for as much address space as the whole file has
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"checkpoint {name!r} {_fault(path, error)}") from None
    checkpoint = Checkpoint(name, path, shapes)
    _check_parts(checkpoint)
    return checkpoint


def refusal_of_pickle(path: Path) -> str:
    """Say why a pickle is never loaded, and how to make something of it that is."""
    # transformers calls its weights otherwise where they are safe; and what is only named so must not be written over.
    name = path.stem.replace("pytorch_model", "model") if path.stem.startswith("pytorch_model") else path.stem
    names = chain([f"{name}{SAFE}", f"{name}-converted{SAFE}"], (f"{name}-converted-{n}{SAFE}" for n in count(2)))
    target = next(each for each in map(path.with_name, names) if not os.path.lexists(each))
    code = (
        "import os, sys, torch; from safetensors.torch import save_file; _, source, target = sys.argv; "
        'os.path.lexists(target) and sys.exit(target + " is there already"); '
        'w = torch.load(source, map_location="cpu", weights_only=True); w = w.get("state_dict", w); '
        "save_file({k: v.contiguous().clone() for k, v in w.items() if torch.is_tensor(v)}, target)"
    )
    words = ["python", "-c", code, str(path), str(target)]
    return (
        "is a pickle, which may run any code when it is read, and is never loaded; this converts it, reading nothing"
        f" but its weights:\n{subprocess.list2cmdline(words) if os.name == 'nt' else shlex.join(words)}"
    )


def _fault(path: Path, error: Exception) -> str:
    """Return what is wrong with a file that the library does not take for one of safetensors."""
    try:
        with path.open("rb") as file:
            beginning = file.read(64)
            length = int.from_bytes(beginning[:8], "little")
            file.seek(8)
            header = file.read(min(length, HEADER_MOST))
        size = path.stat().st_size
    except OSError as unread:
        return f"cannot be read: {unread.strerror}"
    for known, said in BEGINNINGS.items():
        if beginning.startswith(known):
            return said or refusal_of_pickle(path)
    whole = 8 + length
    try:
        whole += max(entry["data_offsets"][1] for key, entry in json.loads(header).items() if key != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = whole if beginning[8:9] == b"{" and length <= HEADER_MOST else 0
    if size < whole:
        return f"is cut off: of {whole} bytes {size} are there; download or copy it again"
    return f"is no safetensors file: {first_line(error)}"


def _check_parts(checkpoint: Checkpoint) -> None:
    """Refuse what is no SVD, or only a part of one, and say what it seems to be."""
    name, keys = checkpoint.name, list(checkpoint.shapes)
    there = {prefix: bool(checkpoint.under(prefix)) for prefix in PARTS}
    in_time = any(".time_stack." in key for key in checkpoint.under(UNET))
    if (there[UNET] and not in_time) or not any(there.values()):
        kind = next((said for pattern, said in SEEMS.items() if any(re.search(pattern, key) for key in keys)), "")
        seems = kind or (f"something else: {some_of(keys)}" if keys else "nothing")
        raise ModelError(
            f"checkpoint {name!r} holds no SVD in the original layout; it seems to hold {seems}. What is needed is a"
            f" whole one, such as svd_xt.safetensors"
        )
    missing = [part for prefix, part in PARTS.items() if not there[prefix]]
    if missing:
        has = " and ".join(part for prefix, part in PARTS.items() if there[prefix])
        raise ModelError(
            f"checkpoint {name!r} holds only {has} of an SVD, without {' and '.join(missing)}; what is needed is a"
            f" whole one, such as svd_xt.safetensors"
        )
    if not any(".time_stack." in key for key in checkpoint.under(f"{VAE}decoder.")):
        raise ModelError(
            f"checkpoint {name!r} has a VAE that decodes each frame by itself, as in svd_image_decoder.safetensors; the"
            f" one that decodes them together is in svd.safetensors and svd_xt.safetensors"
        )


def all_of(keys: list[str]) -> str:
    """Return all of some keys, each on a line of its own where they are many."""
    return ", ".join(keys) if len(keys) <= NAMED else "".join(f"\n  {key}" for key in keys) + "\n"


def some_of(keys: list[str]) -> str:
    """Return the first few of many keys, and how many more there are."""
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(keys[:NAMED]) + more
