"""The routes for people and scripts: sample, encode and decode, with pictures and .npy arrays."""

import io
from typing import Annotated, Any, Final, Literal

import numpy as np
import orjson
from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ValidationError, WithJsonSchema

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.formats.images import check_images, from_pixels
from aae_zoo.runtime.formats.pictures import measure, read_picture
from aae_zoo.runtime.formats.plan import Invert, Notices, Plan, parse_range
from aae_zoo.runtime.latent.classes import most_probable
from aae_zoo.runtime.latent.noise import choose_label, uniform_noise
from aae_zoo.runtime.serving import bodies, refusals
from aae_zoo.runtime.serving.batching import ROWS
from aae_zoo.runtime.serving.limits import share_of
from aae_zoo.runtime.serving.protocol import to_float32
from aae_zoo.runtime.serving.service import Service

# How often an array is there, in bytes of its own, while its range, colours and size become the model's.
_FITTING: Final = 16
_JSON: Final = "application/json"
_PNG: Final = "image/png"
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_IMAGES: Final[refusals.Answers] = {200: {"content": {_PNG: _BINARY, bodies.NPY: _BINARY}}}


def add_sample(app: FastAPI, service: Service) -> None:
    """GET /sample."""
    manifest = service.manifest

    def known_label(label: str | None) -> str | None:
        if label is not None and label not in manifest.labels:
            raise ValueError(f"no label of {manifest.name}, which has {', '.join(manifest.labels)}")
        return label

    @app.get("/sample", response_class=Response, responses={**refusals.LIMITED, **_IMAGES})
    async def sample(
        request: Request,
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
        await share_of(request).take(service.cost(n), f"{n} images")
        noise = uniform_noise(n, manifest.noise, seed)
        if label is not None and manifest.label_coordinate is not None:
            choose_label(noise, manifest.label_coordinate, manifest.labels.index(label), len(manifest.labels))
        return await _image_response((await service.run("draw", {"u": noise}))["image"], format)


def add_encode(app: FastAPI, service: Service) -> None:
    """POST /encode."""
    manifest = service.manifest
    types = dict.fromkeys((*bodies.PICTURES, bodies.NPY), _BINARY)
    encoded: refusals.Answers = {200: {"model": bodies.Encoded, "content": {_JSON: {}, bodies.NPY: _BINARY}}}

    @app.post(
        "/encode",
        response_class=Response,
        responses={**refusals.BODY, **encoded},
        openapi_extra={"requestBody": {"required": True, "content": types}},
    )
    async def encode(
        request: Request,
        resize: bool = False,
        invert: Invert = "auto",
        range: str | None = None,  # noqa: A002 - the parameters' names
        format: Literal["json", "npy"] = "json",  # noqa: A002
    ) -> Response:
        """Codes of images: of one picture, or of an .npy array [n, C, H, W], uint8 or floats in [0, 1].

        `resize` makes images of any size fit, `invert` turns those that are on another ground than the model's own,
        and `range`, such as 0..4095, says which raw values are black and white. What was inverted, or seems to need a
        range, is said in the answer's header `notice`.
        """
        plan = Plan.of(manifest, {"resize": resize, "invert": invert, "range": parse_range(range)})
        notices = Notices(quiet=True)
        kind, body = refusals.media_type(request, types), await request.body()
        if kind == bodies.NPY:
            array = await _array(request, service, body)
            if plan.resize or plan.range:
                await share_of(request).take(_FITTING * len(body), "the array")
            images = await run_in_threadpool(check_images, array, plan, notices)
        else:
            decoding = await run_in_threadpool(measure, io.BytesIO(body), plan)
            await share_of(request).take(decoding.cost + service.cost(1), f"the picture of {decoding}")
            pixels = await run_in_threadpool(read_picture, io.BytesIO(body), plan, notices)
            images = check_images(from_pixels(pixels[None], [""], {}), plan)
        codes: dict[str, Any] = {**await service.run("encode", {"image": images})}
        said = {"notice": "; ".join(notices.sentences.values())} if notices.sentences else None
        if format == "npy":
            return Response(bodies.npy(codes["z"]), media_type=bodies.NPY, headers=said)
        if "y" in codes:
            codes["label"] = most_probable(codes["y"], manifest.labels).names
        return Response(bodies.json(codes), media_type=_JSON, headers=said)


def add_decode(app: FastAPI, service: Service) -> None:
    """POST /decode."""
    codes = bodies.codes_model(service.manifest, conditional=service.conditional)
    types = {_JSON: {"schema": codes.model_json_schema()}, bodies.NPY: _BINARY}

    @app.post(
        "/decode",
        response_class=Response,
        responses={**refusals.BODY, **_IMAGES},
        openapi_extra={"requestBody": {"required": True, "content": types}},
    )
    async def decode(request: Request, format: Literal["png", "npy"] = "png") -> Response:  # noqa: A002
        """Images of codes: of z (and y, where the decoder takes it) in JSON, or of an .npy array z [n, latent]."""
        kind, body = refusals.media_type(request, types), await request.body()
        if kind == bodies.NPY:
            inputs = {"z": await _array(request, service, body)}
        else:
            await share_of(request).take(bodies.json_cost(body) + service.cost(bodies.json_rows(body)), "the JSON")
            inputs = await run_in_threadpool(_json_codes, codes, body)
        if service.conditional and "y" not in inputs:
            raise InvalidInput(f"the decoder of {service.manifest.name} takes y too; send JSON with z and y")
        return await _image_response((await service.run("decode", inputs))["image"], format)


async def _array(request: Request, service: Service, body: bytes) -> NDArray[Any]:
    """The array of a body, for which the request takes its share of memory."""
    array = bodies.read_npy(body)
    await share_of(request).take(service.cost(len(array) if array.ndim else 1), "the array")
    return array


async def _image_response(images: NDArray[np.float32], kind: str) -> Response:
    if kind == "npy":
        return Response(bodies.npy(images), media_type=bodies.NPY)
    return Response(await run_in_threadpool(bodies.png, images), media_type=_PNG)


def _json_codes(kind: type[BaseModel], body: bytes) -> dict[str, NDArray[Any]]:
    try:
        codes = kind.model_validate(orjson.loads(body))  # half the memory of pydantic's own reader
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body cannot be read as JSON ({error})") from None
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None
    arrays = {name: np.asarray(values) for name, values in codes.model_dump().items()}
    if len({len(values) for values in arrays.values()}) > 1:
        raise InvalidInput(f"z has {len(arrays['z'])} rows and y has {len(arrays['y'])}, expected the same number")
    return {name: values if values.ndim == 1 else to_float32(values) for name, values in arrays.items()}
