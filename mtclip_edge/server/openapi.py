"""The REST interface as an OpenAPI 3.1 document, written by hand: one place where an address is promised."""

from typing import Any

from ..index.filters import Filters
from ..notice import NOTICE, __version__
from ..studies import LABELS, VIEWS

_TEXT = {"type": "string"}
_KEY = {
    "name": "key",
    "in": "path",
    "required": True,
    "description": "Of a film in memory, as an answer gives it.",
    "schema": {"type": "string"},
}
_ERROR = {"$ref": "#/components/schemas/Error"}
_FILTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "view": ("Films of this view.", {"type": "string", "enum": list(VIEWS)}),
    "label": ("Reports of this label.", {"type": "string", "enum": list(LABELS)}),
    "finding": ("Studies with this finding.", _TEXT),
    "source": ("Studies of this source.", _TEXT),
    "since": ("From this year, month or day on.", {"type": "string", "examples": ["2020", "2020-06"]}),
    "until": ("Up to this year, month or day.", {"type": "string", "examples": ["2021-12-31"]}),
    "match": ("Words that a report affirms.", _TEXT),
    "match_any": ("Words that stand in a report, affirmed or denied.", _TEXT),
    "exclude_patient": ("Patients whose reports are left out.", {"type": "array", "items": _TEXT}),
}
assert set(_FILTERS) == set(Filters.__dataclass_fields__)
_OWN = "An id of the film's patient or of a study of theirs: their reports are a list of their own."
_K = {"type": "integer", "minimum": 1, "maximum": 100, "default": 5}
_STATUS = {
    "400": "The question makes no sense.",
    "401": "The token is missing or wrong.",
    "403": "Asked by a page of another origin or site.",
    "404": "There is no such film in memory, report, map or preview.",
    "408": "The upload took too long.",
    "413": "The upload is too large.",
    "415": "The upload is no film.",
    "421": "Asked under another host name.",
    "422": "The film cannot be read.",
    "503": "The database of the reports does not answer.",
}


def document(largest: int) -> dict[str, Any]:
    """``largest``: bytes that an upload may have."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "mtclip view", "version": __version__, "description": NOTICE},
        "security": [{"token": []}],
        "paths": {
            "/api/query": {"post": _query(largest)},
            "/api/search": {"post": _search()},
            "/api/film/{key}": {"get": _film()},
            "/api/heat/{key}": {"get": _heat()},
            "/api/report/{id}": {
                "get": _get("A report with its studies and films.", _json("Report"), [_id("report or study")])
            },
            "/api/preview/{id}": {
                "get": _get(
                    "A film of a report, as the bundle packed it; 204 where it packed none.",
                    {"image/webp": {"schema": {"type": "string", "format": "binary"}}},
                    [
                        _id("report"),
                        _asked("key", "Of the film beside it: none of its patient's own is given.", _TEXT),
                        _asked("study", "The study whose film is wanted.", _TEXT),
                    ],
                    or_nothing=True,
                )
            },
            "/api/page/{key}": {
                "get": _get("The last answer as a page by itself.", {"text/html": {"schema": _TEXT}}, [_KEY])
            },
            "/api/marks": {
                "get": _get(
                    "The reader's marks, where they are kept.",
                    {"application/json": {"schema": {"type": "object"}}, "text/csv": {"schema": _TEXT}},
                    [_asked("format", "As what.", {"type": "string", "enum": ["json", "csv"]})],
                    ("400", "404"),
                ),
                "post": _mark(),
            },
            "/api/about": {"get": _get("What is searched, and what can be asked.", _json("About"), [])},
            "/api/openapi.json": {
                "get": _get("This document.", {"application/json": {"schema": {"type": "object"}}}, [])
            },
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
    }


def _query(largest: int) -> dict[str, Any]:
    upload = {"type": "string", "format": "binary", "maxLength": largest}
    return {
        "summary": "The answer to a film, or to each film or study of a zip.",
        "parameters": [
            _asked("k", "How many reports.", _K),
            _asked(
                "by",
                "Of a zip: an answer to each film or each study.",
                {"type": "string", "enum": ["film", "study"]},
            ),
            _asked("name", "What the film is shown as.", _TEXT),
            _asked("own_priors", _OWN, _TEXT),
            *(_asked(name, said, schema) for name, (said, schema) in _FILTERS.items()),
        ],
        "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": upload}}},
        "responses": _responses(
            {"application/json": {"schema": {"anyOf": [_ref("Answer"), _ref("Answers")]}}},
            ("400", "408", "413", "415", "422"),
        ),
    }


def _search() -> dict[str, Any]:
    properties = {
        "key": {**_TEXT, "description": "Of a film in memory."},
        "text": {**_TEXT, "description": "A typed query; with a key both are asked together."},
        "k": _K,
        "own_priors": {**_TEXT, "description": _OWN},
        "force": {"type": "boolean", "description": "Answer a film that was rejected all the same."},
        "invert": {"type": "boolean", "description": "Exchange the film's black and white."},
        **{name: {**schema, "description": said} for name, (said, schema) in _FILTERS.items()},
    }
    question = {"type": "object", "properties": properties, "additionalProperties": False}
    return {
        "summary": "The answer to a film in memory by other filters, to a text, or to both.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": question}}},
        "responses": _responses(_json("Answer"), ("400", "404", "408", "413")),
    }


def _mark() -> dict[str, Any]:
    properties = {
        "key": {**_TEXT, "description": "Of a film in memory."},
        "report_id": {
            "type": ["string", "null"],
            "description": "Of its answer; without one the whole is meant.",
        },
        "mark": {"type": "string", "enum": ["useful", "not", "note"]},
        "note": {"type": ["string", "null"], "maxLength": 500, "description": "Of a note alone."},
    }
    asked = {
        "type": "object",
        "required": ["key", "mark"],
        "properties": properties,
        "additionalProperties": False,
    }
    return {
        "summary": "Keep a reader's mark, where the server was started with --marks.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": _responses(
            {"application/json": {"schema": {"type": "object"}}}, ("400", "404", "408", "413")
        ),
    }


def _film() -> dict[str, Any]:
    head = {
        name: {"schema": {"type": "integer"}, "description": said}
        for name, said in (
            ("x-rows", "Height."),
            ("x-columns", "Width."),
            ("x-bits", "Bits of a value: 8 or 16."),
        )
    }
    head["x-values"] = {
        "schema": _TEXT,
        "description": "With values=stored: JSON of how stored values become those of the header's window.",
    }
    get = _get(
        "A film's pixels by rows, grey of 8 bits; with values=stored what its file holds, 16 bits, "
        "little-endian.",
        {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        [_KEY, _asked("values", "What is wanted.", {"type": "string", "enum": ["grey", "stored"]})],
        ("404", "422"),
        or_nothing=True,
    )
    get["responses"]["200"]["headers"] = head
    return get


def _heat() -> dict[str, Any]:
    rank = _asked(
        "rank", "Of the report in the last answer.", {"type": "integer", "minimum": 1, "default": 1}
    )
    return _get(
        "Where a film resembles a report of its last answer, or a text.",
        _json("Heat"),
        [_KEY, rank, _asked("text", "In place of a report.", _TEXT)],
        ("400", "404"),
    )


def _get(
    summary: str,
    content: dict[str, Any],
    parameters: list[dict[str, Any]],
    errors: tuple[str, ...] = ("404",),
    or_nothing: bool = False,
) -> dict[str, Any]:
    """``or_nothing``: there may be nothing to give, which is no error."""
    responses = _responses(content, errors)
    if or_nothing:
        responses["204"] = {"description": "There is none."}
    return {"summary": summary, "parameters": parameters, "responses": responses}


def _responses(content: dict[str, Any], errors: tuple[str, ...]) -> dict[str, Any]:
    told = {
        status: {"description": _STATUS[status], "content": {"application/json": {"schema": _ERROR}}}
        for status in sorted({*errors, "401", "403", "421", "503"})
    }
    return {"200": {"description": "The answer.", "content": content}, **told}


def _asked(name: str, said: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": said, "schema": schema}


def _id(of: str) -> dict[str, Any]:
    return {"name": "id", "in": "path", "required": True, "description": f"Of a {of}.", "schema": _TEXT}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(name)}}


def _schemas() -> dict[str, Any]:
    """Answers are those of docs/reference/json.md; here stands what an answer has here besides."""
    maybe = {"type": ["string", "null"]}
    answer = {
        "type": "object",
        "required": ["schema", "notice", "hits", "key", "words"],
        "properties": {
            "schema": {"const": "mtclip.query/2"},
            "notice": _TEXT,
            "hits": {"type": "array", "items": {"type": "object"}},
            "key": maybe,
            "words": {"type": "object", "description": "What a page says of it."},
        },
    }
    answers = {
        "type": "object",
        "required": ["answers", "left_out"],
        "properties": {
            "answers": {"type": "array", "items": {"anyOf": [_ref("Answer"), _ERROR]}},
            "left_out": {"type": "integer", "description": "Films of the zip that were not asked."},
        },
    }
    error = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": _TEXT, "detail": maybe, "hint": maybe},
    }
    numbers = {"type": "array", "items": {"type": "number"}}
    heat = {
        "type": "object",
        "required": ["grid", "values", "range", "peak", "target", "legend"],
        "properties": {
            "grid": {"type": "array", "items": {"type": "integer"}, "description": "Rows and columns."},
            "values": {"type": "array", "items": numbers, "description": "Of cosine, by rows."},
            "range": {**numbers, "description": "What the first colour, and the last, stand for."},
            "legend": {"type": "array", "items": _TEXT},
        },
    }
    return {
        "Answer": answer,
        "Answers": answers,
        "Error": error,
        "Heat": heat,
        "Report": {"type": "object", "required": ["notice", "studies"]},
        "About": {"type": "object", "required": ["notice", "version", "reports", "studies"]},
    }
