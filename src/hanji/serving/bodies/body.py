"""What all bodies share: strict fields, and errors that name the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, from_json

from hanji.contracts.errors import nearest
from hanji.serving.errors import ApiError, invalid


class Body(BaseModel):
    """A body.

    Attributes:
        why_not: fields of OpenAI's that are not honoured, with the reason; null is always taken.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())
    why_not: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """The body of a request.

        Raises:
            ApiError: it is no JSON, or says something that cannot be honoured.
        """
        try:
            return cls.model_validate_json(raw)
        except ValidationError as error:
            raise cls._problem(error.errors(include_url=False, include_context=False), raw) from None

    @classmethod
    def _problem(cls, errors: Sequence[ErrorDetails], raw: bytes) -> ApiError:
        first = errors[0]
        if first["type"] == "json_invalid":
            return invalid(
                f"The body is no JSON: {first['msg'].removeprefix('Invalid JSON: ')}", code="invalid_json"
            )
        value = from_json(raw)
        place = _place(first, value)
        field = str(first["loc"][0]) if first["loc"] else ""
        if field in cls.why_not:
            return invalid(
                f"`{field}` is not supported: {cls.why_not[field]}", field, "unsupported_parameter"
            )
        if first["type"] == "extra_forbidden":
            near = nearest(str(first["loc"][-1]), cls.model_fields)
            hint = f"; did you mean `{near}`?" if near else ""
            return invalid(f"There is no field `{place}`{hint}", place, "unknown_parameter")
        about = [one for one in errors if one["loc"][:1] == first["loc"][:1]]  # a union has several
        place = _place(max(about, key=lambda one: len(one["loc"])), value)
        said = list(dict.fromkeys(one["msg"] for one in about if _place(one, value) == place))[:3]
        return invalid(f"{place or 'The body'}: {' or: '.join(said)}", place or None, "invalid_value")


def _place(error: ErrorDetails, value: Any) -> str:
    """Where in the body it is, as `messages[0].content`; the names of a union's branches are left out."""
    place = ""
    for index, part in enumerate(error["loc"]):
        if isinstance(part, int) and isinstance(value, list) and part < len(value):
            place, value = f"{place}[{part}]", value[part]
        elif isinstance(value, dict) and (part in value or index == len(error["loc"]) - 1):
            place, value = f"{place}.{part}" if place else str(part), value.get(part)
    return place
