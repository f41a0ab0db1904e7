"""What every section of a configuration is, and the types of its keys.

Types and meanings stand in the schemas, values in `conf/` only: no field has a default. Torch is not imported here,
for `--help` and configuration errors must come at once.
"""

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A section: every key is given, no other key is known, and a number is no string and no truth value."""

    model_config = ConfigDict(
        extra="forbid", strict=True, coerce_numbers_to_str=True, allow_inf_nan=False, defer_build=True
    )


S = TypeVar("S", bound=Section)
T = TypeVar("T")


def replace(section: S, **changes: Any) -> S:
    """A copy with other values, which are not validated again. Raises TypeError for a key that there is not."""
    if wrong := changes.keys() - type(section).model_fields.keys():
        raise TypeError(f"{type(section).__name__} has no {', '.join(sorted(wrong))}")
    return section.model_copy(update=changes)


def _ascending(values: list[T]) -> list[T]:
    if values != sorted(values):  # type: ignore[type-var]
        raise PydanticCustomError("ascending", "the smaller comes first")
    return values


def _unique(values: list[T]) -> list[T]:
    if twice := sorted({value for value in values if values.count(value) > 1}):  # type: ignore[type-var]
        raise ValueError(f"{twice[0]} stands there twice")
    return values


Text = Annotated[str, Strict(False)]  # a number that is written without quotes will do
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, le=1)]
UnitInterval = Annotated[float, Field(ge=0, le=1)]
Unique = Annotated[list[T], AfterValidator(_unique), Field(json_schema_extra={"uniqueItems": True})]
Interval = Annotated[
    list[T],
    AfterValidator(_ascending),
    Field(min_length=2, max_length=2, json_schema_extra={"ascending": True}),
]
