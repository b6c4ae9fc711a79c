"""What is searched: dimensions of a config, as a user writes them or as the chosen strategies have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from ....core.config import STRATEGY_KINDS, Config, merge
from ....core.contracts import RangedStrategy, Strategy
from ....core.documents import on_one_line, read_yaml
from ....core.errors import ConfigError
from ....core.plain import LARGEST

if TYPE_CHECKING:
    import optuna

USUAL_KINDS = ("positional", "attention", "motion")  # searched where a user has named no strategy
USUAL_BUCKETS = (10.0, 255.0)  # of what models know
Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Dimension:
    """One key of a config, such as ``motion_bucket`` or ``positional.beta_fast``, and the values that it may take.

    Attributes:
        key: of the config.
        choices: to choose from; empty for a range.
        low: of the range.
        high: of the range.
        whole: whether only whole numbers of the range are meant.

    """

    key: str
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False

    def __str__(self) -> str:
        values = "|".join(map(str, self.choices)) if self.choices else f"{self.low:g}..{self.high:g}"
        return f"{self.key}={values}"

    def suggest(self, trial: optuna.Trial) -> Value:
        """Let the optimiser choose."""
        if self.choices:
            return trial.suggest_categorical(self.key, self.choices)  # type: ignore[return-value]
        if self.whole:
            return trial.suggest_int(self.key, int(self.low), int(self.high))
        return trial.suggest_float(self.key, self.low, self.high)

    def ends(self) -> tuple[Value, ...]:
        """Return all choices, or the ends of the range."""
        if self.choices:
            return self.choices
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Whether the optimiser could choose this value."""
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float) and self.low <= value <= self.high


def parse(text: str, config: Config) -> Dimension:
    """Read ``KEY=LOW..HIGH`` or ``KEY=ONE|OTHER``; whether numbers are whole ones is seen from the config.

    Raises:
        ConfigError: it is neither, or the range is empty.

    """
    key, equals, values = text.partition("=")
    plain = [name for name in Config.model_fields if name not in STRATEGY_KINDS]
    if not equals or key.split(".")[0] not in (*STRATEGY_KINDS, *plain) or (key.split(".")[0] in plain and "." in key):
        raise ConfigError(
            f"--search takes KEY=LOW..HIGH or KEY=ONE|OTHER, such as motion_bucket=20..200 or positional=linear|yarn, "
            f"with KEY a key of a config or KIND.OPTION; got {text!r}"
        )
    if ".." not in values:
        choices = tuple(_read(text, choice) for choice in values.split("|"))
        if len(choices) < 2 or not all(isinstance(choice, Value) for choice in choices):
            raise ConfigError(f"--search {text}: give two or more values with | between them, or a range as LOW..HIGH")
        return Dimension(key, choices=choices)
    low, high = (_read(text, end) for end in values.split("..", 1))
    whole = _whole(key, config)
    if not all(_is_number(end, whole) for end in (low, high)):
        raise ConfigError(f"--search {text}: the ends of this range are {'whole' if whole else 'finite'} numbers")
    if not low < high:
        raise ConfigError(f"--search {text}: the range is empty")
    return Dimension(key, low=low, high=high, whole=whole)


def _read(text: str, value: str) -> Any:
    try:
        return read_yaml(value)
    except ValueError as error:
        raise ConfigError(f"--search {text}: cannot read the value {value!r}: {error}") from None


def _is_number(value: Any, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < LARGEST and (not whole or float(value).is_integer())


def _whole(key: str, config: Config) -> bool:
    """Whether the values of a key are whole numbers; those of a strategy that the config does not have may be any."""
    kind, _, option = key.partition(".")
    model: type[BaseModel] = type(getattr(config, kind)) if option else Config
    field = model.model_fields.get(option or kind)
    return field is not None and int in (field.annotation, *get_args(field.annotation))


def usual_space(config: Config, named: list[str], top_bucket: float) -> list[Dimension]:
    """Return every bounded option of the strategies that a user has named, or of those that matter most.

    Args:
        config: with nothing left to choose.
        named: kinds of strategies that the user has chosen.
        top_bucket: the highest motion bucket that the model knows.

    """
    space = [
        dimension
        for kind in named or USUAL_KINDS
        for option in type(getattr(config, kind)).model_fields
        if option not in RangedStrategy.model_fields
        for dimension in [_bounded(kind, option, getattr(config, kind))]
        if dimension
    ]
    least, most = USUAL_BUCKETS
    return [*space, Dimension("motion_bucket", low=min(least, top_bucket / 4), high=min(most, top_bucket))]


def _bounded(kind: str, option: str, strategy: Strategy) -> Dimension | None:
    schema = type(strategy).model_json_schema()["properties"][option]
    key = f"{kind}.{option}"
    if "enum" in schema:
        return Dimension(key, choices=tuple(schema["enum"]))
    if schema.get("type") == "boolean":
        return Dimension(key, choices=(True, False))
    low, high = (schema.get(end, schema.get(f"exclusive{end.title()}")) for end in ("minimum", "maximum"))
    if low is None or high is None:
        return None
    return Dimension(key, low=low, high=high, whole=schema["type"] == "integer")


def value_of(data: dict[str, Any], key: str) -> Any:
    """Return what plain config data has for a key; None where it has nothing."""
    for part in key.split("."):
        if not isinstance(data, dict):
            return None
        data = data.get(part)  # type: ignore[assignment]
    return data["name"] if isinstance(data, dict) and "name" in data else data


def with_values(data: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return plain config data with other values; a strategy that is chosen by name loses the options of another.

    Raises:
        ConfigError: a key has no place in the data.

    """
    plain = {key: value for key, value in values.items() if "." not in key}
    settings = [f"{key}={on_one_line(value)}" for key, value in values.items() if "." in key]
    return merge(data, plain, settings)
