"""Settings: each function declares what it reads; everything is parsed once, and all problems are named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, Literal, Self, dataclass_transform, get_args, get_origin, get_type_hints

from dropforge.domain.errors import InvalidSettings


@dataclass_transform(frozen_default=True)
@dataclass(frozen=True)
class Settings:
    """Base of the functions' settings: a field ``data_bucket: str`` reads the variable ``DATA_BUCKET``.

    Every subclass is a frozen dataclass. A field with a default may be missing or empty.
    """

    # Without a type, and so no setting.
    ORIGIN = "the function's environment in template.yaml"

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True)(cls)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read every field of the class from the environment.

        Raises:
            InvalidSettings: variables are missing or malformed; the message names all of them.
        """
        hints = get_type_hints(cls)
        values: dict[str, Any] = {}
        problems: list[str] = []
        for field in fields(cls):
            variable = field.name.upper()
            text = env.get(variable, "")
            if not text and not _has_default(field):
                problems.append(f"{variable} is missing")
            elif text:
                try:
                    values[field.name] = _parsed(text, hints[field.name])
                except ValueError as error:
                    problems.append(f"{variable}={text!r}: {error}")
        if problems:
            raise InvalidSettings(f"{cls.__name__}: {'; '.join(problems)}. These come from {cls.ORIGIN}.")
        return cls(**values)


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _parsed(text: str, kind: Any) -> Any:
    if kind == str | None:
        return text
    if kind == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(","))
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise ValueError(f"must be one of {', '.join(get_args(kind))}")
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("must be true or false")
        return text.lower() == "true"
    if kind == float | None:
        kind = float
    value = kind(text)
    if kind is float and not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value
