"""A single file of weights: what is in it, read without its weights, and why it cannot be used where it cannot."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..errors import ModelError, printable
from ..readable import fault_of
from .foreign import PICKLES, QUANTISED, SAFE, WHOLE, fault_of_weights, kind_of
from .layout import UNET, VAE, VISUAL, of_no_use

NAMED = 3  # keys in a sentence, of however many
LISTED = 10  # keys in lines of their own
FLOATS = re.compile(r"(F64|F32|F16|BF16|F8_.*)$")
EMA = "model_ema."

PARTS = {UNET: "the UNet", VAE: "the VAE", VISUAL: "the image encoder"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a file of weights says of itself.

    Attributes:
        name: as asked for.
        path: of the file.
        shapes: of its tensors, by key.
        dtypes: of its tensors, by key, with safetensors' names for them.

    """

    name: str
    path: Path
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str] = field(default_factory=dict)

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
    path = path_of(name)
    if path.is_dir():
        return None
    return path if path.exists() or path.suffix.lower() in (SAFE, *PICKLES) else None


def path_of(name: str) -> Path:
    """Return the path that a name of a model is, if it is one.

    Raises:
        ModelError: it can be none: it is empty or too long, or begins in the home of a user who does not exist.

    """
    if not name.strip():
        raise ModelError("the model's name is empty; name a folder, a .safetensors file, or a model on the hub")
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ModelError(f"model {printable(name)!r} cannot be looked for: {why}") from None
    return path


def open_checkpoint(name: str, path: Path) -> Checkpoint:
    """Read what a file holds, without its weights.

    Raises:
        ModelError: it is not there, no safetensors file, not whole, or holds something other than a whole SVD.

    """
    try:
        shapes, dtypes = read_header(path)
    except ValueError as error:
        raise ModelError(f"checkpoint {name!r} {error}") from None
    checkpoint = Checkpoint(name, path, shapes, dtypes)
    _check_kind(checkpoint)
    _check_parts(checkpoint)
    if fault := fault_of_numbers({key: dtype for key, dtype in dtypes.items() if not of_no_use(key, "")}):
        raise ModelError(f"checkpoint {name!r} {fault}")
    return checkpoint


def read_header(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Return the shapes and the dtypes of the tensors of a safetensors file, by key.

    Raises:
        ValueError: it is none, or not whole; the message says what it is instead, as the end of a sentence.

    """
    if fault := fault_of(path):
        raise ValueError(fault)
    if path.suffix.lower() in PICKLES:
        raise ValueError(fault_of_weights(path, ValueError(f"it is not named {SAFE}")))
    try:
        with safe_open(path, "np") as file:  # torch would ask for as much address space as the whole file has
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            return (
                {key: tuple(each.get_shape()) for key, each in slices.items()},
                {key: str(each.get_dtype()) for key, each in slices.items()},
            )
    except (OSError, SafetensorError) as error:
        raise ValueError(fault_of_weights(path, error)) from None


def fault_of_numbers(dtypes: Mapping[str, str]) -> str | None:
    """Return why weights are no use in the numbers that they are held in, as the end of a sentence, or None."""
    others = {key: dtype for key, dtype in dtypes.items() if not FLOATS.match(dtype) and "position_ids" not in key}
    if not others:
        return None
    key, dtype = next(iter(others.items()))
    return (
        f"holds {dtype} as {printable(key)}, in {len(others)} of {len(dtypes)} weights, and longtake knows no scale for"
        " such; take one in float16, bfloat16 or float32"
    )


def _check_kind(checkpoint: Checkpoint) -> None:
    """Refuse what is an SVD in a way that is not read: quantised, or with the averages of its training beside it."""
    quantised = [key for key in checkpoint.shapes if re.search(QUANTISED, key)]
    if quantised:
        raise ModelError(
            f"checkpoint {checkpoint.name!r} is quantised: {len(quantised)} of its keys are scales, such as"
            f" {some_of(quantised)}, which longtake does not read; take one in float16, bfloat16 or float32"
        )
    if fault := fault_of_averages(list(checkpoint.shapes), UNET):
        raise ModelError(
            f"checkpoint {checkpoint.name!r} {fault}; save the set you want under {UNET} alone, or take a published"
            f" file. {WHOLE[0].upper()}{WHOLE[1:]}"
        )


def fault_of_averages(keys: list[str], other: str = "") -> str | None:
    """Return why keys are no use if some are averages of a training, as the end of a sentence, or None.

    Args:
        keys: of the weights.
        other: how the keys of the weights that are no averages begin.

    """
    averages = [key for key in keys if key.startswith(EMA)]
    if not averages:
        return None
    beside = " beside another set" if any(key.startswith(other) for key in set(keys) - set(averages)) else ""
    return (
        f"was saved in the middle of a training: it holds averaged weights{beside} ({len(averages)} keys such as"
        f" {some_of(averages[:1])}), which longtake does not read"
    )


def _check_parts(checkpoint: Checkpoint) -> None:
    """Refuse what is no SVD, or only a part of one, and say what it seems to be."""
    name, keys = checkpoint.name, list(checkpoint.shapes)
    there = {prefix: bool(checkpoint.under(prefix)) for prefix in PARTS}
    in_time = any(".time_stack." in key for key in checkpoint.under(UNET))
    if (there[UNET] and not in_time) or not any(there.values()):
        seems = kind_of(keys) or (f"something else: {some_of(keys)}" if keys else "nothing")
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


def said_of_keys(missing: list[str], unexpected: list[str]) -> str:
    """Return which keys are missing and which are unexpected, in a sentence or in lines, or nothing where none are."""
    found = {"missing": missing, "unexpected": unexpected}
    return "; ".join(f"{what} keys: {len(keys)} ({all_of(keys)})" for what, keys in found.items() if keys)


def all_of(keys: list[str]) -> str:
    """Return keys, each on a line of its own where they are many, but no more than can be looked through."""
    if len(keys) <= NAMED:
        return ", ".join(map(printable, keys))
    more = f"\n  and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return "".join(f"\n  {printable(key)}" for key in keys[:LISTED]) + more + "\n"


def some_of(keys: list[str]) -> str:
    """Return the first few of many keys, and how many more there are."""
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(map(printable, keys[:NAMED])) + more
