"""How much of everything the training takes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ...core.errors import LongtakeError


@dataclass(frozen=True, slots=True)
class Recipe:
    """How much of everything; the defaults, compiled, made the embedded model."""

    seed: int = 0
    clips: int = 24000
    vae_steps: int = 1800
    vae_batch: int = 16
    decoder_steps: int = 500
    decoder_batch: int = 2
    unet_steps: int = 6200
    unet_batch: int = 16
    compiled: bool = False  # a fifth faster; needs minutes at first, and a C++ compiler
    save_every: float = 240.0  # seconds between checkpoints

    def claim(self, work: Path) -> None:
        """Write the recipe into the folder of checkpoints, or see that it is the one by which they were made."""
        path, options = work / "recipe.json", asdict(self)
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            for name in options.keys() - {"compiled", "save_every"}:
                if options[name] != before[name]:
                    raise LongtakeError(
                        f"{work} holds a training with {name}={before[name]}, not {options[name]};"
                        " go on with that, or choose another folder"
                    )
        path.write_text(json.dumps(options), encoding="utf-8")

    def options(self) -> str:
        """Return the options of ``longtake prove train`` that differ from the defaults."""
        usual = asdict(Recipe())
        changed = {name: value for name, value in asdict(self).items() if value != usual[name] and name != "compiled"}
        words = [f"--{name.replace('_', '-')} {value}" for name, value in changed.items()]
        return " ".join([*words, "--compile"] if self.compiled else words)
