"""What the nodes have in common: sockets and drop-downs for strategies, made from a registry."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from ...core.contracts import SamplingStrategy, Strategy
from ...core.errors import ConfigError
from ...core.registry import Registry
from .widgets import Widget, options_from, sockets_of, widgets_of

logger = logging.getLogger("longtake")

CATEGORY = "longtake"
ELSE = "options, else "  # in a drop-down: what is connected to ``options`` acts, and the named strategy if nothing is
TRAINED = (
    "INT",
    {"default": 25, "min": 1, "max": 1000, "tooltip": "Frames the model was trained on: 25 for SVD-XT, 14 for SVD."},
)
MODEL = ("MODEL", {"tooltip": "Stable Video Diffusion. It is left as it is: what comes out is a patched clone."})
LATENT = ("LATENT", {"tooltip": "The latents that are sampled; only their number of frames counts."})


class Node:
    """A node of ComfyUI that looks strategies up in a registry."""

    CATEGORY = CATEGORY
    FUNCTION = "make"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()
    TITLE: ClassVar[str]
    DESCRIPTION: ClassVar[str]
    registry: ClassVar[Registry]

    @classmethod
    def choice(cls, kind: str, default: str) -> dict[str, Any]:
        """Return the drop-down of a kind's strategies that ComfyUI can run; first what leaves it to ``options``."""
        names = [name for name, each in sorted(cls.registry.classes[kind].items()) if runs_in_comfyui(each)]
        tooltip = (
            f"A strategy with its defaults. {ELSE + default!r} is what is connected to 'options', or {default} if "
            "nothing is. Connected options always act, whatever is chosen here."
        )
        return {kind: ([ELSE + default, *names], {"default": ELSE + default, "tooltip": tooltip})}

    @classmethod
    def options(cls, *kinds: str) -> dict[str, Any]:
        """Return the sockets for strategies: ``options`` where there is one kind, else the kinds' names."""
        names = ["options"] if len(kinds) == 1 else kinds
        tooltip = "A node under longtake/options; it acts in the place of what is chosen on this node."
        return {name: (socket(kind), {"tooltip": tooltip}) for name, kind in zip(names, kinds, strict=True)}

    def chosen(self, kind: str, name: str, options: Any) -> Any:
        """Return the strategy that is connected, else the one of that name.

        Raises:
            ConfigError: it has an option without a default, with the node that has it.

        """
        if options is not None:
            if not name.startswith(ELSE) and name != options.name:
                logger.warning(
                    "%s: the connected options make it %r, and not the chosen %r; choose the entry %r, which says so",
                    *(self.TITLE, options.name, name, f"{ELSE}…"),
                )
            return options
        name = name.removeprefix(ELSE)
        cls = self.registry.classes[kind].get(name)
        lacking = [key for key, field in cls.model_fields.items() if field.is_required()] if cls else []
        if cls and lacking:
            raise ConfigError(
                f"{kind} {name!r} has no default for {', '.join(lacking)}; connect the node {title_of(cls)!r}"
            )
        return self.registry.build(kind, name)


class Options(Node):
    """A node with the options of one strategy as widgets; :func:`options_node` makes one for each."""

    strategy: ClassVar[type[Strategy]]
    widgets: ClassVar[list[Widget]]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return widgets for options, and sockets for those that are strategies."""
        sockets: dict[str, Any] = {name: (socket(kind), {}) for name, kind in sockets_of(cls.strategy).items()}
        return {"required": {each.name: (each.type, each.settings) for each in cls.widgets}, "optional": sockets}

    def make(self, **given: Any) -> tuple[Strategy]:
        """Return the strategy.

        Raises:
            ConfigError: an option is missing or out of range.

        """
        cls = self.strategy
        options = options_from(self.widgets, given) | {name: given[name] for name in sockets_of(cls) if name in given}
        return (self.registry.build(cls.kind, {"name": cls.name, **options}),)


def options_node(registry: Registry, cls: type[Strategy]) -> type[Options]:
    """Return the node with the options of a strategy."""
    told = {
        "registry": registry,
        "strategy": cls,
        "widgets": widgets_of(cls),
        "CATEGORY": f"{CATEGORY}/options/{cls.kind}",
        "RETURN_TYPES": (socket(cls.kind),),
        "RETURN_NAMES": (cls.kind,),
        "TITLE": title_of(cls),
        "DESCRIPTION": (cls.__doc__ or "").strip(),
    }
    return type(f"Longtake_{cls.kind}_{cls.name}", (Options,), told)


def runs_in_comfyui(cls: type[Strategy]) -> bool:
    """Return whether a strategy can act where ComfyUI samples: always the whole video, so not one made in parts."""
    if not issubclass(cls, SamplingStrategy):
        return True
    return cls.starts is SamplingStrategy.starts and cls.seen is SamplingStrategy.seen


def title_of(cls: type[Strategy]) -> str:
    """Return what the node with a strategy's options is called."""
    return f"Longtake {cls.kind} options: {cls.name}"


def socket(kind: str) -> str:
    """Return ComfyUI's type of a strategy's socket."""
    return f"LONGTAKE_{kind.upper()}"
