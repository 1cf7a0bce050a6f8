"""A film in by HTTP, the nearest prior reports out as JSON, on this machine alone.

pip install fastapi uvicorn
MTCLIP_BUNDLE=bundle uvicorn --app-dir examples --host 127.0.0.1 serve_fastapi:app
curl --data-binary @film.dcm 'http://127.0.0.1:8000/query?k=3&label=abnormal'

An example, not a product: it knows no users and no encryption. A film is read in a process of its own
(``isolated``), which a hostile file may bring down without harm.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from mtclip_edge import Filters, MtclipError, Retriever

MOST_BYTES = 64 << 20


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One retriever for all requests: it answers from several threads."""
    with Retriever.open(os.environ.get("MTCLIP_BUNDLE", "demo"), isolated=True) as retriever:
        app.state.retriever = retriever
        yield


app = FastAPI(title="Prior reports", lifespan=lifespan)


@app.post("/query")
async def query(request: Request, k: int = 5, label: str | None = None) -> dict[str, Any]:
    """The answer to the film in the body; a rejected film is an answer too, with why and without hits."""
    film = bytearray()
    async for part in request.stream():
        film += part
        if len(film) > MOST_BYTES:
            raise HTTPException(413, f"more than {MOST_BYTES >> 20} MB")
    try:
        filters = Filters(label=label) if label else None
        answer = await run_in_threadpool(
            request.app.state.retriever.query, bytes(film), k, filters=filters, name="film"
        )
    except MtclipError as error:
        raise HTTPException(422, str(error)) from None
    return answer.to_dict()
