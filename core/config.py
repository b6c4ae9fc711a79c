"""What a user can ask for: one model of all options, and how files and command lines become it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ByteSize, Field, ValidationError

from .documents import read_json, read_text, read_toml, read_yaml
from .errors import ConfigError, explain, shortened
from .named import Attention, Context, Guidance, Motion, Noise, Positional, Sampling, Sigmas
from .plain import Options
from .registry import Registry

EMBEDDED = "embedded"


def _whole_size(asked: Any) -> Any:
    """Refuse what is no size, or would be understood in part only, such as the 8 of 8,5GiB."""
    written = isinstance(asked, str) and re.fullmatch(r"\s*\d*\.?\d+\s*([kmgtpe](i?b)?|b)?\s*", asked, re.IGNORECASE)
    counted = (
        isinstance(asked, int | float) and not isinstance(asked, bool) and float(asked).is_integer() and asked >= 0
    )
    if not (asked is None or written or counted):
        raise ValueError(f"should be a size such as 8GiB or 8.5GiB, got {shortened(asked)}")
    return asked


def _name_of_file(asked: Any) -> Any:
    """Return a path as its name, and refuse bytes, which would be read as text."""
    if isinstance(asked, bytes | bytearray):
        raise ValueError(f"should be a path or its name, got {shortened(asked)}")
    return str(asked) if isinstance(asked, Path) else asked


FileName = Annotated[str, BeforeValidator(_name_of_file)]


class Config(Options):
    """One generation. Options that are None are chosen from the model and the number of frames."""

    image: FileName | None = Field(
        default=None, description="Start image: a file, or 'example' for the one that ships."
    )
    model: FileName = Field(
        default=EMBEDDED,
        description="'embedded' (a toy that ships with longtake), a diffusers folder, a single .safetensors file in "
        "the original layout, or a name on the model hub.",
    )
    trained: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Frames that the model was trained on, which a single file does not say; by default 25 where its "
        "name has 'xt', else 14.",
    )
    variant: str | None = Field(default=None, description="Variant of the weight files, such as fp16.")
    frames: int | None = Field(default=None, ge=1, le=100_000, description="Frames to make.")
    fps: float = Field(
        default=7, ge=1, le=120, description="Frame rate that the model is told, and that of the file unless set."
    )
    output_fps: float | None = Field(default=None, gt=0, le=1000, description="Frame rate of the file; by default fps.")
    width: int | None = Field(default=None, ge=1, le=32_768, description="Width in pixels.")
    height: int | None = Field(default=None, ge=1, le=32_768, description="Height in pixels.")
    fit: Literal["crop", "pad"] = Field(
        default="crop", description="Keep the image's aspect ratio by cutting its edges off, or by adding bars."
    )
    enlarge: int = Field(default=1, ge=1, le=64, description="Write every pixel as a square of this size.")
    steps: int | None = Field(default=None, ge=1, le=1000, description="Denoising steps.")
    seed: int | None = Field(default=None, ge=0, lt=2**63, description="Seed of all noise; by default drawn and told.")
    motion_bucket: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Amount of motion that the model is told; by default 127, or half of the most it knows where that "
        "is less.",
    )
    noise_aug: float = Field(
        default=0.02, ge=0, allow_inf_nan=False, description="Noise added to the start image before it is encoded."
    )
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        default=None, description="Precision of the weights; by default float32 on a CPU and float16 elsewhere."
    )
    weights: Literal["float8"] | None = Field(
        default=None,
        description="Hold the UNet's weights in 8 bits, half the memory of float16; it computes in dtype all the same.",
    )
    device: str | None = Field(default=None, description="cpu, cuda, cuda:1, mps …; by default the best there is.")
    memory: Annotated[ByteSize, BeforeValidator(_whole_size)] | None = Field(
        default=None,
        gt=0,
        description="Memory of the device that a generation may take, such as 8GiB; by default what is free.",
    )
    compile: bool = Field(
        default=False,
        description="Compile the UNet's pieces with torch.compile: minutes at first, and then no faster than without on"
        " the devices measured (an H200, a CPU of AMD's).",
    )
    decode_chunk: int | None = Field(
        default=None,
        ge=1,
        description="Frames decoded at a time; by default as many as the device or the host has room for.",
    )
    decode_overlap: int | None = Field(
        default=None,
        ge=0,
        description="Frames decoded in addition on each side of a chunk; by default as many as the decoder needs.",
    )
    speed: Literal["exact", "fast", "draft"] = Field(
        default="exact", description="What is chosen where sigmas, guidance and reuse are not: faster, and less exact."
    )
    reuse: int | None = Field(
        default=None,
        ge=1,
        description="Work out the deep layers of the UNet only in every n-th step, and use them again in between: "
        "faster, and an approximation; 1, which is exact, unless --speed says otherwise.",
    )
    continues: FileName | None = Field(
        default=None,
        description="Video that is continued: a file, a folder of PNGs, or an array; see longtake extend.",
    )
    end_image: FileName | None = Field(default=None, description="Image that the video goes to; by default nowhere.")
    end_frames: int | None = Field(
        default=None, ge=1, description="Last frames over which the end image comes in; by default a third of them."
    )
    loop: bool = Field(
        default=False, description="Let the video end where it begins: chooses strategies that close into a ring."
    )
    preview: FileName | None = Field(default=None, description="Picture file that shows the latents after each step.")
    positional: Positional | None = Field(default=None, description="Positional strategy: where each frame stands.")
    attention: Attention | None = Field(default=None, description="Attention strategy: which frames see which.")
    noise: Noise | None = Field(default=None, description="Noise schedule: what the generation starts from.")
    guidance: Guidance | None = Field(default=None, description="Guidance schedule over the frames.")
    sigmas: Sigmas | None = Field(default=None, description="Noise levels of the steps.")
    motion: Motion | None = Field(default=None, description="Motion schedule: motion bucket and fps over the frames.")

    context: Context | None = Field(default=None, description="Context: whether the UNet sees windows of the video.")
    sampling: Sampling | None = Field(default=None, description="Sampling: the whole video together, or in chunks.")

    def dump(self) -> dict[str, Any]:
        """Return plain data that :func:`load_config` turns into an equal config."""
        return self.model_dump(mode="json")


STRATEGY_KINDS = ("positional", "attention", "noise", "guidance", "sigmas", "motion", "context", "sampling")


def load_config(data: dict[str, Any], registry: Registry) -> Config:
    """Turn plain data, with strategies by name, into a config.

    Raises:
        ConfigError: a key that does not exist, a value out of range, an unknown strategy or option.

    """
    try:
        return Config.model_validate(data, context={"registry": registry})
    except ValidationError as error:
        raise ConfigError(explain(error, Config.model_fields, what="config key")) from None


def read_config_file(path: str | Path) -> dict[str, Any]:
    """Read a YAML, TOML or JSON file, or the sidecar of an earlier run.

    Raises:
        ConfigError: the file cannot be read, has another ending, or holds no mapping.

    """
    path = Path(path)
    readers: dict[str, Callable[[str], Any]] = {
        ".yaml": read_yaml,
        ".yml": read_yaml,
        ".json": read_json,
        ".toml": read_toml,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"config file {path} must end in one of {', '.join(readers)}")
    try:
        data = reader(read_text(path))
    except OSError as error:
        raise ConfigError(f"cannot read config file {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"config file {path} is not valid {path.suffix[1:].upper()}: {error}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"config file {path} must hold keys and values, got {type(data).__name__}")
    if "longtake_version" in data:  # the record of an earlier run
        data = data.get("config")
        if not isinstance(data, dict):
            raise ConfigError(f"{path} is no record of a run: it holds no config")
    return dict(data)


def apply_setting(data: dict[str, Any], setting: str) -> None:
    """Put one ``kind.option=value`` of the command line into plain config data; the value is read as YAML.

    Raises:
        ConfigError: it is not of that form, or no strategy of that kind is named.

    """
    path, equals, text = setting.partition("=")
    kind, *options = path.strip().split(".")
    if not equals or kind not in STRATEGY_KINDS or not options or not all(options):
        raise ConfigError(
            f"--set takes KIND.OPTION=VALUE, such as positional.factor=2, with KIND one of "
            f"{', '.join(STRATEGY_KINDS)}; got {setting!r}"
        )
    try:
        value = read_yaml(text)
    except ValueError as error:
        raise ConfigError(f"--set {path}: cannot read the value {shortened(text)}: {error}") from None
    target = data
    for key in (kind, *options[:-1]):
        inner = target.get(key)
        if inner is None:
            raise ConfigError(
                f"--set {setting}: name the strategy first, such as --{kind} NAME or {key}: NAME in a file"
            )
        if not isinstance(inner, str | dict):
            raise ConfigError(f"--set {setting}: {key} is {inner!r}, which has no options")
        # A copy, so that what the file's reader returned is left alone.
        target[key] = {"name": inner} if isinstance(inner, str) else dict(inner)
        target = target[key]
    target[options[-1]] = value


def merge(file: dict[str, Any], command_line: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Lay command-line values over a file's; naming the same strategy again keeps its options from the file."""
    merged = dict(file)
    for key, value in command_line.items():
        inner = merged.get(key)
        if key in STRATEGY_KINDS and isinstance(inner, dict) and inner.get("name") == value:
            continue
        merged[key] = value
    for setting in settings:
        apply_setting(merged, setting)
    return merged
