"""The files that a run reads, and the one check that it writes over none of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..config import EMBEDDED, STRATEGY_KINDS, Config
from ..contracts import Strategy
from ..errors import OutputError
from ..places import embedded_model
from ..readable import OfFile

if TYPE_CHECKING:
    from ..manager import Plugins

INDEX = "model_index.json"  # of a model in diffusers' layout
READ_OF_A_MODEL = (INDEX, "longtake.json", "*/*.json", "*/*.safetensors")
READ_OF_A_VIDEO = ("*.png",)


class Named(NamedTuple):
    """A path and its role in a run, such as "the start image"."""

    role: str
    path: Path


def sources_of(config: Config, plugins: Plugins | None = None, picture: object = None) -> list[Named]:
    """Return the files and folders that a generation reads.

    Args:
        config: of the generation.
        plugins: whose third-party plugins count as well.
        picture: the start image if it is an object; one that PIL opened knows its file.

    """
    found = [
        Named("the start image", Path(config.image) if config.image else _file_of(picture)),
        Named("the end image", Path(config.end_image or "")),
        Named("the video that is continued", Path(config.continues or "")),
        Named("the model", embedded_model() if config.model == EMBEDDED else Path(config.model).expanduser()),
    ]
    for kind in STRATEGY_KINDS:
        found += [Named(f"a file of {kind}", path) for path in strategy_files(getattr(config, kind))]
    if plugins:
        found += [Named(f"the code of plugin {name!r}", path) for name, path in _code(plugins)]
    return [named for named in found if named.path != Path() and os.path.exists(named.path)]


def strategy_files(options: object) -> Iterator[Path]:
    """Yield the files that are options of a strategy, or lie within its options, or from which these were read."""
    if isinstance(options, Path):
        yield options
    elif isinstance(options, OfFile):
        yield from [options.path] if options.path else []
    else:
        inner = dict(options) if isinstance(options, Strategy) else options
        if isinstance(inner, dict | list | tuple | set | frozenset):
            for value in inner.values() if isinstance(inner, dict) else inner:
                yield from strategy_files(value)


def _file_of(picture: object) -> Path:
    """Return the file that PIL opened an image from, by its name or as a file that was open, if any."""
    name = getattr(picture, "filename", None) or getattr(getattr(picture, "fp", None), "name", None)
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) else Path()


def _code(plugins: Plugins) -> Iterator[tuple[str, Path]]:
    manager, registry = plugins
    for name in registry.packages:
        plugin = manager.get_plugin(name)
        modules = {getattr(plugin, "__name__", type(plugin).__module__)}
        modules |= {
            registry.classes[kind][each].__module__
            for (kind, each), owner in registry.providers.items()
            if owner == name
        }
        for module in sorted(modules):
            if file := getattr(sys.modules.get(module), "__file__", None):
                yield name, Path(file)


def check_apart(written: Sequence[Named], sources: Iterable[Named] = ()) -> None:
    """See that nothing that is written takes the place of what is read, or of what else is written.

    Links, hard links and relative names are followed. A folder that is written loses all that it holds; of a folder
    that is read, the files that are read count.

    Raises:
        OutputError: something would be lost.

    """
    for number, (role, path) in enumerate(written):
        for other in written[:number]:
            if _takes_place_of(path, other.path) or _takes_place_of(other.path, path):
                raise OutputError(f"{role} {path} takes the place of {other.role} {other.path}; give it another name")
    for source in sources:
        read = READ_OF_A_MODEL if (source.path / INDEX).exists() else READ_OF_A_VIDEO
        files = [source.path, *(file for pattern in read for file in source.path.glob(pattern))]
        for role, path in written:
            for file in files:
                if _takes_place_of(path, file):
                    raise OutputError(
                        f"{role} {path} would take the place of {source.role}, {file}; give the"
                        f" {'preview' if role == 'preview' else 'output'} another name"
                    )


def _takes_place_of(written: Path, other: Path) -> bool:
    """Whether another path is the one that is written, or lies in it."""
    with suppress(OSError, ValueError):
        if os.path.samefile(written, other):
            return True
    one, two = os.path.realpath(written), os.path.realpath(other)
    return two == one or two.startswith(os.path.join(one, ""))
