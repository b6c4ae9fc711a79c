"""How much of everything the training takes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.errors import LongtakeError
from ...core.files.whole import whole_file
from .machine import commit, machine


@dataclass(frozen=True, slots=True)
class Recipe:
    """How much of everything; the defaults, compiled, are the recipe of the embedded model."""

    seed: int = 0
    clips: int = 24000
    vae_steps: int = 1200
    vae_batch: int = 16
    decoder_steps: int = 400
    decoder_batch: int = 2
    unet_steps: int = 9000
    unet_batch: int = 16
    size: int = 32  # pixels of a side
    device: str = "cpu"
    compiled: bool = False  # a fifth faster; needs minutes at first, and a C++ compiler
    save_every: float = 240.0  # seconds between checkpoints

    def __post_init__(self) -> None:
        """See that the size fits the architecture."""
        if self.size < 32 or self.size % 8:
            raise LongtakeError(f"size must be a multiple of 8 from 32 on, got {self.size}")

    def claim(self, work: Path) -> None:
        """Write the recipe into the folder of checkpoints, or see that it is the one by which they were made.

        The commits and machines that take part in the training are written beside it.

        Raises:
            LongtakeError: the folder holds a training by another recipe, or something else.

        """
        path, options = work / "recipe.json", asdict(self)
        before: dict[str, Any] = {"made": []}
        if path.exists():
            before = self._read(path)
            for name in options.keys() - {"device", "compiled", "save_every"}:
                if options[name] != before[name]:
                    raise LongtakeError(
                        f"{work} holds a training with {name}={before[name]}, not {options[name]};"
                        " go on with that, or choose another folder"
                    )
        here = f"commit {commit()}, {machine(self.device)}"
        made = before["made"] if here in before["made"] else [*before["made"], here]
        with whole_file(path) as part:
            part.write_text(json.dumps(options | {"made": made}), encoding="utf-8")

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            missing = {"made", *asdict(self)} - before.keys()
        except (OSError, ValueError, AttributeError) as error:
            raise LongtakeError(f"{path} is no recipe of a training: {error}; choose another folder") from None
        if missing:
            raise LongtakeError(f"{path} is no recipe of a training: {', '.join(sorted(missing))} is missing")
        return before

    def options(self) -> str:
        """Return the options of ``longtake prove train`` that differ from the defaults."""
        usual = asdict(Recipe())
        changed = {name: value for name, value in asdict(self).items() if value != usual[name] and name != "compiled"}
        words = [f"--{name.replace('_', '-')} {value}" for name, value in changed.items()]
        return " ".join([*words, "--compile"] if self.compiled else words)


# By name of ``longtake prove train --recipe``. The one for a GPU has been run on none yet.
RECIPES = {
    "cpu": Recipe(),
    "gpu": Recipe(size=64, device="cuda", compiled=True, unet_batch=64, unet_steps=6000),
}
