"""A number that may change along the frames, or along the denoising.

Shape suffixes: F = frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import torch
from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from torch import Tensor

from .errors import shortened

if TYPE_CHECKING:
    from .contracts import Span


@dataclass(frozen=True, slots=True)
class Course:
    """What a number is, at each frame or at each step: values spread evenly, and what lies between them.

    Attributes:
        values: one or more; the first is that of the first frame or step, the last that of the last.
        over: what they are spread over; None for a single number.

    """

    values: tuple[float, ...]
    over: Literal["frames", "steps"] | None = None

    @classmethod
    def of(cls, given: Any) -> Self:
        """Return the course that a config means by a number, a list, or a mapping with a list of ``steps``.

        Raises:
            ValueError: it is none of these, or has no values, or negative ones, or such as are not finite.

        """
        if isinstance(given, Course):
            return cls(given.values, given.over)
        over: Literal["frames", "steps"] | None = None
        values = [given]
        if isinstance(given, dict) and set(given) == {"steps"} and isinstance(given["steps"], list | tuple):
            over, values = "steps", list(given["steps"])
        elif isinstance(given, list | tuple):
            over, values = "frames", list(given)
        if not values or not all(_is_factor(value) for value in values):
            raise ValueError(
                "should be a number that is not negative, a list of such (spread over the frames), or a mapping such "
                f"as {{steps: [1, 0.9]}} (spread over the denoising steps), got {shortened(given)}"
            )
        return cls(tuple(float(value) for value in values), over)

    def dump(self) -> Any:
        """Return plain data that :meth:`of` turns into an equal course."""
        if self.over is None:
            return self.values[0]
        return list(self.values) if self.over == "frames" else {"steps": list(self.values)}

    def at(self, span: Span) -> float | Tensor:
        """Return the number, or that of each frame, (F,) in float64, at the step of ``span``."""
        if self.over == "frames":
            return self._between(span.numbers_F.double(), span.frames_of_video - 1)
        return float(self._between(torch.tensor([span.progress], dtype=torch.float64), 1))

    def _between(self, places_X: Tensor, last: int) -> Tensor:
        """Return the value at each place, of which 0 has the first value and ``last`` the last one."""
        values_V = torch.tensor(self.values, dtype=torch.float64)
        # Multiplied before it is divided, so that as many values as places are met exactly.
        along_X = places_X * (len(values_V) - 1) / max(last, 1)
        before_X = along_X.long()
        after_X = (before_X + 1).clamp(max=len(values_V) - 1)
        return values_V[before_X].lerp(values_V[after_X], along_X - before_X)


def _is_factor(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


_FACTOR = {"type": "number", "minimum": 0}
_FACTORS = {"type": "array", "items": _FACTOR, "minItems": 1}
_OVER_STEPS = {
    "type": "object",
    "properties": {"steps": _FACTORS},
    "required": ["steps"],
    "additionalProperties": False,
}
# The type of an option that is a course.
AnyCourse = Annotated[
    Course,
    BeforeValidator(Course.of),
    PlainSerializer(Course.dump),
    WithJsonSchema({"anyOf": [_FACTOR, _FACTORS, _OVER_STEPS]}),
]
ONE = Course((1.0,))
