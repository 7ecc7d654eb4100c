"""The routes of the service: sample, encode and decode, and the same by the Open Inference Protocol, version 2."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ValidationError, WithJsonSchema
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from aae_zoo.runtime.arrays import check_classes, check_codes
from aae_zoo.runtime.classes import most_probable
from aae_zoo.runtime.errors import AaeZooError, InvalidInput
from aae_zoo.runtime.inputs import check_images
from aae_zoo.runtime.model import Model
from aae_zoo.runtime.noise import choose_label, uniform_noise
from aae_zoo.runtime.serving import bodies, protocol
from aae_zoo.runtime.serving.batching import ROWS, Arrays, Batcher
from aae_zoo.runtime.serving.limits import HEALTH, MAX_BODY, Gate

_Answers = dict[int | str, dict[str, Any]]

_JSON: Final = "application/json"
_PNG: Final = "image/png"
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_BUSY: Final = {
    "model": protocol.Error,
    "description": "As many requests as the limit are in work",
    "headers": {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "string"}}},
}
_REFUSED: Final[_Answers] = {
    400: {"model": protocol.Error, "description": "No JSON"},
    413: {"model": protocol.Error, "description": f"A body of more than {MAX_BODY} bytes"},
    415: {"model": protocol.Error, "description": "A body of another type"},
    422: {"model": protocol.Error, "description": "What the model cannot take"},
}
_UNKNOWN: Final[_Answers] = {
    404: {"model": protocol.Error, "description": "No such model or version"},
    422: {"model": protocol.Error, "description": "A parameter that is not known"},
}


class _Part(NamedTuple):
    """A model of the protocol: what it does, and the tensors that it takes and gives."""

    work: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class _Service:
    """A model behind a batcher: every request's arrays are checked alone, and run together with others'."""

    def __init__(self, model: Model) -> None:
        self.model, self.manifest = model, model.manifest
        self.batcher = Batcher(
            {
                "encode": lambda arrays: model.codes(arrays["image"]),
                "decode": lambda arrays: {"image": model.decode(arrays["z"], arrays.get("y"))},
                "draw": lambda arrays: {"image": model.sample_from(arrays["u"])},
            }
        )
        # The first run opens the graphs: what is wrong with them is said before anybody is told that all is ready.
        codes = model.codes(model.sample(1))
        name, codes_in = model.manifest.name, ("z", "y") if model.conditional else ("z",)
        self.parts = {
            name: _Part("draw", ("u",), ("image",)),
            f"{name}-encoder": _Part("encode", ("image",), tuple(codes)),
            f"{name}-decoder": _Part("decode", codes_in, ("image",)),
        }

    async def run(self, work: str, inputs: Arrays) -> Arrays:
        outputs = await asyncio.wrap_future(self.batcher.submit(work, self._checked(inputs)))
        if not all(np.isfinite(values).all() for values in outputs.values()):
            raise InvalidInput("the result is not finite; give numbers such as the encoder gives")
        return outputs

    def _checked(self, inputs: Arrays) -> Arrays:
        checks: dict[str, Callable[[Any], NDArray[np.float32]]] = {
            "image": lambda values: check_images(values, self.manifest.image),
            "z": lambda values: check_codes(values, self.manifest.latent, "z"),
            "y": lambda values: check_classes(values, len(self.manifest.labels)),
            "u": lambda values: check_codes(values, self.manifest.noise, "u"),
        }
        arrays = {name: checks[name](values) for name, values in inputs.items()}
        if "u" in arrays and not (arrays["u"].min() > 0 and arrays["u"].max() < 1):
            raise InvalidInput("u has values outside the open interval (0, 1)")
        return arrays


def create_app(model: Model, *, requests: int) -> tuple[FastAPI, Callable[[], None]]:
    """The service of a model that has at most so many requests in work, and what ends it when all are answered.

    Raises:
        InvalidBundle: a graph that cannot be opened.
    """
    service = _Service(model)
    app = FastAPI(
        title=f"aae-zoo: {model.manifest.name}",
        description=model.manifest.description,
        version=model.manifest.version,
        redirect_slashes=False,
        strict_content_type=False,  # clients of the protocol leave the type out
        redoc_url=None,
        dependencies=[Depends(_only_known_parameters)],
    )
    app.add_middleware(Gate, most=requests)
    app.add_exception_handler(RequestValidationError, _refuse_request)
    app.add_exception_handler(StarletteHTTPException, _refuse_http)
    app.add_exception_handler(AaeZooError, _refuse_input)
    app.add_exception_handler(ClientDisconnect, _nobody_waits)
    _add_images(app, service)
    _add_protocol(app, service)
    return app, service.batcher.close


def _add_images(app: FastAPI, service: _Service) -> None:
    manifest = service.manifest

    def known_label(label: str | None) -> str | None:
        if label is not None and label not in manifest.labels:
            raise ValueError(f"no label of {manifest.name}, which has {', '.join(manifest.labels)}")
        return label

    @app.get("/manifest", responses={503: _BUSY, 422: _UNKNOWN[422]})
    def manifest_() -> dict[str, Any]:
        """The model's manifest: shapes, labels, metrics, files, and where it came from."""
        return asdict(manifest)

    @app.get(
        "/sample",
        response_class=Response,
        responses={200: {"content": {_PNG: _BINARY, bodies.NPY: _BINARY}}, 422: _REFUSED[422], 503: _BUSY},
    )
    async def sample(
        n: Annotated[int, Query(ge=1, le=ROWS)] = 1,
        seed: Annotated[int, Query(ge=0, lt=1 << 64)] = 0,
        label: Annotated[
            str | None,
            AfterValidator(known_label),
            WithJsonSchema({"type": "string", "enum": list(manifest.labels)}),
            Query(include_in_schema=manifest.label_coordinate is not None),
        ] = None,
        format: Literal["png", "npy"] = "png",  # noqa: A002 - the parameter's name
    ) -> Response:
        """New images: a .png with all of them, or an .npy array float32 [n, C, H, W]. A seed gives the same again."""
        noise = uniform_noise(n, manifest.noise, seed)
        if label is not None and manifest.label_coordinate is not None:
            choose_label(noise, manifest.label_coordinate, manifest.labels.index(label), len(manifest.labels))
        return await _image_response((await service.run("draw", {"u": noise}))["image"], format)

    picture_types = dict.fromkeys((*bodies.PICTURES, bodies.NPY), _BINARY)

    @app.post(
        "/encode",
        response_class=Response,
        responses={
            **_REFUSED,
            200: {"model": bodies.Encoded, "content": {_JSON: {}, bodies.NPY: _BINARY}},
            503: _BUSY,
        },
        openapi_extra={"requestBody": {"required": True, "content": picture_types}},
    )
    async def encode(request: Request, resize: bool = False, format: Literal["json", "npy"] = "json") -> Response:  # noqa: A002
        """Codes of images: of one picture, or of an .npy array [n, C, H, W], uint8 or floats in [0, 1]."""
        kind, body = _media_type(request, picture_types), await request.body()
        if kind == bodies.NPY:
            images = bodies.read_npy(body)
        else:
            images = await run_in_threadpool(bodies.read_upload, body, manifest.image, resize=resize)
        codes: dict[str, Any] = {**await service.run("encode", {"image": images})}
        if format == "npy":
            return Response(bodies.npy(codes["z"]), media_type=bodies.NPY)
        if "y" in codes:
            codes["label"] = most_probable(codes["y"], manifest.labels).names
        return Response(bodies.json(codes), media_type=_JSON)

    Codes = bodies.codes_model(manifest, conditional=service.model.conditional)  # noqa: N806 - a class
    code_types = {_JSON: {"schema": Codes.model_json_schema()}, bodies.NPY: _BINARY}

    @app.post(
        "/decode",
        response_class=Response,
        responses={**_REFUSED, 200: {"content": {_PNG: _BINARY, bodies.NPY: _BINARY}}, 503: _BUSY},
        openapi_extra={"requestBody": {"required": True, "content": code_types}},
    )
    async def decode(request: Request, format: Literal["png", "npy"] = "png") -> Response:  # noqa: A002
        """Images of codes: of z (and y, where the decoder takes it) in JSON, or of an .npy array z [n, latent]."""
        kind, body = _media_type(request, code_types), await request.body()
        inputs = {"z": bodies.read_npy(body)} if kind == bodies.NPY else _json_codes(Codes, body)
        if service.model.conditional and "y" not in inputs:
            raise InvalidInput(f"the decoder of {manifest.name} takes y too; send JSON with z and y")
        return await _image_response((await service.run("decode", inputs))["image"], format)


def _add_protocol(app: FastAPI, service: _Service) -> None:
    manifest, shapes = service.manifest, protocol.shapes_of(service.manifest)
    healthy: _Answers = {422: _UNKNOWN[422]}
    answers: _Answers = {**_UNKNOWN, 503: _BUSY}

    def find(name: str, asked: str | None) -> _Part:
        if name not in service.parts:
            raise HTTPException(404, f"there is no model {name!r}; there are: {', '.join(service.parts)}")
        if asked not in (None, manifest.version):
            raise HTTPException(404, f"there is no version {asked!r} of {name}; there is {manifest.version}")
        return service.parts[name]

    @app.get(f"{HEALTH}/live", responses=healthy)
    async def live() -> protocol.Live:
        """Whether the server answers."""
        return protocol.Live(live=True)

    @app.get(f"{HEALTH}/ready", responses=healthy)
    async def ready() -> protocol.Ready:
        """Whether the model can run."""
        return protocol.Ready(ready=True)

    @app.get("/v2", responses={422: _UNKNOWN[422], 503: _BUSY})
    async def server_metadata() -> protocol.ServerMetadata:
        """What the server is."""
        return protocol.ServerMetadata(name="aae-zoo", version=version("aae-zoo"), extensions=[])

    @app.get("/v2/models/{name}", responses=answers)
    @app.get("/v2/models/{name}/versions/{version_}", responses=answers)
    async def model_metadata(name: str, version_: str | None = None) -> protocol.ModelMetadata:
        """What a model takes and gives."""
        part = find(name, version_)
        return protocol.ModelMetadata(
            name=name,
            versions=[manifest.version],
            platform=protocol.PLATFORM,
            inputs=protocol.describe(part.inputs, shapes),
            outputs=protocol.describe(part.outputs, shapes),
        )

    @app.get("/v2/models/{name}/ready", responses=answers)
    @app.get("/v2/models/{name}/versions/{version_}/ready", responses=answers)
    async def model_ready(name: str, version_: str | None = None) -> protocol.ModelReady:
        """Whether a model can run."""
        find(name, version_)
        return protocol.ModelReady(name=name, ready=True)

    inferred: _Answers = {
        **_REFUSED,
        **answers,
        200: {"model": protocol.InferResponse},
        422: _REFUSED[422],
    }

    @app.post("/v2/models/{name}/infer", response_class=Response, responses=inferred)
    @app.post("/v2/models/{name}/versions/{version_}/infer", response_class=Response, responses=inferred)
    async def infer(name: str, request: protocol.InferRequest, version_: str | None = None) -> Response:
        """Run a model on tensors."""
        part = find(name, version_)
        wanted = [output.name for output in request.outputs or []] or part.outputs
        if unknown := set(wanted) - set(part.outputs):
            raise InvalidInput(f"{name} has no output {', '.join(sorted(unknown))}, it has {', '.join(part.outputs)}")
        outputs = await service.run(part.work, protocol.read_tensors(request, part.inputs, shapes))
        answer: dict[str, Any] = {"model_name": name, "model_version": manifest.version}
        if request.id is not None:
            answer["id"] = request.id
        answer["outputs"] = protocol.write_tensors({output: outputs[output] for output in wanted})
        return Response(bodies.json(answer), media_type=_JSON)


async def _image_response(images: NDArray[np.float32], kind: str) -> Response:
    if kind == "npy":
        return Response(bodies.npy(images), media_type=bodies.NPY)
    return Response(await run_in_threadpool(bodies.png, images), media_type=_PNG)


def _media_type(request: Request, known: Any) -> str:
    kind = request.headers.get("content-type", "nothing").split(";")[0].strip().lower()
    if kind not in known:
        raise HTTPException(415, f"the body's Content-Type is {kind}, expected one of {', '.join(known)}")
    return kind


def _json_codes(kind: type[BaseModel], body: bytes) -> dict[str, NDArray[Any]]:
    try:
        codes = kind.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None
    arrays = {name: np.asarray(values) for name, values in codes.model_dump().items()}
    if len({len(values) for values in arrays.values()}) > 1:
        raise InvalidInput(f"z has {len(arrays['z'])} rows and y has {len(arrays['y'])}, expected as many")
    return {name: values if values.ndim == 1 else protocol.to_float32(values) for name, values in arrays.items()}


def _only_known_parameters(request: Request) -> None:
    """A parameter with a slip in its name would silently do nothing."""
    parameters = request.scope["route"].dependant.query_params
    known = [parameter.alias for parameter in parameters if parameter.field_info.include_in_schema]
    if unknown := sorted(set(request.query_params) - set(known)):
        raise HTTPException(422, f"there is no parameter {unknown[0]!r}, expected {' or '.join(known) or 'none'}")


async def _refuse_request(_: Request, error: Exception) -> Response:
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    where = ".".join(str(step) for step in first.get("loc", ()))
    found = repr(first.get("input"))[:80]
    return JSONResponse({"error": f"{where}: {first.get('msg')}, found {found}"}, 422)


async def _refuse_http(_: Request, error: Exception) -> Response:
    if not isinstance(error, StarletteHTTPException):
        raise error
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _refuse_input(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 422 if isinstance(error, InvalidInput) else 500)


async def _nobody_waits(_: Request, __: Exception) -> Response:
    """The client has gone before its body was whole: no fault of the service's, and nobody reads this."""
    return Response(status_code=400)
