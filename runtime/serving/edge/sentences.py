"""How every refusal is answered: one sentence in JSON, which repeats nothing that controls a terminal."""

from collections.abc import Mapping

from starlette.responses import JSONResponse

from aae_zoo.runtime.escapes import line


def refusal(error: str, status: int, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer of this status that says what is wrong."""
    return JSONResponse({"error": line(error)}, status, headers)
