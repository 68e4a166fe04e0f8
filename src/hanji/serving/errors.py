"""What a client is told when something is wrong, in the shape that OpenAI's clients read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.responses import JSONResponse

from hanji.contracts.errors import HanjiError, nearest

_KINDS: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """An answer that is an error.

    Args:
        status: of HTTP.
        message: a sentence for people.
        param: the field of the body that it is about, as `messages[0].content`.
        code: a word for programs.
        retry_after_seconds: when to try again, where that makes sense.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.retry_after_seconds = retry_after_seconds

    @property
    def kind(self) -> str:
        """OpenAI's `type`."""
        usual = "invalid_request_error" if self.status < 500 else "server_error"
        return _KINDS.get(self.status, usual)

    def body(self) -> dict[str, Any]:
        """The answer."""
        told = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": told}

    def headers(self) -> dict[str, str]:
        """What goes with it."""
        told = {}
        if self.retry_after_seconds is not None:
            told["Retry-After"] = str(self.retry_after_seconds)
        if self.status == 401:
            told["WWW-Authenticate"] = "Bearer"
        return told

    def response(self) -> JSONResponse:
        """As a whole answer."""
        return JSONResponse(self.body(), self.status, headers=self.headers())


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """400: the body says something that cannot be."""
    return ApiError(400, message, param=param, code=code)


def refused(error: HanjiError, param: str | None = None) -> ApiError:
    """400: what an error of ours says of a request; nothing in it tells of this machine."""
    said = error.problem if error.value is None else f"{error.problem}: {error.value}"
    parts = [said, f"expected {error.expected}" if error.expected else None, error.hint]
    return invalid("; ".join(part for part in parts if part), param)


def unknown_model(name: str, known: Iterable[str]) -> ApiError:
    """404: a model that is not served."""
    names = list(known)
    near = nearest(name, names)
    hint = f"did you mean {near}?" if near else f"there is {', '.join(names) or 'none'}"
    return ApiError(404, f"The model `{name}` is not served; {hint}", param="model", code="model_not_found")


def busy(message: str, seconds: int = 1, code: str = "rate_limit_exceeded") -> ApiError:
    """429: too much at once."""
    return ApiError(429, message, code=code, retry_after_seconds=seconds)
