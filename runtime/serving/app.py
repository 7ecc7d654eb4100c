"""The service as one application: its routes, its limits and its OpenAPI description."""

from dataclasses import asdict
from typing import Any

from fastapi import Depends, FastAPI

from aae_zoo.runtime.serving import image_routes, inference_routes, refusals
from aae_zoo.runtime.serving.limits import Gate
from aae_zoo.runtime.serving.service import Service


def create_app(service: Service, *, requests: int) -> FastAPI:
    """The application of a service that works on at most `requests` requests at once."""
    manifest = service.manifest
    app = FastAPI(
        title=f"aae-zoo: {manifest.name}",
        description=manifest.description,
        version=manifest.version,
        redirect_slashes=False,
        strict_content_type=False,  # clients of the protocol leave the type out
        redoc_url=None,
        dependencies=[Depends(refusals.only_known_parameters)],
    )
    app.add_middleware(Gate, most=requests)
    refusals.add_refusals(app)

    @app.get("/manifest", responses=refusals.LIMITED)
    async def manifest_() -> dict[str, Any]:
        """The model's manifest: shapes, labels, metrics, files, and where it came from."""
        return asdict(manifest)

    image_routes.add_sample(app, service)
    image_routes.add_encode(app, service)
    image_routes.add_decode(app, service)
    inference_routes.add_health(app)
    inference_routes.add_metadata(app, service)
    inference_routes.add_infer(app, service)
    return app
