"""An answer in a notebook: what its page shows, within a box of its own style."""

import re

from ..films.thumbnail import thumbnail
from ..retrieval.results import QueryResult
from .answer_page import Answer, answer_page

SIDE = 384  # pixels of a film in a notebook
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_MAIN = re.compile(r"<main>(.*)</main>", re.DOTALL)
# The notebook's own ground may be dark; the page is made dark on white.
_BOX = (
    "background: #fff; color: #1b1f24; font: 15px/1.5 system-ui, sans-serif; padding: .6rem; "
    "text-align: left; max-height: 48rem; overflow: auto;"
)


def fragment(result: QueryResult) -> str:
    """The body of the answer's page as an element that carries its style; the film where its pixels were
    kept.
    """
    film = thumbnail(result.grey, SIDE) if result.grey is not None else None
    page = answer_page([Answer(result, film)], _made(result))
    (style,), (body,) = _STYLE.findall(page), _MAIN.findall(page)
    # Nested rules hold for the box alone; what the page sets on its root is the box's own.
    nested = f".mtclip-answer {{ {_BOX} {style.replace(':root', '&')} }}"
    return f'<div class="mtclip-answer"><style>{nested}</style>{body}</div>'


def _made(result: QueryResult) -> dict[str, str]:
    facts, device = result.bundle, result.device
    return {
        "bundle": facts.identity,
        "searched": f"{facts.reports} distinct reports of {facts.studies} studies: {facts.search.used}",
        "precision": f"{facts.precision.name}: {facts.precision.why}",
        "device": f"{device.used}: {device.why}",
    }
