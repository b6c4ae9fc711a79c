"""Files that hold no SVD, or none that can be read: what they are, and what to use in their place."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import zipfile
from collections.abc import Iterable
from itertools import chain, count
from pathlib import Path

from ..errors import first_line
from ..readable import fault_of

SAFE = ".safetensors"
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
HEADER_MOST = 100_000_000  # bytes, as in safetensors' own reader
WHOLE = "what is needed is a whole SVD as safetensors, such as svd_xt.safetensors, or a diffusers folder"

# How keys look → what a file holds that has such keys and is no SVD; the first that fits.
SEEMS = {
    r"lora[_.]": "a LoRA, which changes a model and is none",
    r"control_model\.|controlnet": "a ControlNet",
    r"motion_modules\.": "a motion module for image models",
    r"^(down|mid|up)_block.*\.temporal_": "the UNet of an SVD in diffusers' layout, which belongs into a folder",
    r"^input_blocks\..*\.time_stack\.": "the UNet of an SVD by itself",
    r"^conditioner\.embedders\.1\.model\.": "a Stable Diffusion XL, for images",
    r"^model\.diffusion_model\.input_blocks\.": "a Stable Diffusion for images",
    r"^model\.diffusion_model\.(joint|double|transformer)_?blocks\.": "a transformer model of another family",
    r"^(double|single|transformer)_(transformer_)?blocks\.|^blocks\.": "a transformer model of another family",
    r"^down_blocks\.": "the UNet of an image model in diffusers' layout",
    r"^(encoder|decoder)\.": "a VAE by itself",
    r"^vision_model\.|^visual\.": "an image encoder by itself",
}
# How a file begins that is no safetensors file → what it is.
BEGINNINGS = {
    rb"version https://git-lfs": "is a pointer of Git LFS and not the file itself; fetch that with: git lfs pull",
    rb"\s*<": "is a web page, as one gets where a licence has to be accepted or one has to log in first;"
    " download it again",
    rb"GGUF": f"is no safetensors file: it is a GGUF, whose weights are quantised for other programs; {WHOLE}",
    rb"\x08[\x01-\x20]\x12": f"is no safetensors file: it is an ONNX model, a fixed program; {WHOLE}",
    rb"\x89HDF": f"is no safetensors file: it is an HDF5 file, as Keras saves weights; {WHOLE}",
    rb"\x89PNG|\xff\xd8\xff|GIF8": f"is no safetensors file: it is a picture; {WHOLE}",
    rb"7z\xbc\xaf|Rar!|\x1f\x8b": "is no safetensors file: it is a packed archive; unpack it first",
    rb"\s*\{\s*[\"}]": f"is no safetensors file: it is text, such as a config; {WHOLE}",
}
QUANTISED = r"\.(absmax|quant_map|quant_state\..*|SCB|nested_absmax|qweight|qzeros|scale_weight)$|(^|\.)scaled_fp8$"


def what_it_is(path: Path) -> str | None:
    """Return what a file is that is no safetensors file, as the end of a sentence, as far as its beginning tells."""
    with path.open("rb") as file:
        beginning = file.read(64)
    if beginning.startswith(b"PK\x03\x04"):
        return _archive(path)
    if re.match(rb"\x80[\x02-\x05]", beginning):
        return refusal_of_pickle(path)
    said = next((said for known, said in BEGINNINGS.items() if re.match(known, beginning)), None)
    return said or (refusal_of_pickle(path) if path.suffix.lower() in PICKLES else None)


def _archive(path: Path) -> str:
    """Return what a zip archive is: most are pickles of torch, which an archive that cannot be listed may be too."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return refusal_of_pickle(path)
    if any(name.endswith("/constants.pkl") for name in names):
        return f"is no safetensors file: it is a TorchScript program, which would be run; {WHOLE}"
    if names and not any(name.endswith(("data.pkl", ".pkl")) for name in names):
        return "is no safetensors file: it is a zip archive; unpack it first"
    return refusal_of_pickle(path)


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


def fault_of_weights(path: Path, error: Exception) -> str:
    """Return what is wrong with a file that the library does not take for one of safetensors."""
    try:
        said = fault_of(path) or what_it_is(path)
        if said:
            return said
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(min(length, HEADER_MOST))
    except OSError as unread:
        return f"cannot be read: {unread.strerror}"
    if not size:
        return "is no safetensors file: it is empty; download or copy it again"
    whole = 8 + length
    try:
        whole += max(entry["data_offsets"][1] for key, entry in json.loads(header).items() if key != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        whole = whole if header.startswith(b"{") and length <= HEADER_MOST else 0
    if size < whole:
        return f"is cut off: of {whole} bytes {size} are there; download or copy it again"
    return f"is no safetensors file: {first_line(error)}; download or copy it again"


def kind_of(keys: Iterable[str]) -> str:
    """Return what a file seems to hold by its keys, or nothing."""
    keys = list(keys)
    return next((said for pattern, said in SEEMS.items() if any(re.search(pattern, key) for key in keys)), "")
