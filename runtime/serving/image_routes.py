"""The routes for people and scripts: from sample to score and maps, with pictures and .npy arrays."""

import io
from functools import partial
from typing import Annotated, Any, Final, Literal

import numpy as np
import orjson
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ValidationError, WithJsonSchema

from aae_zoo.runtime.bundles.manifest import Manifest, ScoreLimits
from aae_zoo.runtime.drawing.maps import Maps
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.formats.arrays import Arrays
from aae_zoo.runtime.formats.images import Images, check_images, from_pixels
from aae_zoo.runtime.formats.pictures import measure, read_picture
from aae_zoo.runtime.formats.plan import How, Invert, Notices, Plan, parse_range
from aae_zoo.runtime.latent.attributes import LABEL, Asked, parse_attributes, told, with_label
from aae_zoo.runtime.latent.noise import uniform_noise
from aae_zoo.runtime.latent.score import DRAWS, Scores, contrast_of, judge, judge_detected
from aae_zoo.runtime.serving import bodies, refusals
from aae_zoo.runtime.serving.batching import ROWS
from aae_zoo.runtime.serving.edge.packed import FORM, file_of_form
from aae_zoo.runtime.serving.limits import off_the_loop, share_of
from aae_zoo.runtime.serving.protocol import to_float32
from aae_zoo.runtime.serving.service import Service
from aae_zoo.runtime.words import counted

_JSON: Final = "application/json"
_PNG: Final = "image/png"
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_IMAGE_TYPES: Final = (*bodies.PICTURES, bodies.NPY)
_FORM: Final = {
    "schema": {"type": "object", "properties": {"file": _BINARY["schema"]}, "required": ["file"]},
    "encoding": {"file": {"contentType": ", ".join(_IMAGE_TYPES)}},
}
_IMAGES_IN: Final = {
    "requestBody": {"required": True, "content": {**dict.fromkeys(_IMAGE_TYPES, _BINARY), FORM: _FORM}}
}
# Bytes for a number of an array that is resized: as float32, moved, in gray or colour, and laid out anew.
_RESIZING: Final = 24
# Bytes for a row that is scored: its distances to the prior's draws, and what they are made of.
_SCORE_ROW: Final = 4 * 8 * DRAWS
_IMAGES: Final[refusals.Answers] = {200: {"content": {_PNG: _BINARY, bodies.NPY: _BINARY}}}


async def _prepared(resize: bool = False, invert: Invert = "auto", range: str | None = None) -> How:  # noqa: A002
    return {"resize": resize, "invert": invert, "range": parse_range(range)}


# What a request says of how its images are prepared.
Prepared = Annotated[How, Depends(_prepared)]


def _known(manifest: Manifest) -> AfterValidator:
    """Refuses what cannot be asked of the model, as NAME=VALUE."""

    def check(texts: tuple[str, ...]) -> tuple[str, ...]:
        try:
            Asked(manifest, parse_attributes(texts), 1)
        except InvalidInput as error:
            raise ValueError(str(error)) from None
        return texts

    return AfterValidator(check)


def _all(manifest: Manifest) -> WithJsonSchema:
    """All that can be asked of the model, as NAME=VALUE."""
    every = [f"{attribute.name}={label}" for attribute in manifest.asked for label in attribute.labels]
    return WithJsonSchema({"type": "array", "items": {"type": "string", "enum": every}})


def add_sample(app: FastAPI, service: Service) -> None:
    """GET /sample."""
    manifest = service.manifest

    def known_label(label: str | None) -> str | None:
        if label is not None and label not in manifest.labels:
            expected = f"one of {', '.join(manifest.labels)}" if manifest.labels else "none"
            raise ValueError(f"{manifest.name} has no label {label[:80]!r}, expected {expected}")
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
        with_: Annotated[
            tuple[str, ...],
            _known(manifest),
            _all(manifest),
            Query(alias="with", include_in_schema=bool(manifest.asked)),
        ] = (),
        format: Literal["png", "npy"] = "png",  # noqa: A002 - the parameter's name
    ) -> Response:
        """New images: a .png with all of them, or an .npy array float32 [n, C, H, W]. A seed gives the same again."""
        await share_of(request).take(service.cost(n), counted(n, "image"))
        asked = Asked(manifest, with_label(parse_attributes(with_), label), n)
        asked.check_drawn()
        noise = uniform_noise(n, manifest.noise, seed)
        asked.choose(noise, slice(None))
        return await _image_response((await service.run("draw", {"u": noise}))["image"], format)


def add_encode(app: FastAPI, service: Service) -> None:
    """POST /encode."""
    manifest = service.manifest
    encoded: refusals.Answers = {200: {"model": bodies.Encoded, "content": {_JSON: {}, bodies.NPY: _BINARY}}}

    @app.post(
        "/encode",
        response_class=Response,
        responses={**refusals.BODY, **encoded},
        openapi_extra=_IMAGES_IN,
    )
    async def encode(request: Request, how: Prepared, format: Literal["json", "npy"] = "json") -> Response:  # noqa: A002
        """Codes of images: of one picture, or of an .npy array [n, C, H, W], uint8 or floats in [0, 1].

        `resize` makes images of any size fit, `invert` turns those that are on another ground than the model's own,
        and `range`, such as 0..4095, says which raw values are black and white. What was inverted, or seems to need a
        range, is said in the answer's header `notice`.
        """
        images, said = await _images(request, service, how)
        codes: dict[str, Any] = {**await service.run("encode", {"image": images})}
        if format == "npy":
            return Response(bodies.npy(codes["z"]), media_type=bodies.NPY, headers=said)
        found = told(codes["y"], manifest) if "y" in codes else {}
        if manifest.attributes:
            codes["attributes"] = {n: {"value": c.names, "probability": c.probabilities} for n, c in found.items()}
        elif found:
            codes["label"] = found[LABEL].names
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
            bodies.check_json(body)
            await share_of(request).take(bodies.json_cost(body) + service.cost(bodies.json_rows(body)), "the JSON")
            inputs = await service.alone(len(body), _json_codes, codes, body)
        if service.conditional and "y" not in inputs:
            raise InvalidInput(f"the decoder of {service.manifest.name} takes y too; send JSON with z and y")
        return await _image_response((await service.run("decode", inputs))["image"], format)


def add_reconstruct(app: FastAPI, service: Service) -> None:
    """POST /reconstruct."""
    manifest = service.manifest

    @app.post(
        "/reconstruct",
        response_class=Response,
        responses={**refusals.BODY, **_IMAGES},
        openapi_extra=_IMAGES_IN,
    )
    async def reconstruct(
        request: Request,
        how: Prepared,
        with_: Annotated[
            tuple[str, ...],
            _known(manifest),
            _all(manifest),
            Query(alias="with", include_in_schema=service.conditional),
        ] = (),
        format: Literal["png", "npy"] = "png",  # noqa: A002 - the parameter's name
    ) -> Response:
        """What the model makes of images, given as for /encode: decoded from their codes, or redrawn with others."""
        images, said = await _images(request, service, how)
        if with_:
            asked = Asked(manifest, parse_attributes(with_), len(images))
            asked.check_redrawn(conditional=service.conditional)
            codes = await service.run("encode", {"image": images})
            y = asked.replace(codes.get("y"), slice(None))
            again = await service.run("decode", {"z": codes["z"], "y": y})
        else:
            again = await service.run("reconstruct", {"image": images})
        return await _image_response(again["image"], format, said)


def add_score(app: FastAPI, service: Service) -> None:
    """POST /score and /maps, where the model has an anomaly score."""
    limits = service.manifest.score
    if limits is None and not service.detects:
        return

    @app.post(
        "/score",
        response_class=Response,
        responses={**refusals.BODY, 200: {"model": bodies.Scored}},
        openapi_extra=_IMAGES_IN,
    )
    async def score(request: Request, how: Prepared) -> Response:
        """How unlike the model's training images each image is, given as for /encode, and whether it is anomalous."""
        images, said = await _images(request, service, how)
        await share_of(request).take(len(images) * _SCORE_ROW, "the scores")
        parts = await service.run("detect" if service.detects else "score", {"image": images})
        found = bodies.json({**_judged(parts, images, limits).columns(), "threshold": service.threshold})
        return Response(found, media_type=_JSON, headers=said)

    @app.post(
        "/maps",
        response_class=Response,
        responses={**refusals.BODY, **_IMAGES},
        openapi_extra=_IMAGES_IN,
    )
    async def maps(request: Request, how: Prepared, format: Literal["png", "npy"] = "png") -> Response:  # noqa: A002
        """Where images, given as for /encode, are odd: a .png with all of them under heat, or the maps, an .npy array.

        Both are in the size of the model's images, the array is float32 [n, 1, H, W]: 0 where an image is not odd,
        about 1 where it is.
        """
        images, said = await _images(request, service, how)
        await share_of(request).take(len(images) * _SCORE_ROW + service.cost(len(images)), "the maps")
        heat = (await service.run("map", {"image": images}))["map"]
        if format == "png":
            seen = Images([""] * len(images), lambda part: images[part])
            heat = await run_in_threadpool(Maps(heat, seen).overlays)
        return await _image_response(heat, format, said)


def _judged(parts: Arrays, images: NDArray[np.float32], limits: ScoreLimits | None) -> Scores:
    if limits is None or "score" in parts:
        return judge_detected(parts["score"], contrast_of(images), limits)
    return judge(parts["reconstruction"], parts["distance"], parts["contrast"], limits)


async def _images(request: Request, service: Service, how: How) -> tuple[NDArray[Any], dict[str, str]]:
    """The images of a body, for which the request takes its share of memory, and the header that says what was done.

    The body is a picture, an array or a form with one.
    """
    notices = Notices(quiet=True)
    images = await _read_images(request, service, Plan.of(service.manifest, how), notices)
    return images, {"notice": "; ".join(notices.sentences.values())} if notices.sentences else {}


async def _read_images(request: Request, service: Service, plan: Plan, notices: Notices) -> NDArray[Any]:
    kind, body = refusals.media_type(request, (*_IMAGE_TYPES, FORM)), await request.body()
    if kind == FORM:
        body = file_of_form(request.headers["content-type"], body)
        kind = bodies.NPY if bodies.is_npy(body) else "a picture"
    if kind == bodies.NPY:
        array = await _array(request, service, body)
        if plan.resize or plan.range:
            await share_of(request).take(_RESIZING * array.size, "the array's images")
        return await off_the_loop(array.nbytes, partial(check_images, array, plan, notices))
    decoding = await off_the_loop(len(body), measure, io.BytesIO(body), plan)
    await share_of(request).take(decoding.cost + service.cost(1), f"the picture of {decoding}")
    pixels = await run_in_threadpool(read_picture, io.BytesIO(body), plan, notices)
    return from_pixels(pixels[None], [""], {}).rows(slice(0, 1))


async def _array(request: Request, service: Service, body: bytes) -> NDArray[Any]:
    """The array of a body, for which the request takes its share of memory."""
    array = bodies.read_npy(body)
    await share_of(request).take(service.cost(len(array) if array.ndim else 1), "the array")
    return array


async def _image_response(images: NDArray[np.float32], kind: str, headers: dict[str, str] | None = None) -> Response:
    if kind == "npy":
        return Response(bodies.npy(images), media_type=bodies.NPY, headers=headers)
    return Response(await run_in_threadpool(bodies.png, images), media_type=_PNG, headers=headers)


def _json_codes(kind: type[BaseModel], body: bytes) -> dict[str, NDArray[Any]]:
    try:
        codes = kind.model_validate(orjson.loads(body))  # half the memory of pydantic's own reader
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body cannot be read as JSON ({error})") from None
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None
    arrays = {name: np.asarray(values) for name, values in codes.model_dump().items()}
    if len({len(values) for values in arrays.values()}) > 1:
        raise InvalidInput(
            f"z has {counted(len(arrays['z']), 'row')} and y has {len(arrays['y'])}, expected the same number"
        )
    return {name: values if values.ndim == 1 else to_float32(values) for name, values in arrays.items()}
