"""The addresses of the server, each a few lines over ``desk``: bodies bounded in size and time, errors as
JSON with a status.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from importlib.resources import files
from typing import Any
from urllib.parse import unquote

import anyio
import numpy as np
from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from ..errors import (
    FilmUnreadable,
    LibraryUnreachable,
    MapMissing,
    MtclipError,
    NoFilms,
    NothingToExplain,
    Refused,
    TextTowerMissing,
    WrongOption,
)
from ..films.file_types import HEAD, is_film, is_zip
from ..index.filters import Filters
from .desk import Desk, KeyGone, Turned, Wanted
from .openapi import document
from .telling import error_document

LARGEST = 64 << 20  # bytes of an upload
LONGEST_SEARCH = 64 << 10  # bytes of a question
SECONDS = 60.0  # that a body may take to arrive
MOST_HITS = 100
LONGEST_NAME = 200
STATIC = {
    "": ("index.html", "text/html; charset=utf-8"),
    "app.css": ("app.css", "text/css; charset=utf-8"),
    **{
        name: (name, "text/javascript; charset=utf-8")
        for name in ("app.js", "answer.js", "film.js", "ask.js", "heat.js", "filters.js")
    },
}
# The first that an error is one of; anything else that is meant for a person is a request that cannot be met.
STATUS: tuple[tuple[type[MtclipError], int], ...] = (
    (KeyGone, 404),
    (NothingToExplain, 404),
    (MapMissing, 404),
    (Refused, 404),
    (NoFilms, 415),
    (FilmUnreadable, 422),
    (WrongOption, 400),
    (TextTowerMissing, 400),
    (LibraryUnreachable, 503),
)


@dataclass(frozen=True)
class Limits:
    """Bytes of an upload, and seconds that a body may take to arrive."""

    largest: int = LARGEST
    seconds: float = SECONDS


def application(desk: Desk, limits: Limits) -> Starlette:
    """The server without its guard."""

    def at(path: str, answer: "Answer", method: str = "GET") -> Route:
        return Route(path, partial(_answered, answer, desk, limits), methods=[method])

    pages = [Route(f"/{name}", partial(_static, name)) for name in STATIC]
    return Starlette(
        routes=[
            *pages,
            at("/api/query", _query, "POST"),
            at("/api/search", _search, "POST"),
            at("/api/film/{key}", _film),
            at("/api/heat/{key}", _heat),
            at("/api/report/{id:path}", _report),
            at("/api/preview/{id:path}", _preview),
            at("/api/page/{key}", _page),
            at("/api/marks", _marks),
            at("/api/marks", _mark, "POST"),
            at("/api/about", _about),
            at("/api/openapi.json", _openapi),
        ],
        exception_handlers={HTTPException: _refused, Exception: _broken},
    )


Answer = Callable[[Request, Desk, Limits], Awaitable[Response]]


async def _answered(answer: Answer, desk: Desk, limits: Limits, request: Request) -> Response:
    try:
        return await answer(request, desk, limits)
    except MtclipError as error:
        status = next((status for kind, status in STATUS if isinstance(error, kind)), 400)
        return JSONResponse(error_document(error), status)
    except ClientDisconnect:
        return Response(status_code=400)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(
        {"error": error.detail, "detail": None, "hint": None}, error.status_code, error.headers
    )


async def _broken(_: Request, __: Exception) -> Response:
    """What nobody foresaw; its trace goes to the terminal, and nothing of it to the page."""
    return JSONResponse({"error": "something went wrong in the server", "detail": None, "hint": None}, 500)


async def _static(name: str, _: Request) -> Response:
    file, kind = STATIC[name]
    return Response((files(__package__) / "static" / file).read_bytes(), media_type=kind)


async def _query(request: Request, desk: Desk, limits: Limits) -> Response:
    wanted = _wanted(request.query_params.multi_items(), ("by", "k", "name", "own_priors"))
    data = await _body(request, limits.largest, limits.seconds)
    if not data:
        raise HTTPException(415, "an empty file: expected a film or a zip of films")
    if not is_film(data[:HEAD]) and not is_zip(data[:HEAD]):
        raise HTTPException(415, "no film: expected DICOM, PNG, JPEG, TIFF, BMP, WebP, or a zip of these")
    name = _name(request.query_params.get("name", ""))
    return JSONResponse(await _in_thread(desk.query, data, name, wanted))


async def _search(request: Request, desk: Desk, limits: Limits) -> Response:
    asked = _object(await _body(request, LONGEST_SEARCH, limits.seconds))
    key, text = _word(asked, "key"), _word(asked, "text")
    turned = Turned(*(_switch(asked, name) for name in ("force", "invert")))
    pairs = [
        (name, str(value))
        for name, given in asked.items()
        if name not in ("key", "text", "force", "invert") and given is not None
        for value in (given if isinstance(given, list) else [given])
    ]
    return JSONResponse(await _in_thread(desk.search, key, text, _wanted(pairs, ("k", "own_priors")), turned))


async def _film(request: Request, desk: Desk, _: Limits) -> Response:
    key = request.path_params["key"]
    if request.query_params.get("values") == "stored":
        found = await _in_thread(desk.values, key)
        if found is None:
            return Response(status_code=204)
        facts = {"x-values": json.dumps(found.to_dict())}
        return _pixels(found.values, facts)
    return _pixels(desk.film(key), {})


def _pixels(values: np.ndarray, facts: dict[str, str]) -> Response:
    """Rows from the upper left; 16 bits the smaller byte first."""
    height, width = values.shape
    head = {"x-rows": str(height), "x-columns": str(width), "x-bits": str(8 * values.dtype.itemsize)}
    data = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    return Response(data, media_type="application/octet-stream", headers=head | facts)


async def _heat(request: Request, desk: Desk, _: Limits) -> Response:
    words = request.query_params
    rank, text = _number("rank", words.get("rank", "1")), words.get("text")
    return JSONResponse(await _in_thread(desk.heat, request.path_params["key"], rank, text))


async def _report(request: Request, desk: Desk, _: Limits) -> Response:
    return JSONResponse(await _in_thread(desk.report, request.path_params["id"]))


async def _preview(request: Request, desk: Desk, _: Limits) -> Response:
    asked = request.query_params
    found = await _in_thread(desk.preview, request.path_params["id"], asked.get("key"), asked.get("study"))
    if found is None:
        return Response(status_code=204)
    return Response(found, media_type="image/webp")


async def _page(request: Request, desk: Desk, _: Limits) -> Response:
    page = await _in_thread(desk.page, request.path_params["key"])
    head = {"content-disposition": 'attachment; filename="answer.html"'}
    return HTMLResponse(page, headers=head)


async def _mark(request: Request, desk: Desk, limits: Limits) -> Response:
    asked = _object(await _body(request, LONGEST_SEARCH, limits.seconds))
    if strange := set(asked) - {"key", "report_id", "mark", "note"}:
        raise WrongOption(f"{min(strange)[:40]!r}", "expected key, report_id, mark, note")
    key, report_id, kind, note = (_word(asked, name) for name in ("key", "report_id", "mark", "note"))
    return JSONResponse(await _in_thread(desk.mark, key or "", report_id, kind or "", note))


async def _marks(request: Request, desk: Desk, _: Limits) -> Response:
    format = request.query_params.get("format", "json")
    kind = "text/csv" if format == "csv" else "application/json"
    return Response(await _in_thread(desk.marks, format), media_type=kind)


async def _about(_: Request, desk: Desk, __: Limits) -> Response:
    return JSONResponse(await _in_thread(desk.about))


async def _openapi(_: Request, __: Desk, limits: Limits) -> Response:
    return JSONResponse(document(limits.largest))


async def _in_thread(ask: Callable[..., Any], *words: Any) -> Any:
    return await to_thread.run_sync(ask, *words)


async def _body(request: Request, most: int, seconds: float) -> bytes:
    """Errors: HTTPException where it is too large or takes too long."""
    said = request.headers.get("content-length", "0")
    too_large = HTTPException(
        413, f"larger than {most >> 20} MB" if most >> 20 else f"larger than {most} bytes"
    )
    if said.isdecimal() and int(said) > most:
        raise too_large
    data = bytearray()
    try:
        with anyio.fail_after(seconds):
            async for part in request.stream():
                data += part
                if len(data) > most:
                    raise too_large
    except TimeoutError:
        raise HTTPException(408, f"the upload took longer than {seconds:g} s") from None
    return bytes(data)


def _wanted(pairs: list[tuple[str, str]], others: tuple[str, ...]) -> Wanted:
    """What is wanted by names and values as the command line has them. Errors: WrongOption."""
    known = {field.name for field in fields(Filters)}
    given: dict[str, Any] = {}
    barred: list[str] = []
    for name, value in pairs:
        if name not in known and name not in others:
            raise WrongOption(f"{name[:40]!r}", f"expected among {', '.join(sorted(known | set(others)))}")
        if name == "exclude_patient":
            barred.append(value)
        elif name in given:
            raise WrongOption(name, "expected once")
        elif value:
            given[name] = value
    k, by = _number("k", given.pop("k", "5")), given.pop("by", "film")
    given.pop("name", None)
    own = given.pop("own_priors", None)
    if not 1 <= k <= MOST_HITS:
        raise WrongOption(f"k {k}", f"expected 1 to {MOST_HITS}")
    if by not in ("film", "study"):
        raise WrongOption(f"by {by[:40]!r}", "expected film or study")
    return Wanted(k, Filters(**given, exclude_patient=tuple(barred)) if given or barred else None, by, own)


def _number(name: str, word: str) -> int:
    if not word.isascii() or not word.isdecimal() or len(word) > 6:
        raise WrongOption(f"{name} {word[:40]!r}", "expected a whole number")
    return int(word)


def _name(word: str) -> str:
    """What a film is shown as: never a path of the one who asks."""
    return unquote(word).replace("\\", "/").rsplit("/", 1)[-1][:LONGEST_NAME] or "film"


def _object(data: bytes) -> Mapping[str, Any]:
    """Errors: WrongOption."""
    try:
        asked = json.loads(data)
    except ValueError:
        raise WrongOption("the question", "expected JSON") from None
    except RecursionError:
        raise WrongOption("the question", "expected a JSON object of words and numbers") from None
    plain = str | int | None
    if not isinstance(asked, dict) or not all(
        isinstance(value, plain) or (isinstance(value, list) and all(isinstance(one, str) for one in value))
        for value in asked.values()
    ):
        raise WrongOption("the question", "expected a JSON object of words and numbers")
    return asked


def _switch(asked: Mapping[str, Any], name: str) -> bool:
    value = asked.get(name, False)
    if not isinstance(value, bool):
        raise WrongOption(name, "expected true or false")
    return value


def _word(asked: Mapping[str, Any], name: str) -> str | None:
    word = asked.get(name)
    if word is not None and not isinstance(word, str):
        raise WrongOption(name, "expected a text")
    return word or None
