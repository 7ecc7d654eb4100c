"""What the service refuses, and how it says so: one sentence for every mistake."""

import reprlib
from collections import Counter
from collections.abc import Collection
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from aae_zoo.runtime.errors import AaeZooError, InvalidInput
from aae_zoo.runtime.serving.edge.sentences import refusal
from aae_zoo.runtime.serving.limits import DECODED, MAX_BODY, PATIENCE, Budget
from aae_zoo.runtime.serving.protocol import Error

LARGEST: Final = Budget(DECODED).largest

# Types that are not registered, and are sent all the same.
_ALIASES: Final = {"image/jpg": "image/jpeg"}

Answers = dict[int | str, dict[str, Any]]

# What the OpenAPI description says of routes: those that look at the query alone, are limited, and take a body.
QUERY: Final[Answers] = {422: {"model": Error, "description": "A parameter that is not known or not valid"}}
LIMITED: Final[Answers] = {
    **QUERY,
    413: {"model": Error, "description": f"What takes more than {LARGEST} bytes of memory"},
    503: {
        "model": Error,
        "description": f"As many requests as the limit are in work, or have the memory for {PATIENCE:g} seconds",
        "headers": {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "string"}}},
    },
}
BODY: Final[Answers] = {
    **LIMITED,
    400: {"model": Error, "description": "No JSON"},
    408: {"model": Error, "description": "A body that has not come in time"},
    413: {"model": Error, "description": f"A body of more than {MAX_BODY} bytes, or of {LARGEST} when it is decoded"},
    415: {"model": Error, "description": "A body of another type, or packed in another way than gzip"},
    422: {"model": Error, "description": "What the model cannot take"},
}
UNKNOWN: Final[Answers] = {404: {"model": Error, "description": "No such model or version"}}


def add_refusals(app: FastAPI) -> None:
    """Have every error of a request answered with one sentence."""
    app.add_exception_handler(RequestValidationError, _request)
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(AaeZooError, _model)
    app.add_exception_handler(ClientDisconnect, _nobody_waits)


async def only_known_parameters(request: Request) -> None:
    """Refuse a parameter that would silently do nothing, being misspelt or given again; on the event loop."""
    known = _described_parameters(request)
    given = Counter(name for name, _ in request.query_params.multi_items())
    if unknown := sorted(set(given) - set(known)):
        raise HTTPException(422, f"there is no parameter {unknown[0]!r}, expected {' or '.join(known) or 'none'}")
    if again := [name for name, times in given.items() if times > 1 and not known[name]]:
        raise HTTPException(422, f"the parameter {again[0]!r} is given {given[again[0]]} times, expected one")


def _described_parameters(request: Request) -> dict[str, bool]:
    """The query's parameters by the OpenAPI description, which FastAPI makes once, and whether each has several values.

    The one place that reads FastAPI's own record of a route; of it, only `path_format` (as in 0.135 and later) is not
    part of OpenAPI 3.1.
    """
    path = request.app.openapi()["paths"].get(request.scope["route"].path_format, {})  # the pages are not described
    operation = path.get(request.method.lower(), {})
    parameters = [parameter for parameter in operation.get("parameters", ()) if parameter["in"] == "query"]
    return {parameter["name"]: parameter["schema"].get("type") == "array" for parameter in parameters}


def media_type(request: Request, known: Collection[str]) -> str:
    """The type of a request's body, which must be among `known`."""
    kind = request.headers.get("content-type", "nothing").split(";")[0].strip().lower()
    kind = _ALIASES.get(kind, kind)
    if kind not in known:
        raise HTTPException(415, f"the body's Content-Type is {kind}, expected one of {', '.join(known)}")
    return kind


async def _request(_: Request, error: Exception) -> Response:
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    if first.get("type") == "json_invalid":  # FastAPI keeps what is wrong apart from its message
        *_, place = first["loc"]
        return refusal(f"the body cannot be read as JSON ({first['ctx']['error']}, at {place})", 422)
    if first.get("type") == "value_error":  # what our own checks say, which is a sentence already
        return refusal(str(first["ctx"]["error"]), 422)
    where = ".".join(str(step)[:80] for step in first.get("loc", ())) or "body"
    found = reprlib.repr(first.get("input"))[:80]
    is_object = first.get("type") in ("model_type", "model_attributes_type")  # pydantic would name our classes
    said = "Input should be a JSON object" if is_object else first.get("msg")
    return refusal(f"{where}: {said}, found {found}", 422)


async def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, StarletteHTTPException):
        raise error
    path, headers = request.url.path[:80], error.headers or {}
    # The framework's own words are these two, which name nothing.
    said = {
        "Not Found": f"there is nothing at {path!r}, expected a path that GET /docs shows",
        "Method Not Allowed": f"{path!r} does not take {request.method[:20]}, expected {headers.get('Allow')}",
    }
    return refusal(said.get(error.detail, error.detail), error.status_code, headers)


async def _model(_: Request, error: Exception) -> Response:
    return refusal(str(error), 422 if isinstance(error, InvalidInput) else 500)


async def _nobody_waits(_: Request, __: Exception) -> Response:
    """The client went away before its body was whole: not the service's fault, and nobody reads this."""
    return Response(status_code=400)
