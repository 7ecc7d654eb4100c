"""The service as one application: its routes, its limits and its OpenAPI description."""

from collections.abc import Collection
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline

from aae_zoo.runtime.documents import as_document
from aae_zoo.runtime.serving import image_routes, inference_routes, refusals
from aae_zoo.runtime.serving.edge.hosts import Hosts
from aae_zoo.runtime.serving.edge.metrics import PATH, Measured, Metrics
from aae_zoo.runtime.serving.limits import BODIES, DECODED, Budget, Gate
from aae_zoo.runtime.serving.service import Service


def create_app(service: Service, *, requests: int, hosts: Collection[str], origins: Collection[str]) -> FastAPI:
    """The application of a service that works on at most `requests` requests at once.

    It answers to the names of `hosts` beside those of this machine, and pages of `origins` beside its own may ask it.
    """
    manifest = service.manifest
    app = FastAPIOffline(
        title=f"aae-zoo: {manifest.name}",
        description=manifest.description,
        version=manifest.version,
        servers=[{"url": "."}],  # beside the description, also where a proxy has all this under a path of its own
        redirect_slashes=False,
        strict_content_type=False,  # clients of the protocol leave the type out
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(refusals.only_known_parameters)],
    )
    _add_middleware(app, service, requests, hosts, origins)
    refusals.add_refusals(app)
    _add_docs(app)

    @app.get("/manifest", responses=refusals.LIMITED)
    async def manifest_() -> dict[str, Any]:
        """The model's manifest: shapes, labels, metrics, files, and where it came from."""
        return as_document(manifest)

    image_routes.add_sample(app, service)
    image_routes.add_encode(app, service)
    image_routes.add_decode(app, service)
    image_routes.add_reconstruct(app, service)
    image_routes.add_score(app, service)
    inference_routes.add_health(app)
    inference_routes.add_metadata(app, service)
    inference_routes.add_infer(app, service)
    return app


def _add_docs(app: FastAPI) -> None:
    """The pages for people. Their links are relative: a proxy may have them under a path of its own."""
    files = "static-offline-docs"

    def docs(_: Request) -> Response:
        return get_swagger_ui_html(
            title=app.title,
            openapi_url="openapi.json",
            swagger_js_url=f"{files}/swagger-ui-bundle.js",
            swagger_css_url=f"{files}/swagger-ui.css",
            swagger_favicon_url=f"{files}/favicon.png",
        )

    app.add_route("/docs", docs, include_in_schema=False)
    app.add_route("/", lambda _: RedirectResponse("docs"), include_in_schema=False)


def _add_middleware(
    app: FastAPI, service: Service, requests: int, hosts: Collection[str], origins: Collection[str]
) -> None:
    """What a request comes through, from the last that is added to the first; and what is measured of it."""
    budgets = {"bodies": Budget(BODIES), "decoded": Budget(DECODED)}
    metrics = Metrics(lambda: service.rows, lambda: {name: b.in_use for name, b in budgets.items()})
    app.add_middleware(Gate, most=requests, **budgets)
    if origins:
        headers = ["Content-Type", "Content-Encoding"]
        shown = ["Notice", "Retry-After"]  # what scripts may read beside the answer
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=headers,
            expose_headers=shown,
        )
    app.add_middleware(Hosts, hosts=hosts, origins=origins)
    app.add_middleware(Measured, metrics=metrics)

    def page(_: Request) -> Response:
        content, kind = metrics.page()
        return Response(content, media_type=kind)

    app.add_route(PATH, page, include_in_schema=False)
