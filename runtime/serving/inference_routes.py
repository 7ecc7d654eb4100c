"""The routes of the Open Inference Protocol, version 2: health, metadata, and tensors in and out."""

from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.routing import APIRoute

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.serving import bodies, protocol, refusals
from aae_zoo.runtime.serving.limits import HEALTH, share_of
from aae_zoo.runtime.serving.service import Part, Service


def add_health(app: FastAPI) -> None:
    """GET /v2/health/live and /v2/health/ready: the model ran before anybody could ask."""

    @app.get(f"{HEALTH}/live", responses=refusals.QUERY)
    async def live() -> protocol.Live:
        """Whether the server answers."""
        return protocol.Live(live=True)

    @app.get(f"{HEALTH}/ready", responses=refusals.QUERY)
    async def ready() -> protocol.Ready:
        """Whether the model can run."""
        return protocol.Ready(ready=True)


def add_metadata(app: FastAPI, service: Service) -> None:
    """GET /v2 and /v2/models/NAME[/versions/VERSION][/ready]."""
    shapes, there = service.manifest.row_shapes, service.manifest.version
    answers = {**refusals.LIMITED, **refusals.UNKNOWN}

    @app.get("/v2", responses=refusals.LIMITED)
    async def server_metadata() -> protocol.ServerMetadata:
        """What the server is."""
        return protocol.ServerMetadata(name="aae-zoo", version=version("aae-zoo"), extensions=[])

    @app.get("/v2/models/{name}/versions/{version_}", responses=answers)
    async def version_metadata(name: str, version_: str) -> protocol.ModelMetadata:
        """What a version of a model takes and gives."""
        part = _find(service, name, version_)
        return protocol.ModelMetadata(
            name=name,
            versions=[there],
            platform=protocol.PLATFORM,
            inputs=protocol.describe(part.inputs, shapes),
            outputs=protocol.describe(part.outputs, shapes),
        )

    @app.get("/v2/models/{name}", responses=answers)
    async def model_metadata(name: str) -> protocol.ModelMetadata:
        """What a model takes and gives."""
        return await version_metadata(name, there)

    @app.get("/v2/models/{name}/versions/{version_}/ready", responses=answers)
    async def version_ready(name: str, version_: str) -> protocol.ModelReady:
        """Whether a version of a model can run."""
        _find(service, name, version_)
        return protocol.ModelReady(name=name, ready=True)

    @app.get("/v2/models/{name}/ready", responses=answers)
    async def model_ready(name: str) -> protocol.ModelReady:
        """Whether a model can run."""
        return await version_ready(name, there)


def add_infer(app: FastAPI, service: Service) -> None:
    """POST /v2/models/NAME[/versions/VERSION]/infer."""
    shapes = service.manifest.row_shapes
    answers: refusals.Answers = {**refusals.BODY, **refusals.UNKNOWN, 200: {"model": protocol.InferResponse}}
    routes = APIRouter(route_class=_weighed(service))

    @routes.post("/v2/models/{name}/versions/{version_}/infer", response_class=Response, responses=answers)
    async def infer_version(name: str, version_: str, asked: Request, request: protocol.InferRequest) -> Response:
        """Run a version of a model on tensors."""
        part = _find(service, name, version_)
        wanted = [output.name for output in request.outputs or []] or part.outputs
        if unknown := set(wanted) - set(part.outputs):
            raise InvalidInput(f"{name} has no output {', '.join(sorted(unknown))}, it has {', '.join(part.outputs)}")
        size = len(await asked.body())
        outputs = await service.run(
            part.work, await service.alone(size, protocol.read_tensors, request, part.inputs, shapes)
        )
        answer: dict[str, Any] = {"model_name": name, "model_version": service.manifest.version}
        if request.id is not None:
            answer["id"] = request.id
        answer["outputs"] = protocol.write_tensors({output: outputs[output] for output in wanted})
        size = sum(values.nbytes for values in outputs.values())
        return Response(await service.alone(size, bodies.json, answer), media_type="application/json")

    @routes.post("/v2/models/{name}/infer", response_class=Response, responses=answers)
    async def infer(name: str, asked: Request, request: protocol.InferRequest) -> Response:
        """Run a model on tensors."""
        return await infer_version(name, service.manifest.version, asked, request)

    app.include_router(routes)


def _weighed(service: Service) -> type[APIRoute]:
    """A route whose requests take their share of memory before another thread reads their JSON."""

    class ReadAlone(Request):
        async def json(self) -> Any:
            body = await self.body()
            return await service.alone(len(body), orjson.loads, body)

    class Weighed(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def weighed(request: Request) -> Response:
                if protocol.BINARY in request.headers:
                    raise InvalidInput(
                        "the tensors are binary, expected JSON, which tritonclient sends with binary_data=False"
                    )
                alone = ReadAlone(request.scope, request.receive)
                body = await alone.body()
                bodies.check_json(body)
                await share_of(request).take(bodies.json_cost(body) + service.cost(bodies.json_rows(body)), "the JSON")
                return await handle(alone)

            return weighed

    return Weighed


def _find(service: Service, name: str, asked: str) -> Part:
    if name not in service.parts:
        raise HTTPException(404, f"there is no model {name!r}; there are: {', '.join(service.parts)}")
    there = service.manifest.version
    if asked != there:
        raise HTTPException(404, f"there is no version {asked!r} of {name}; there is {there}")
    return service.parts[name]
