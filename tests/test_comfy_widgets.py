"""Options of strategies as widgets of ComfyUI, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

import longtake
from longtake import PositionalStrategy
from longtake.core.course import ONE, AnyCourse
from longtake.core.errors import ConfigError
from longtake.core.named import Positional
from longtake.core.registry import default_of
from longtake.core.testing import example_options
from longtake.plugins.comfy.node import options_node
from longtake.plugins.comfy.nodes import KINDS, mappings
from longtake.plugins.comfy.widgets import options_from, sockets_of, widgets_of
from longtake.positional.linear import Linear


@pytest.fixture(scope="module")
def registry():
    return longtake.load_plugins(third_party=False).registry


def defaults(cls):
    return {widget.name: widget.settings["default"] for widget in widgets_of(cls)}


def test_widgets_as_they_are_mean_the_strategys_defaults(registry):
    for kind in KINDS:
        for name, cls in registry.classes[kind].items():
            given_ = defaults(cls) | {
                key: value if isinstance(value, str) else json.dumps(value)
                for key, value in example_options(cls).items()
            }
            expected = registry.build(kind, {"name": name} | example_options(cls))
            assert options_node(registry, cls)().make(**given_) == (expected,), name


class Everything(PositionalStrategy):
    """An option of every kind that there is, as somebody else may have them."""

    name = "everything"
    whole: int = Field(default=3, ge=1, lt=10, description="Whole.")
    part: float = Field(default=0.5, gt=0, le=1, description="Part.")
    free: float = Field(default=-2.0, description="Free.")
    maybe: int | None = Field(default=None, ge=2, description="Maybe.")
    nothing: float | None = Field(default=None, ge=0, description="Nothing.")
    anything: float | None = Field(default=None, description="Anything.")
    way: Literal["here", "there"] = Field(default="there", description="Way.")
    other: Literal["up", "down"] | None = Field(default=None, description="Other.")
    yes: bool = Field(default=True, description="Yes.")
    perhaps: bool | None = Field(default=None, description="Perhaps.")
    word: str = Field(default="word", description="Word.")
    path: Path | None = Field(default=None, description="Path.")
    numbers: tuple[float, ...] = Field(default=(1.0, 2.0), description="Numbers.")
    keys: dict[int, float] = Field(examples=[{0: 1.5}], description="Keys.")
    course: AnyCourse = Field(default=ONE, description="Course.")
    of: Positional = Field(default_factory=Linear, description="Of.")


def everything(registry, **options):
    own = longtake.load_plugins(third_party=False).registry
    own.add(Everything, "third")
    return options_node(own, Everything)().make(**defaults(Everything) | {"keys": "{0: 1}"} | options)[0]


def test_options_of_every_kind_become_widgets(registry):
    widgets = {widget.name: widget for widget in widgets_of(Everything)}
    types = {name: widget.type for name, widget in widgets.items()}
    assert types == {
        "start": "FLOAT", "stop": "FLOAT", "whole": "INT", "part": "FLOAT", "free": "FLOAT", "maybe": "STRING",
        "nothing": "STRING", "anything": "STRING", "way": ["here", "there"], "other": ["default", "up", "down"],
        "yes": "BOOLEAN", "perhaps": ["default", "true", "false"], "word": "STRING", "path": "STRING",
        "numbers": "STRING", "keys": "STRING", "course": "STRING",
    }  # fmt: skip
    assert sockets_of(Everything) == {"of": "positional"}
    bounds = {name: (widgets[name].settings["min"], widgets[name].settings["max"]) for name in ("whole", "part")}
    assert bounds == {"whole": (1, 9), "part": (0.01, 1.0)}
    assert {widgets[name].settings["default"] for name in ("maybe", "nothing", "anything")} == {"default"}
    assert widgets["maybe"].settings["tooltip"] == "Maybe. A number, or 'default', which leaves it to longtake."
    assert widgets["keys"].settings["tooltip"] == 'Keys. For example: {"0": 1.5}'


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        *[(name, text, None) for name in ("maybe", "nothing", "anything") for text in ("default", "", " default ")],
        ("maybe", "7", 7), ("maybe", 7, 7), ("maybe", "7.0", 7), ("nothing", "1e-3", 0.001), ("nothing", "0", 0.0),
        ("anything", "-1", -1.0), ("anything", "0", 0.0),
        # What stood for the default in workflows that were saved when these were numbers.
        ("maybe", 0, None), ("maybe", "0", None), ("nothing", -1.0, None), ("nothing", "-1.0", None),
    ],
)  # fmt: skip
def test_a_number_that_may_be_left_to_longtake_says_so_in_words(registry, name, text, value):
    assert getattr(everything(registry, **{name: text}), name) == value


def test_no_number_of_ours_is_shown_as_zero_or_rounded_where_longtake_chooses(registry):
    """ComfyUI shows two decimals."""
    for kind in KINDS:
        for cls in registry.classes[kind].values():
            for widget in widgets_of(cls):
                if widget.type == "FLOAT":
                    assert round(widget.settings["default"], 2) == widget.settings["default"], (cls.name, widget.name)
                if widget.type in ("INT", "FLOAT"):
                    assert default_of(cls.model_fields[widget.name]) == widget.settings["default"]


def test_a_default_that_is_made_is_the_widgets():
    class Made(PositionalStrategy):
        """A strategy."""

        name = "made"
        amount: float = Field(default_factory=lambda: 1.5, ge=0, le=9, description="Amount.")
        weights: dict[str, float] = Field(default_factory=lambda: {"a": 1.0}, description="Weights.")

    assert defaults(Made) == {"start": 0.0, "stop": 1.0, "amount": 1.5, "weights": '{"a": 1.0}'}


def test_values_of_widgets_become_options(registry):
    made = everything(registry)
    assert made == Everything(keys={0: 1})
    changed = everything(
        registry, maybe=5, nothing=0.0, anything="2.5", way="here", other="up", yes=False, perhaps="false", word="",
        path="there.npy", numbers="[3, 4]", keys="{0: 1, 5: 2}", course="{steps: [1, 0.5]}", of=Linear(align="ends"),
    )  # fmt: skip
    assert changed == Everything(
        maybe=5, nothing=0.0, anything=2.5, way="here", other="up", yes=False, perhaps=False,
        path=Path("there.npy"), numbers=(3.0, 4.0), keys={0: 1.0, 5: 2.0}, course={"steps": [1, 0.5]},
        of=Linear(align="ends"),
    )  # fmt: skip


@given(
    number=st.floats(0, 1),
    whole=st.integers(1, 9),
    keys=st.dictionaries(st.integers(0, 99), st.floats(0, 5), min_size=1),
)
def test_numbers_and_mappings_survive_being_widgets(number, whole, keys):
    widgets = widgets_of(Everything)
    options = options_from(widgets, {"start": number, "whole": whole, "keys": yaml.safe_dump(keys)})
    made = Everything.model_validate(options)
    assert (made.start, made.whole, made.keys) == (number, whole, keys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": ""}, "positional.keys has to be given: there is no default for it"),
        ({"keys": "{0: ["}, r"positional.keys must be a number, a list or a mapping in YAML, got '\{0: \['"),
        ({"maybe": 1}, "positional.maybe should be greater than or equal to 2, got 1"),
        ({"maybe": "two"}, "positional.maybe should be a valid integer"),
        ({"start": 0.9, "stop": 0.1}, "start must not be after stop, got start=0.9 with stop=0.1"),
    ],
)
def test_what_does_not_fit_is_said_in_the_words_of_a_config(registry, options, message):
    with pytest.raises(ConfigError, match=message):
        everything(registry, **options)


def test_strategies_of_third_parties_are_offered_like_ours():
    registry = longtake.load_plugins(third_party=False).registry
    registry.add(Everything, "third")
    nodes, titles = mappings(registry)
    assert "everything" in nodes["LongtakePositional"].INPUT_TYPES()["required"]["positional"][0]
    assert titles["Longtake_positional_everything"] == "Longtake positional options: everything"
