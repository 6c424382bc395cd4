"""Errors over HTTP: `application/problem+json` (RFC 9457), with a sentence in `detail`."""

from __future__ import annotations

from collections.abc import Sequence
from http.client import responses
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from self1e.serve.engine import EngineError
from self1e.serve.messages import Kind

GONE = 499
"""nginx's status of requests whose client went away."""

MEDIA_TYPE = "application/problem+json"
LATER = 5
"""Seconds after which to try again, where that may help."""

MOST_ERRORS = 5
"""Of a request that are told."""

STATUS: dict[Kind, int] = {
    "picture": 422,
    "prompt": 422,
    "too_much": 413,
    "internal": 500,
    "crash": 500,
    "cancelled": 503,
    "busy": 429,
    "late": 503,
    "stopped": 503,
}


class Problem(HTTPException):
    """What the one who asks is told. (FastAPI hides other errors that come up while it reads a body.)

    Attributes:
        status: Of HTTP.
        detail: What was wrong, with the value, and what to do.
        headers: To send along.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, detail, headers or ({"Retry-After": str(LATER)} if status in (429, 503) else {}))
        self.status = status

    def __str__(self) -> str:
        return self.detail

    @classmethod
    def of(cls, error: EngineError) -> Problem:
        """That of a job which was not done."""
        return cls(STATUS[error.kind], str(error))

    @property
    def body(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "type": "about:blank",
            "title": responses.get(self.status, "Client Closed Request"),
            "status": self.status,
            "detail": self.detail,
        }

    @property
    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.body, self.status, self.headers, media_type=MEDIA_TYPE)


def in_words(errors: Sequence[Any]) -> str:
    """What pydantic found, as a sentence.

    >>> in_words([{"loc": ("body", "threshold"), "msg": "Input should be less than 1", "input": 7}])
    'threshold: input should be less than 1, not 7'
    """
    return "; ".join(_in_words(error) for error in errors[:MOST_ERRORS])


def _in_words(error: Any) -> str:
    if error.get("type") == "json_invalid":
        return f"the body is no JSON: {error['ctx']['error']}"
    place = ".".join(str(part) for part in error["loc"] if part != "body") or "the request"
    message = error["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    given = error.get("input")
    is_short = isinstance(given, float | int | str) and len(repr(given)) <= 80
    shows = is_short and error.get("type") not in ("missing", "value_error", "extra_forbidden")
    return f"{place}: {message}" + (f", not {given!r}" if shows else "")


def answer_with_problems(app: FastAPI) -> None:
    """Has all errors of an app answered in this form."""

    @app.exception_handler(Problem)
    async def told(_: Request, error: Problem) -> JSONResponse:
        return error.response

    @app.exception_handler(EngineError)
    async def not_done(_: Request, error: EngineError) -> JSONResponse:
        return Problem.of(error).response

    @app.exception_handler(RequestValidationError)
    async def unfit(_: Request, error: RequestValidationError) -> JSONResponse:
        return Problem(422, in_words(error.errors())).response

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        detail, headers = error.detail, dict(error.headers or {})
        if error.status_code == 404:
            detail = f"there is nothing at {request.url.path}: /openapi.json lists what there is"
        elif error.status_code == 405:
            detail = f"{request.method} is not for {request.url.path}: use {headers.get('Allow', 'another method')}"
        return Problem(error.status_code, detail, headers).response

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        # The traceback is in the log of the server; what it says may hold what was sent.
        return Problem(500, f"unexpected {type(error).__name__}: the server's log has more").response
