"""The routes. Everything here needs the token; nothing is told of films, only of results."""

import asyncio
import io
import secrets
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ...films.library_logs import quiet
from ..door import CANNOT_UNDERSTAND, SUCCESS, Intake, taken_syntaxes
from ..objects.origin import reference
from ..spool import is_uid
from .parts import BadBody, Parts, boundary_of
from .results import Result, Results

DICOM_JSON = "application/dicom+json"
CALLER = "DICOMweb"  # as whom the journal knows who posts
WHOLE, PIECE = 600.0, 30.0  # seconds that a body, and the next piece of it, may take
AT_ONCE = 4  # bodies
_PAGE = 1000  # results of one search at most


def application(intake: Intake, results: Results, largest: int) -> Starlette:
    """``largest``: bytes of a film."""
    store = partial(_store, intake=intake, largest=largest, room=asyncio.Semaphore(AT_ONCE))
    routes = [Route("/studies", store, methods=["POST"]), Route("/studies/{study}", store, methods=["POST"])]
    for path in (
        *("/studies", "/series", "/instances", "/studies/{study}/series", "/studies/{study}/instances"),
        "/studies/{study}/series/{series}/instances",
    ):
        routes.append(Route(path, partial(_search, results=results, level=path.rpartition("/")[2])))
    for whole in ("/studies/{study}", "/studies/{study}/series/{series}"):
        routes += _retrievals(whole, results)
    routes += _retrievals("/studies/{study}/series/{series}/instances/{instance}", results)
    rendered = "/studies/{study}/series/{series}/instances/{instance}/rendered"
    routes.append(Route(rendered, partial(_rendered, results=results)))
    return Starlette(routes=routes, exception_handlers={Exception: _unexpected, 404: _missing})


def _retrievals(path: str, results: Results) -> list[Route]:
    return [
        Route(path, partial(_retrieve, results=results)),
        Route(f"{path}/metadata", partial(_metadata, results=results)),
    ]


# STOW-RS


async def _store(request: Request, intake: Intake, largest: int, room: asyncio.Semaphore) -> Response:
    """Each part a film: kept and journalled before the answer, as at the DICOM door. So many at once."""
    async with room:
        return await _stored(request, intake, largest)


async def _stored(request: Request, intake: Intake, largest: int) -> Response:
    stored: list[Dataset] = []
    failed: list[Dataset] = []
    try:
        parts = Parts(boundary_of(request.headers.get("content-type", "")), largest)
        async for data in _in_time(request.stream()):
            for part in parts.feed(data):
                item, status = await run_in_threadpool(_taken, part, request.path_params.get("study"), intake)
                (stored if status == SUCCESS else failed).append(item)
        parts.finish()
    except BadBody as error:
        if not stored and not failed:
            return JSONResponse({"error": str(error)}, error.status)
        failed.append(_failure("", "", CANNOT_UNDERSTAND))
    answer = Dataset()
    if stored:
        answer.ReferencedSOPSequence = Sequence(stored)
    if failed:
        answer.FailedSOPSequence = Sequence(failed)
    status = 200 if not failed else 202 if stored else 409
    return JSONResponse(answer.to_json_dict(), status, media_type=DICOM_JSON)


async def _in_time(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A body that keeps coming. Errors: BadBody."""
    until = time.monotonic() + WHOLE
    while True:
        try:
            yield await asyncio.wait_for(anext(body), min(PIECE, max(0.0, until - time.monotonic())))
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise BadBody("too slow", 408) from None


def _taken(data: bytes, study: str | None, intake: Intake) -> tuple[Dataset, int]:
    """A film's item of the answer, and its status."""
    try:
        with quiet():
            wanted = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"]
            syntax = _syntax(data)
            head = dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=wanted)
            uid, sop_class = str(head.SOPInstanceUID), str(head.SOPClassUID)
            of = str(head.StudyInstanceUID)
    except Exception:  # no DICOM, or one without these; pydicom's words may quote it
        return _failure("", "", CANNOT_UNDERSTAND), CANNOT_UNDERSTAND
    if study is not None and study != of:
        return _failure(uid, sop_class, 0xA900), 0xA900
    status = intake.take(uid, sop_class, syntax, CALLER, (data,), len(data))
    item = reference(sop_class, uid) if status == SUCCESS else _failure(uid, sop_class, status)
    return item, status


def _syntax(data: bytes) -> str:
    """The transfer syntax, from the meta header alone: a deflated file is not to be inflated here.

    Errors: ValueError and pydicom's own.
    """
    start = 144 + int.from_bytes(data[140:144], "little")  # behind it, by its group length
    if data[128:140] != b"DICM\2\0\0\0UL\4\0" or start >= len(data) or data[start : start + 2] == b"\2\0":
        raise ValueError
    syntax = str(dcmread(io.BytesIO(data[:start])).file_meta.TransferSyntaxUID)
    if syntax not in taken_syntaxes():
        raise ValueError
    return syntax


def _failure(uid: str, sop_class: str, status: int) -> Dataset:
    item = reference(sop_class if is_uid(sop_class) else "", uid if is_uid(uid) else "")
    item.FailureReason = status
    return item


# QIDO-RS


async def _search(request: Request, results: Results, level: str) -> Response:
    asked = dict(request.query_params)
    try:
        limit = min(_PAGE, int(asked.pop("limit", _PAGE)))
        offset = int(asked.pop("offset", 0))
    except ValueError:
        return JSONResponse({"error": "limit and offset are whole numbers"}, 400)
    study, series = request.path_params.get("study"), request.path_params.get("series")
    found = await run_in_threadpool(results.search, level, study, series, asked)
    page = found[max(0, offset) : max(0, offset) + max(0, limit)]
    return JSONResponse(page, media_type=DICOM_JSON) if page else Response(status_code=204)


# WADO-RS


async def _retrieve(request: Request, results: Results) -> Response:
    """The files themselves, as multipart/related."""
    found = await _found(request, results)
    if not found:
        return _nothing()
    boundary = secrets.token_hex(16)
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    return StreamingResponse(_bodies(found, boundary), media_type=kind)


async def _bodies(found: list[Result], boundary: str) -> AsyncIterator[bytes]:
    for result in found:
        try:
            data = await run_in_threadpool(result.path.read_bytes)
        except FileNotFoundError:  # its time was over in between
            continue
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\nContent-Length: {len(data)}\r\n\r\n"
        yield head.encode() + data + b"\r\n"
    yield f"--{boundary}--\r\n".encode()


async def _metadata(request: Request, results: Results) -> Response:
    """DICOM JSON of everything but pixels and document."""
    found = await _found(request, results)
    if not found:
        return _nothing()
    return JSONResponse([one.head.to_json_dict() for one in found], media_type=DICOM_JSON)


async def _rendered(request: Request, results: Results) -> Response:
    """The page as a PNG."""
    found = await _found(request, results)
    if not found:
        return _nothing()
    data = await run_in_threadpool(_picture, found[0])
    if data is None:
        return JSONResponse({"error": f"a {found[0].kind} object is no picture"}, 406)
    return Response(data, media_type="image/png")


def _picture(result: Result) -> bytes | None:
    from PIL import Image

    if result.kind != "page":
        return None
    with quiet():
        pixels = dcmread(result.path).pixel_array
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


async def _found(request: Request, results: Results) -> list[Result]:
    asked = request.path_params
    return await run_in_threadpool(
        lambda: list(results.of(asked["study"], asked.get("series"), asked.get("instance")))
    )


def _nothing() -> Response:
    return JSONResponse({"error": "no such result, or it is not kept any more"}, 404)


async def _missing(request: Request, error: Exception) -> Response:  # noqa: ARG001 - starlette's
    return _nothing()


async def _unexpected(request: Request, error: Exception) -> Any:  # noqa: ARG001 - starlette's
    """No word of what went wrong: it may quote what was posted."""
    return JSONResponse({"error": f"internal error: {type(error).__name__}"}, 500)
